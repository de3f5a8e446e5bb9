"""Data that a caller of `offramp.search` gives in Python: arrays, torch data sets, data sets of Hugging Face."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.raw_data import ROLE_OF_WORD, RawDataset, ReadOptions
from offramp.data.signals.named_arrays import dataset_of_arrays
from offramp.data.signals.row_collection import collect_rows, is_row_collection, plain_array
from offramp.errors import DataError

IN_PYTHON = "python:data"
"""What `data.source` says of a run whose data were given in Python."""

_ROLES_OF_COUNT = {1: ("train",), 2: ("train", "test"), 3: ("train", "validation", "test")}
_ACCEPTED = (
    "`data` must be arrays (x, y), a dict of splits (train, validation, test), a torch data set or up to three of "
    "them, or a data set of Hugging Face"
)
_NAME = "data"
_WHERE = "data given in Python"
_MAX_NAMED = 5


def raw_from_python(data: object, options: ReadOptions) -> RawDataset:
    """Make a data set of what a caller gives.

    Args:
        data: Arrays ``(x, y)``; a dict of splits (``train``, ``validation``, ``test``), each of them arrays, a dict of
            arrays or a data set; a dict of named arrays (``x_train``, ``y_train``, ...); a torch data set, or two
            (train, test) or three (train, validation, test); or a ``DatasetDict`` or ``Dataset`` of Hugging Face. Items
            of data sets are pairs or dicts.
        options: Settings of the user, which may name columns.

    Returns:
        The data set.

    Raises:
        DataError: The data are of another kind, or invalid.
    """
    if isinstance(data, Mapping):
        if not data or not all(isinstance(key, str) for key in data):
            raise DataError(f"{_ACCEPTED}, got a dict with the keys {_listed(list(map(repr, data)))}.")
        if not all(key.lower() in ROLE_OF_WORD for key in data):
            arrays = {key: plain_array(values, key) for key, values in data.items()}
            return dataset_of_arrays(_NAME, _WHERE, arrays, options)
        parts = [(ROLE_OF_WORD[key.lower()], part) for key, part in data.items()]
        twice = sorted({role for role, _ in parts if [other for other, _ in parts].count(role) > 1})
        if twice:
            raise DataError(f"`data` must have each split once, got {_listed(list(data))}.")
        return _joined(parts, options)
    if isinstance(data, tuple | list) and len(data) in _ROLES_OF_COUNT and all(map(is_row_collection, data)):
        return _joined(list(zip(_ROLES_OF_COUNT[len(data)], data, strict=True)), options)
    return _joined([("train", data)], options)


def _joined(parts: Sequence[tuple[str, object]], options: ReadOptions) -> RawDataset:
    """The parts as one set of named arrays, such as ``x_train``."""
    arrays: dict[str, NDArray[Any]] = {}
    notes: list[str] = []
    names_of: dict[str, tuple[str, ...]] = {}
    for role, part in parts:
        if is_row_collection(part):
            collected = collect_rows(part, f"the {role} split", options)
            named = {options.image_column or "x": collected.samples, options.label_column or "y": collected.labels}
            if collected.groups is not None and options.group_column is not None:
                named[options.group_column] = collected.groups
            if collected.class_names:
                _check_class_names(names_of, role, collected.class_names)
                names_of[role] = collected.class_names
            notes += collected.notes
        elif isinstance(part, tuple | list) and len(part) == 2:
            x, y = (plain_array(values, f"{name} of the {role} split") for values, name in zip(part, "xy", strict=True))
            named = {options.image_column or "x": x, options.label_column or "y": y}
        elif isinstance(part, Mapping):
            named = {str(key): plain_array(values, f"{key} of the {role} split") for key, values in part.items()}
        else:
            raise DataError(f"{_ACCEPTED}, got {type(part).__name__}{_hint(part)}.")
        arrays |= {f"{name}_{role}": values for name, values in named.items()}
    if names_of:
        arrays["class_names"] = np.array(next(iter(names_of.values())))
    raw = dataset_of_arrays(_NAME, _WHERE, arrays, options)
    return replace(raw, notes=(*raw.notes, *notes))


def _check_class_names(known: Mapping[str, tuple[str, ...]], role: str, names: tuple[str, ...]) -> None:
    """Equal numbers must mean equal classes in all splits."""
    for other, expected in known.items():
        if names != expected:
            raise DataError(
                f"All splits must number the same classes in the same order, but the {other} split has "
                f"{_listed(expected)} ({len(expected)}) and the {role} split {_listed(names)} ({len(names)}). Give "
                "class names as labels, or make both from the same list of classes."
            )


def _hint(part: object) -> str:
    if hasattr(part, "__iter__") and not hasattr(part, "__len__"):
        return ", which has no length: collect its samples into arrays first"
    return " without labels" if isinstance(part, np.ndarray) else ""


def _listed(items: Sequence[object]) -> str:
    return ", ".join(map(str, items[:_MAX_NAMED])) + (", ..." if len(items) > _MAX_NAMED else "")
