"""Data sets of arrays with names: samples and labels, alone or once per part (``x_train``, ``y_train``, ...)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.images.pixel_units import NamedArray
from offramp.data.raw_data import ROLE_OF_WORD, RawDataset, RawPart, ReadOptions, Role
from offramp.data.signals.array_samples import samples_from_arrays
from offramp.data.signals.recordings import WindowSize, cut_windows
from offramp.data.signals.value_names import as_groups
from offramp.errors import DataError

_SAMPLE_WORDS = frozenset(("x", "image", "images", "data", "samples", "series", "features"))
_LABEL_WORDS = frozenset(("y", "label", "labels", "target", "targets"))
_LENGTH_WORDS = frozenset(("length", "lengths"))
_NAME_ARRAYS = ("class_names", "classes", "label_names")


@dataclass(frozen=True)
class _Pair:
    """Names of the two arrays of one part."""

    role: Role
    samples: str
    labels: str


def dataset_of_arrays(name: str, where: str, arrays: Mapping[str, NDArray[Any]], options: ReadOptions) -> RawDataset:
    """Make a data set of arrays.

    Args:
        name: Name of the data set.
        where: File or folder of the arrays, for messages.
        arrays: The arrays: samples (``x``, ``images``, ...) and labels (``y``, ``labels``, ...), with a word for the
            part in their names where there are several; ``lengths`` of short series, groups and ``class_names``, too.
        options: Settings of the user.

    Returns:
        The data set.

    Raises:
        DataError: Arrays are missing, ambiguous or invalid.
    """
    pairs = _pairs(where, arrays, options)
    if options.window is not None:
        arrays = {**arrays, **_recordings(where, arrays, pairs)}
    found = samples_from_arrays(
        [NamedArray(f"{where!r} ({pair.samples})", arrays[pair.samples]) for pair in pairs],
        options.kind,
        lengths=[_lengths(where, arrays, pair) for pair in pairs],
    )
    parts, notes = [], found.notes
    for pair, samples in zip(pairs, found.samples, strict=True):
        source, labels = f"{where} ({pair.samples}, {pair.labels})", arrays[pair.labels]
        groups = _groups(where, arrays, pair, len(samples), options.group_column)
        if options.window is not None and found.kind == "series":
            size = WindowSize(options.window, options.hop or max(options.window // 2, 1))
            series = samples.astype(np.float32, copy=False)
            windows = cut_windows(series, labels, size, role=pair.role, where=source, groups=groups)
            samples, labels, groups = windows.samples, windows.labels, windows.groups
            notes = (*notes, *windows.notes)
        parts.append(RawPart(pair.role, source, samples, labels, groups=groups))
    names = next((arrays[key] for key in _NAME_ARRAYS if key in arrays), None)
    named = names is not None and names.ndim == 1 and names.dtype.kind == "U"
    class_names = tuple(names.tolist()) if names is not None and named else None
    return RawDataset(name, tuple(parts), class_names, input_kind=found.kind, notes=notes)


def _recordings(where: str, arrays: Mapping[str, NDArray[Any]], pairs: Sequence[_Pair]) -> dict[str, NDArray[Any]]:
    """Single recordings with a label per time step, (time,) or (channels, time), as arrays of one recording."""
    found: dict[str, NDArray[Any]] = {}
    for pair in pairs:
        samples, labels = arrays[pair.samples], arrays[pair.labels]
        if labels.ndim != 1 or samples.ndim not in (1, 2) or len(labels) not in samples.shape:
            continue
        if samples.ndim == 2 and samples.shape[0] == len(labels):
            raise DataError(
                f"{where!r} ({pair.samples}) of shape {samples.shape} with {len(labels)} labels may be series with a "
                "label each, or one recording (time, channels) with a label per step. Give it as (series, 1, time), or "
                "as (1, channels, time) with labels (1, time)."
            )
        found[pair.samples] = np.atleast_2d(samples)[None]
        found[pair.labels] = labels[None]
    return found


def is_array_name(name: str, options: ReadOptions) -> bool:
    """Check whether `dataset_of_arrays` would use an array of this name.

    Args:
        name: The name.
        options: Settings of the user, which may name arrays.

    Returns:
        True for names such as ``x_train``, ``labels`` and those in the settings.
    """
    _, rest = _role_and_rest(name)
    named = {column.lower() for column in (options.image_column, options.label_column, options.group_column) if column}
    known = _SAMPLE_WORDS | _LABEL_WORDS | _LENGTH_WORDS | named | set(_NAME_ARRAYS)
    return rest in known or name.lower() in named


def _groups(
    where: str, arrays: Mapping[str, NDArray[Any]], pair: _Pair, count: int, column: str | None
) -> NDArray[np.str_] | None:
    """The array of a part that names the groups, such as ``speaker_train`` for ``speaker``."""
    if column is None:
        return None
    found = _by_role(where, arrays, frozenset((column.lower(),)))
    values = arrays[found[pair.role]] if pair.role in found else None
    if values is None or values.shape != (count,):
        raise DataError(
            f"{where!r} must hold an array {column!r} (or {column}_train, ...) with one group per sample "
            f"({count} for {pair.role}), as data.group_column says, but it "
            f"{'holds none' if values is None else f'has shape {values.shape}'}."
        )
    return as_groups(values, f"array {found[pair.role]!r} of {where!r}")


def _lengths(where: str, arrays: Mapping[str, NDArray[Any]], pair: _Pair) -> NamedArray | None:
    """The array that says how many steps of each series of a part count."""
    for name, values in arrays.items():
        role, rest = _role_and_rest(name)
        if rest in _LENGTH_WORDS and role == pair.role:
            return NamedArray(f"{where!r} ({name})", values)
    return None


def _pairs(where: str, arrays: Mapping[str, NDArray[Any]], options: ReadOptions) -> list[_Pair]:
    sample_words = frozenset((options.image_column.lower(),)) if options.image_column else _SAMPLE_WORDS
    label_words = frozenset((options.label_column.lower(),)) if options.label_column else _LABEL_WORDS
    samples, labels = _by_role(where, arrays, sample_words), _by_role(where, arrays, label_words)
    if not samples or samples.keys() != labels.keys():
        raise DataError(
            f"{where!r} must hold samples and labels under names such as x and y, x_train and y_train, or images "
            f"and labels, each in pairs; it holds {', '.join(sorted(arrays)) or 'nothing'}. "
            "Name the arrays with `image_column` and `label_column`."
        )
    return [_Pair(role, samples[role], labels[role]) for role in samples]


def _by_role(where: str, arrays: Mapping[str, NDArray[Any]], words: frozenset[str]) -> dict[Role, str]:
    found: dict[Role, str] = {}
    for name in sorted(arrays):
        role, rest = _role_and_rest(name)
        if rest not in words and name.lower() not in words:
            continue
        if role in found:
            raise DataError(
                f"{where!r} must have one array of each kind for {role}, but both {found[role]!r} and {name!r} "
                "could be meant. Name the right one with `image_column` or `label_column`."
            )
        found[role] = name
    return found


def _role_and_rest(name: str) -> tuple[Role, str]:
    words = name.lower().split("_")
    roles = [word for word in words if word in ROLE_OF_WORD]
    rest = "_".join(word for word in words if word not in ROLE_OF_WORD)
    return (ROLE_OF_WORD[roles[0]] if roles else "train"), rest
