"""Conversion of labels in files to class numbers 0, 1, 2, ..."""

import unicodedata
from collections.abc import Iterable, Sequence
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
        notes: Sentences on names that were joined or that look alike, for the user.
    """

    class_names: tuple[str, ...]
    labels: tuple[NDArray[np.int64], ...]
    notes: tuple[str, ...] = ()


def encode_labels(parts: Sequence[RawPart], class_names: tuple[str, ...] | None) -> EncodedLabels:
    """Number the classes; the training part must contain all of them.

    Class names found as labels are numbered in alphabetical order, or by value if all are numbers. Names that differ
    only in how Unicode writes a letter (``é`` as one character or as two) are one class; the composed form (NFC) is
    kept.

    Args:
        parts: Parts of the data set, with labels as in the file.
        class_names: Names of the classes in the order of their numbers; None if the data does not state them.

    Returns:
        The class names and the labels of each part.

    Raises:
        DataError: Labels are missing, invalid or out of range; the message names the file.
    """
    train = next(part for part in parts if part.role == "train")
    notes: tuple[str, ...] = ()
    if _is_text(train.labels):
        names = _sorted_names(set(_text(train)))
        labels = tuple(_numbers_of_names(part, names) for part in parts)
        notes = _joined(parts)
    else:
        numbers = [_whole_numbers(part) for part in parts]
        names = tuple(map(_composed, class_names or ())) or _numbered_names(train, numbers)
        for part, values in zip(parts, numbers, strict=True):
            _check_range(part, values, names)
        labels = tuple(numbers)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"Class names of {train.source!r} must differ, but {_twice(twice, class_names or names)}.")
    if len(names) < 2:
        raise DataError(f"{train.source!r} must have at least 2 classes, got {len(names)}: {', '.join(names)}.")
    for part, values in zip(parts, labels, strict=True):
        if part is train:
            _check_all_present(part, values, names)
    return EncodedLabels(names, labels, (*notes, *_look_alikes(names)))


def _is_text(labels: NDArray[Any]) -> bool:
    return labels.dtype.kind in "US"


def _text(part: RawPart) -> list[str]:
    labels = part.labels
    if not _is_text(labels) or labels.ndim != 1:
        raise DataError(
            f"Labels of {part.source!r} must be one class name per sample, as in the training part, "
            f"got an array of shape {labels.shape} and type {labels.dtype}."
        )
    names = [_composed(name) for name in _raw_text(labels)]
    empty = [index for index, name in enumerate(names) if not name.strip()]
    if empty:
        raise DataError(
            f"Every sample of {part.source!r} must have a label, but {len(empty)} have none, the first is sample "
            f"{empty[0]}. Label these samples, or leave them out."
        )
    return names


def _raw_text(labels: NDArray[Any]) -> list[str]:
    text: list[str] = (np.char.decode(labels, "utf-8", "replace") if labels.dtype.kind == "S" else labels).tolist()
    return text


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _joined(parts: Sequence[RawPart]) -> tuple[str, ...]:
    """Classes whose name is written in several ways."""
    written: dict[str, set[str]] = {}
    for part in parts:
        for name in set(_raw_text(part.labels)):
            written.setdefault(_composed(name), set()).add(name)
    return tuple(
        f"Class {name!r} is written in {len(forms)} ways ({_told_apart(forms)}); they are one class."
        for name, forms in sorted(written.items())
        if len(forms) > 1
    )


def _look_alikes(names: Sequence[str]) -> tuple[str, ...]:
    """Classes that a reader would take for one: they differ in case, spaces or invisible characters alone."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_appearance(name), []).append(name)
    return tuple(
        f"Classes {_told_apart(group)} look alike, but are {len(group)} classes. Rename one if they mean the same."
        for group in alike.values()
        if len(group) > 1
    )


def _appearance(name: str) -> str:
    """How a name looks, more or less: without case, outer spaces and invisible characters."""
    folded = unicodedata.normalize("NFKC", name).casefold().strip()
    return "".join(letter for letter in folded if unicodedata.category(letter) not in ("Cf", "Cc"))


def _told_apart(names: Iterable[str]) -> str:
    """Names with every character that is not ASCII as its number, so that they differ on any screen."""
    return " and ".join(sorted(map(ascii, names)))


def _twice(names: Sequence[str], written: Sequence[str]) -> str:
    """Names that stand twice, with all their forms where these differ."""
    clauses = []
    for name in names:
        forms = {form for form in written if _composed(form) == name}
        clauses.append(f"{name} ({_told_apart(forms)})" if len(forms) > 1 else name)
    return f"these are there twice: {_listed(clauses)}"


def _sorted_names(names: set[str]) -> tuple[str, ...]:
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _numbers_of_names(part: RawPart, names: tuple[str, ...]) -> NDArray[np.int64]:
    number_of = {name: number for number, name in enumerate(names)}
    given = _text(part)
    unknown = sorted(set(given) - set(number_of))
    if unknown:
        known = {_appearance(name): name for name in names}
        described = [
            f"{name!a}, which looks like {known[_appearance(name)]!a}" if _appearance(name) in known else repr(name)
            for name in unknown
        ]
        raise DataError(
            f"Every class of {part.source!r} must also be in the training part, but these are not: "
            f"{_listed(described)}. Add training samples of them, or take them out."
        )
    return np.array([number_of[name] for name in given], dtype=np.int64)


def _whole_numbers(part: RawPart) -> NDArray[np.int64]:
    labels = part.labels.squeeze(axis=1) if part.labels.ndim == 2 and part.labels.shape[1] == 1 else part.labels
    if labels.ndim != 1:
        raise DataError(
            f"Labels of {part.source!r} must be one class number or name per sample, got an array of shape "
            f"{labels.shape}. Where they are one-hot, store their argmax instead."
        )
    if labels.dtype.kind == "f":
        broken = np.flatnonzero(~np.isfinite(labels))
        if broken.size:
            raise DataError(
                f"Labels of {part.source!r} must be class numbers, but {broken.size} are not a number (NaN) or "
                f"infinite, the first for sample {broken[0]}. Remove these samples or label them."
            )
        fractions = np.flatnonzero(labels != np.floor(labels))
        if fractions.size:
            raise DataError(
                f"Labels of {part.source!r} must be whole numbers, got {labels[fractions[0]]} for sample "
                f"{fractions[0]}."
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
            f"{highest} and there are only {len(train.labels)} samples. Is this the label column? "
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
        f"for sample {outside[0]} ({outside.size} such labels in all). Correct the labels or remove these samples."
    )


def _check_all_present(part: RawPart, values: NDArray[np.int64], names: tuple[str, ...]) -> None:
    absent = np.flatnonzero(np.bincount(values, minlength=len(names)) == 0)
    if absent.size:
        described = [f"{number} ({names[number]!r})" for number in absent.tolist()]
        raise DataError(
            f"Every class must have training samples, but {part.source!r} has none of class {_listed(described)}. "
            "Add samples of it, or number the classes from 0 without gaps."
        )


def _listed(items: list[str]) -> str:
    more = f" and {len(items) - _MAX_NAMED} more" if len(items) > _MAX_NAMED else ""
    return ", ".join(items[:_MAX_NAMED]) + more
