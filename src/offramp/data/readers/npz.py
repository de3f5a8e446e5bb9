"""NumPy archives: arrays called ``x``/``images`` and ``y``/``labels``, alone or once per part (``x_train``, ...)."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.image_files import MAX_TOTAL_BYTES
from offramp.data.pixel_arrays import pixels_from_arrays
from offramp.data.pixel_units import NamedArray
from offramp.data.raw_data import READERS, ROLE_OF_WORD, RawDataset, RawPart, ReadOptions, Role
from offramp.errors import DataError

_IMAGE_WORDS = frozenset(("x", "image", "images", "data"))
_LABEL_WORDS = frozenset(("y", "label", "labels", "target", "targets"))
_LARGEST_RATIO = 100
_ALWAYS_ALLOWED_BYTES = 256 * 2**20
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
        arrays = _load(path)
        pairs = _pairs(path, arrays, options)
        found = pixels_from_arrays([NamedArray(f"{str(path)!r} ({p.images})", arrays[p.images]) for p in pairs])
        parts = tuple(
            RawPart(pair.role, f"{path} ({pair.images}, {pair.labels})", pixels, arrays[pair.labels])
            for pair, pixels in zip(pairs, found.images, strict=True)
        )
        names = next((arrays[name] for name in _NAME_ARRAYS if name in arrays), None)
        named = names is not None and names.ndim == 1 and names.dtype.kind == "U"
        class_names = tuple(names.tolist()) if names is not None and named else None
        return RawDataset(path.stem, parts, class_names, notes=found.notes)


READERS.add("npz", NpzReader())


def _load(path: Path) -> dict[str, NDArray[Any]]:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{str(path)!r} must be an .npz archive, but it is not: it is cut short, or of another kind.")
    try:
        with zipfile.ZipFile(path) as archive:
            total_bytes = sum(member.file_size for member in archive.infolist())
        if total_bytes > MAX_TOTAL_BYTES:
            raise DataError(
                f"{str(path)!r} must unpack to at most {MAX_TOTAL_BYTES / 2**30:.0f} GiB, "
                f"but it says {total_bytes / 2**30:.0f} GiB."
            )
        # Images shrink to a tenth at most; a thousand times less is a file that is made to fill the memory.
        allowed = max(_ALWAYS_ALLOWED_BYTES, _LARGEST_RATIO * path.stat().st_size)
        if total_bytes > allowed:
            raise DataError(
                f"{str(path)!r} must unpack to at most {_LARGEST_RATIO} times its size, but it says "
                f"{total_bytes / 2**20:,.0f} MiB, and has {path.stat().st_size / 2**20:,.2f} MiB. If it is right, save "
                "it with numpy.savez, which does not compress."
            )
        with np.load(path, allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name]) for name in arrays.files}
    except DataError:
        raise
    except PermissionError:
        raise
    # NumPy's and zipfile's parsers raise many types on damaged bytes (tokenize.TokenError among them).
    except Exception as exc:
        raise DataError(
            f"{str(path)!r} cannot be read ({exc}): it is damaged, or holds Python objects, which are never loaded. "
            "Save plain number arrays with numpy.savez."
        ) from exc


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
