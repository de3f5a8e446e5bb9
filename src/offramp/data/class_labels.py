"""Conversion of labels in files to class numbers 0, 1, 2, ..."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.raw_data import RawPart
from offramp.errors import DataError

_MAX_NAMED = 5


@dataclass(frozen=True, eq=False)
class EncodedLabels:
    """Labels as class numbers.

    Attributes:
        class_names: Names of the classes.
        labels: One array of indices into `class_names` per part, (samples,).
    """

    class_names: tuple[str, ...]
    labels: tuple[NDArray[np.int64], ...]


def encode_labels(parts: Sequence[RawPart], class_names: tuple[str, ...] | None) -> EncodedLabels:
    """Number the classes; the training part must contain all of them.

    Class names found as labels are numbered in alphabetical order, or by value if all are numbers.

    Args:
        parts: Parts of the data set, with labels as in the file.
        class_names: Names of the classes in the order of their numbers; None if the data does not state them.

    Returns:
        The class names and the labels of each part.

    Raises:
        DataError: Labels are missing, invalid or out of range; the message names the file.
    """
    train = next(part for part in parts if part.role == "train")
    if _is_text(train.labels):
        names = _sorted_names(set(_text(train)))
        labels = tuple(_numbers_of_names(part, names) for part in parts)
    else:
        numbers = [_whole_numbers(part) for part in parts]
        names = class_names or _numbered_names(train, numbers)
        for part, values in zip(parts, numbers, strict=True):
            _check_range(part, values, names)
        labels = tuple(numbers)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"Class names of {train.source!r} must differ, but these are there twice: {_listed(twice)}.")
    if len(names) < 2:
        raise DataError(f"{train.source!r} must have at least 2 classes, got {len(names)}: {', '.join(names)}.")
    for part, values in zip(parts, labels, strict=True):
        if part is train:
            _check_all_present(part, values, names)
    return EncodedLabels(names, labels)


def _is_text(labels: NDArray[Any]) -> bool:
    return labels.dtype.kind in "US"


def _text(part: RawPart) -> list[str]:
    labels = part.labels
    if not _is_text(labels) or labels.ndim != 1:
        raise DataError(
            f"Labels of {part.source!r} must be one class name per image, as in the training part, "
            f"got an array of shape {labels.shape} and type {labels.dtype}."
        )
    text: list[str] = (np.char.decode(labels, "utf-8", "replace") if labels.dtype.kind == "S" else labels).tolist()
    return text


def _sorted_names(names: set[str]) -> tuple[str, ...]:
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _numbers_of_names(part: RawPart, names: tuple[str, ...]) -> NDArray[np.int64]:
    number_of = {name: number for number, name in enumerate(names)}
    given = _text(part)
    unknown = sorted(set(given) - set(number_of))
    if unknown:
        raise DataError(
            f"Every class of {part.source!r} must also be in the training part, but these are not: "
            f"{_listed([repr(name) for name in unknown])}. Add training images of them, or take them out."
        )
    return np.array([number_of[name] for name in given], dtype=np.int64)


def _whole_numbers(part: RawPart) -> NDArray[np.int64]:
    labels = part.labels.squeeze(axis=1) if part.labels.ndim == 2 and part.labels.shape[1] == 1 else part.labels
    if labels.ndim != 1:
        raise DataError(
            f"Labels of {part.source!r} must be one class number or name per image, got an array of shape "
            f"{labels.shape}. Where they are one-hot, store their argmax instead."
        )
    if labels.dtype.kind == "f":
        broken = np.flatnonzero(~np.isfinite(labels))
        if broken.size:
            raise DataError(
                f"Labels of {part.source!r} must be class numbers, but {broken.size} are not a number (NaN) or "
                f"infinite, the first for image {broken[0]}. Remove these images or label them."
            )
        fractions = np.flatnonzero(labels != np.floor(labels))
        if fractions.size:
            raise DataError(
                f"Labels of {part.source!r} must be whole numbers, got {labels[fractions[0]]} for image {fractions[0]}."
            )
        labels = np.clip(labels.astype(np.float64), -(2.0**53), 2.0**53)
    elif labels.dtype.kind not in "iub":
        raise DataError(f"Labels of {part.source!r} must be class numbers or names, got values of type {labels.dtype}.")
    elif labels.dtype.kind == "u":
        labels = np.minimum(labels, np.uint64(2**53))
    return labels.astype(np.int64)


def _numbered_names(train: RawPart, numbers: Sequence[NDArray[np.int64]]) -> tuple[str, ...]:
    highest = max(int(values.max()) for values in numbers)
    if highest >= len(train.labels):
        # Otherwise a single wild label would ask for as many names.
        raise DataError(
            f"Labels of {train.source!r} must be class numbers counted from 0 without gaps, but the highest is "
            f"{highest} and there are only {len(train.labels)} images. Is this the label column? "
            "If not, name it with `label_column`."
        )
    return tuple(str(number) for number in range(max(highest, 0) + 1))


def _check_range(part: RawPart, values: NDArray[np.int64], names: tuple[str, ...]) -> None:
    outside = np.flatnonzero((values < 0) | (values >= len(names)))
    if not outside.size:
        return
    if outside.size == len(values) and (values == -1).all():
        raise DataError(
            f"Labels of {part.source!r} are all -1: they are hidden, so this part cannot be measured on. "
            "Move the file away; a test part is then cut from the training part."
        )
    raise DataError(
        f"Labels of {part.source!r} must lie in 0..{len(names) - 1} ({len(names)} classes), got {values[outside[0]]} "
        f"for image {outside[0]} ({outside.size} such labels in all). Correct the labels or remove these images."
    )


def _check_all_present(part: RawPart, values: NDArray[np.int64], names: tuple[str, ...]) -> None:
    absent = np.flatnonzero(np.bincount(values, minlength=len(names)) == 0)
    if absent.size:
        described = [f"{number} ({names[number]!r})" for number in absent.tolist()]
        raise DataError(
            f"Every class must have training images, but {part.source!r} has none of class {_listed(described)}. "
            "Add images of it, or number the classes from 0 without gaps."
        )


def _listed(items: list[str]) -> str:
    more = f" and {len(items) - _MAX_NAMED} more" if len(items) > _MAX_NAMED else ""
    return ", ".join(items[:_MAX_NAMED]) + more
