"""Data sets that give one sample at a time, of torch and of Hugging Face, to arrays. Neither package is imported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.raw_data import ReadOptions
from offramp.data.signals.array_file import MAX_TOTAL_BYTES
from offramp.data.signals.value_names import as_groups
from offramp.errors import DataError

_SAMPLE_KEYS = ("x", "image", "img", "images", "pixel_values", "series", "samples", "features", "data", "inputs")
_LABEL_KEYS = ("y", "label", "labels", "target", "class", "fine_label")


@dataclass(frozen=True, eq=False)
class Collected:
    """All samples of a data set.

    Attributes:
        samples: The samples, as the data set gives them; short series end with NaN.
        labels: Numbers or names, (samples,).
        groups: Name of the group of each sample; None: not asked for.
        class_names: Names of the classes, where the data set states them.
        notes: Sentences on what was decided.
    """

    samples: NDArray[Any]
    labels: NDArray[Any]
    groups: NDArray[np.str_] | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def is_row_collection(data: object) -> bool:
    """Check whether something is a data set that gives one sample at a time.

    Args:
        data: Anything.

    Returns:
        True for objects with a length and items that are no arrays, tensors, lists, dicts, texts or tables.
    """
    if isinstance(data, np.ndarray | list | tuple | str | bytes | Mapping):
        return False
    # Tensors and tables (of pandas, polars) have shapes; data sets of torch have none. Those of Hugging Face do.
    if hasattr(data, "shape") and not hasattr(data, "column_names"):
        return False
    return hasattr(type(data), "__getitem__") and hasattr(type(data), "__len__")


def plain_array(values: Any, what: str) -> NDArray[Any]:
    """Convert arrays, tensors and lists of numbers or names to an array.

    Args:
        values: The values.
        what: What they are, for messages.

    Returns:
        The array; series of different lengths end with NaN.

    Raises:
        DataError: The values are no numbers or names, or differ in shape.
    """
    if hasattr(values, "detach"):
        values = _from_tensor(values, what)
    nested = isinstance(values, list | tuple) and len(values) > 0 and not isinstance(values[0], str | bytes)
    if nested and (hasattr(values[0], "shape") or hasattr(values[0], "__len__")):
        return _stacked([plain_array(value, what) for value in values], what).samples
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as exc:
        raise DataError(f"{what} must be an array of numbers or names, but it is none: {exc}.") from exc
    if array.dtype.kind == "O":
        if array.ndim == 1 and all(isinstance(value, str) for value in array):
            return array.astype(np.str_)
        raise DataError(
            f"{what} must be an array of numbers or names, got Python objects such as {type(array.flat[0]).__name__}."
            if array.size
            else f"{what} must not be empty."
        )
    return array


def _from_tensor(tensor: Any, what: str) -> NDArray[Any]:
    plain = tensor.detach()
    # NumPy has no bfloat16; float32 holds each of its values.
    plain = plain.float() if str(plain.dtype) == "torch.bfloat16" else plain
    try:
        plain = plain.cpu()
        return np.asarray(plain.resolve_conj().resolve_neg().numpy())
    except (TypeError, RuntimeError) as exc:  # sparse, quantised and empty (meta) tensors
        raise DataError(
            f"{what} must be a dense tensor of plain numbers, got {plain.dtype} ({plain.layout}): {exc}."
        ) from exc


def collect_rows(data: Any, where: str, options: ReadOptions) -> Collected:
    """Read all samples of a data set.

    Args:
        data: A data set whose items are pairs (sample, label) or dicts.
        where: Name of the split in messages.
        options: Settings of the user, which may name the entries of dicts.

    Returns:
        The samples.

    Raises:
        DataError: An item cannot be read, or items differ.
    """
    count = len(data)
    if not count:
        raise DataError(f"{where} must hold samples, but it has none.")
    rows = [_row(data, 0, where, options)]
    needed = rows[0].sample.nbytes * count
    if needed > MAX_TOTAL_BYTES:
        raise DataError(
            f"{where} must fit into {MAX_TOTAL_BYTES / 2**30:.0f} GiB, but its {count} samples need about "
            f"{needed / 2**30:.0f} GiB. Save it to files, and give their folder."
        )
    again = _row(data, 0, where, options)
    notes: tuple[str, ...] = ()
    if again.sample.shape != rows[0].sample.shape or not np.array_equal(again.sample, rows[0].sample, equal_nan=True):
        notes = (
            f"{where} gives other numbers whenever a sample is read, probably by random transforms: each sample is "
            "read once, and a resumed run would see other data. Leave random transforms to data.augment.",
        )
    rows += [_row(data, index, where, options) for index in range(1, count)]
    stacked = _stacked([row.sample for row in rows], where)
    labels = plain_array([row.label for row in rows], f"the labels of {where}")
    groups = None
    if options.group_column is not None:
        lost = next((index for index, row in enumerate(rows) if row.group is None), None)
        if lost is not None:
            raise DataError(f"Sample {lost} of {where} must have a group in {options.group_column!r}, but it has None.")
        groups = as_groups(plain_array([row.group for row in rows], "groups"), f"{options.group_column!r} of {where}")
    names = _class_names(data, rows[0].label_key) if labels.dtype.kind in "iu" else ()
    return Collected(stacked.samples, labels, groups, names, (*notes, *stacked.notes))


@dataclass(frozen=True, eq=False)
class _Row:
    sample: NDArray[Any]
    label: Any
    group: Any
    label_key: str


def _row(data: Any, index: int, where: str, options: ReadOptions) -> _Row:
    try:
        item = data[index]
    except Exception as exc:  # code of the caller may raise anything
        raise DataError(f"Sample {index} of {where} cannot be read: {type(exc).__name__}: {exc}.") from exc
    what = f"sample {index} of {where}"
    if isinstance(item, Mapping):
        key = _key(item, options.image_column, _SAMPLE_KEYS, "sample", "image_column", what)
        label_key = _key(item, options.label_column, _LABEL_KEYS, "label", "label_column", what)
        if options.group_column is not None and options.group_column not in item:
            raise DataError(f"{what} must have an entry {options.group_column!r}, as data.group_column says.")
        group = item.get(options.group_column) if options.group_column is not None else None
        group = None if group is None else _scalar(group, "group", what)
        return _Row(_sample(item[key], what), _scalar(item[label_key], "label", what), group, label_key)
    if isinstance(item, tuple | list) and len(item) == 2:
        if options.group_column is not None:
            raise DataError(f"data.group_column needs items that are dicts, but {what} is a pair.")
        return _Row(_sample(item[0], what), _scalar(item[1], "label", what), None, "")
    raise DataError(f"{what} must be a pair (sample, label) or a dict with both, got {type(item).__name__}.")


def _key(item: Mapping[str, Any], given: str | None, usual: Sequence[str], kind: str, setting: str, what: str) -> str:
    if given is not None:
        if given not in item:
            raise DataError(f"{what} must have an entry {given!r}, as data.{setting} says; it has {_listed(item)}.")
        return given
    found = [key for key in usual if key in item]
    if len(found) != 1:
        problem = "several could be meant" if found else "none has a usual name"
        raise DataError(
            f"{what} must have one entry that is the {kind}, but of {_listed(item)} {problem}. Set data.{setting}."
        )
    return found[0]


def _sample(value: Any, what: str) -> NDArray[Any]:
    if hasattr(value, "getbands") and hasattr(value, "convert"):
        plain = value if value.mode in ("L", "RGB") else value.convert("L" if value.mode == "1" else "RGB")
        return np.asarray(plain)
    if isinstance(value, Mapping):
        raise DataError(
            f"{what} must be an image or an array, got a dict with {_listed(value)}. Encoded images and sounds are "
            "read from files: give the folder or the parquet files."
        )
    array = plain_array(value, what)
    if array.dtype.kind not in "iufb" or array.ndim == 0:
        raise DataError(f"{what} must be an image or an array of numbers, got {type(value).__name__}.")
    return array


def _scalar(value: Any, kind: str, what: str) -> Any:
    if isinstance(value, str | bool | int | float):
        return value
    array = plain_array(value, f"the {kind} of {what}")
    if array.size != 1:
        raise DataError(f"The {kind} of {what} must be one number or name, got shape {array.shape}.")
    return array.reshape(-1)[0].item()


@dataclass(frozen=True, eq=False)
class _Stack:
    samples: NDArray[Any]
    notes: tuple[str, ...] = ()


def _stacked(samples: Sequence[NDArray[Any]], where: str) -> _Stack:
    """One array; series of different lengths end with NaN."""
    shapes = {sample.shape for sample in samples}
    if len(shapes) == 1:
        return _Stack(np.stack(samples))
    series = all(len(shape) in (1, 2) for shape in shapes) and len({shape[:-1] for shape in shapes}) == 1
    if not series or any(0 in shape for shape in shapes):
        described = " and ".join("x".join(map(str, shape)) for shape in sorted(shapes)[:2])
        raise DataError(
            f"All samples of {where} must have one shape, or differ in the length of series (channels, time) alone, "
            f"got {described}. Resize images in the transform of the data set."
        )
    longest = max(shape[-1] for shape in shapes)
    array = np.full((len(samples), *samples[0].shape[:-1], longest), np.nan)
    for row, sample in zip(array, samples, strict=True):
        row[..., : sample.shape[-1]] = sample
    return _Stack(array, (f"{where} has series of different lengths: short ones are padded to {longest} steps.",))


def _class_names(data: Any, label_key: str) -> tuple[str, ...]:
    """Names that Hugging Face keeps in ``features[label].names``, torchvision in ``classes``."""
    features = getattr(data, "features", None)
    if isinstance(features, Mapping):
        names = getattr(features.get(label_key), "names", None)
    else:
        names = getattr(data, "classes", None)
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def _listed(item: Mapping[Any, Any]) -> str:
    return ", ".join(repr(str(key)) for key in list(item)[:8]) or "nothing"
