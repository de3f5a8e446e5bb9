"""NumPy archives: arrays called ``x``/``images`` and ``y``/``labels``, alone or once per part (``x_train``, ...)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.images.pixel_units import NamedArray
from offramp.data.raw_data import READERS, ROLE_OF_WORD, RawDataset, RawPart, ReadOptions, Role
from offramp.data.signals.array_file import load_archive
from offramp.data.signals.array_samples import samples_from_arrays
from offramp.errors import DataError

_IMAGE_WORDS = frozenset(("x", "image", "images", "data"))
_LABEL_WORDS = frozenset(("y", "label", "labels", "target", "targets"))
_LENGTH_WORDS = frozenset(("length", "lengths"))
_NAME_ARRAYS = ("class_names", "classes", "label_names")


@dataclass(frozen=True)
class _Pair:
    """Names of the two arrays of one part."""

    role: Role
    images: str
    labels: str


class NpzReader:
    """Reads NumPy archives."""

    description = "an .npz file with arrays x and y, or x_train, y_train, x_test, y_test"

    def claims(self, path: Path) -> bool:
        return path.is_file() and path.suffix.lower() == ".npz"

    def read(self, path: Path, options: ReadOptions) -> RawDataset:
        arrays = load_archive(path)
        pairs = _pairs(path, arrays, options)
        found = samples_from_arrays(
            [NamedArray(f"{str(path)!r} ({p.images})", arrays[p.images]) for p in pairs],
            options.kind,
            lengths=[_lengths(path, arrays, pair) for pair in pairs],
        )
        parts = tuple(
            RawPart(
                pair.role,
                f"{path} ({pair.images}, {pair.labels})",
                samples,
                arrays[pair.labels],
                groups=_groups(path, arrays, pair, len(samples), options.group_column),
            )
            for pair, samples in zip(pairs, found.samples, strict=True)
        )
        names = next((arrays[name] for name in _NAME_ARRAYS if name in arrays), None)
        named = names is not None and names.ndim == 1 and names.dtype.kind == "U"
        class_names = tuple(names.tolist()) if names is not None and named else None
        return RawDataset(path.stem, parts, class_names, input_kind=found.kind, notes=found.notes)


READERS.add("npz", NpzReader())


def _groups(
    path: Path, arrays: dict[str, NDArray[Any]], pair: _Pair, count: int, column: str | None
) -> NDArray[np.str_] | None:
    """The array of a part that names the groups, such as ``speaker_train`` for ``speaker``."""
    if column is None:
        return None
    found = _by_role(path, arrays, frozenset((column.lower(),)))
    values = arrays[found[pair.role]] if pair.role in found else None
    if values is None or values.shape != (count,):
        raise DataError(
            f"{str(path)!r} must hold an array {column!r} (or {column}_train, ...) with one group per sample "
            f"({count} for {pair.role}), as data.group_column says, but it "
            f"{'holds none' if values is None else f'has shape {values.shape}'}."
        )
    return values.astype(np.str_)


def _lengths(path: Path, arrays: dict[str, NDArray[Any]], pair: _Pair) -> NamedArray | None:
    """The array that says how many steps of each series of a part count."""
    for name, values in arrays.items():
        role, rest = _role_and_rest(name)
        if rest in _LENGTH_WORDS and role == pair.role:
            return NamedArray(f"{str(path)!r} ({name})", values)
    return None


def _pairs(path: Path, arrays: dict[str, NDArray[Any]], options: ReadOptions) -> list[_Pair]:
    image_words = frozenset((options.image_column.lower(),)) if options.image_column else _IMAGE_WORDS
    label_words = frozenset((options.label_column.lower(),)) if options.label_column else _LABEL_WORDS
    images, labels = _by_role(path, arrays, image_words), _by_role(path, arrays, label_words)
    if not images or images.keys() != labels.keys():
        raise DataError(
            f"{str(path)!r} must hold images and labels under names such as x and y, x_train and y_train, or images "
            f"and labels, each in pairs; it holds {', '.join(sorted(arrays)) or 'nothing'}. "
            "Name the arrays with `image_column` and `label_column`."
        )
    return [_Pair(role, images[role], labels[role]) for role in images]


def _by_role(path: Path, arrays: dict[str, NDArray[Any]], words: frozenset[str]) -> dict[Role, str]:
    found: dict[Role, str] = {}
    for name in sorted(arrays):
        role, rest = _role_and_rest(name)
        if rest not in words and name.lower() not in words:
            continue
        if role in found:
            raise DataError(
                f"{str(path)!r} must have one array of each kind for {role}, but both {found[role]!r} and {name!r} "
                "could be meant. Name the right one with `image_column` or `label_column`."
            )
        found[role] = name
    return found


def _role_and_rest(name: str) -> tuple[Role, str]:
    words = name.lower().split("_")
    roles = [word for word in words if word in ROLE_OF_WORD]
    rest = "_".join(word for word in words if word not in ROLE_OF_WORD)
    return (ROLE_OF_WORD[roles[0]] if roles else "train"), rest
