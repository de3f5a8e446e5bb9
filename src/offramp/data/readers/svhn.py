"""Street View House Numbers, cropped: ``train_32x32.mat`` and ``test_32x32.mat``, in which class 10 is the digit 0."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.file_listing import is_leftover
from offramp.data.mat_file import load_mat
from offramp.data.pixel_arrays import NamedArray, pixels_from_arrays
from offramp.data.raw_data import READERS, RawDataset, RawPart, ReadOptions, Role
from offramp.errors import DataError

_FILES: dict[Role, str] = {"train": "train_32x32.mat", "test": "test_32x32.mat"}


class SvhnReader:
    """Reads the cropped SVHN data set."""

    description = "SVHN: train_32x32.mat and test_32x32.mat in a folder, or one .mat file with X and y"

    def claims(self, path: Path) -> bool:
        if path.is_file():
            return path.suffix.lower() == ".mat"
        return any(child.suffix.lower() == ".mat" and not is_leftover(child.name) for child in path.iterdir())

    def read(self, path: Path, options: ReadOptions) -> RawDataset:
        if path.is_file():
            parts: tuple[RawPart, ...] = (_read_part("train", path),)
        else:
            files = {role: path / name for role, name in _FILES.items() if (path / name).is_file()}
            if "train" not in files:
                raise DataError(
                    f"{str(path)!r} must hold {_FILES['train']} (and, where there is one, {_FILES['test']}). "
                    "Rename the files, or name the one .mat file to use."
                )
            parts = tuple(_read_part(role, file) for role, file in files.items())
        return RawDataset(path.stem, parts, tuple(str(digit) for digit in range(10)))


READERS.add("svhn", SvhnReader())


def _read_part(role: Role, path: Path) -> RawPart:
    arrays = _load(path)
    images, labels = arrays["X"], arrays["y"]
    if images.ndim != 4:
        raise DataError(f"X in {str(path)!r} must have 4 axes (height, width, channels, images), got {images.shape}.")
    (pixels,) = pixels_from_arrays([NamedArray(f"{str(path)!r} (X)", images.transpose(3, 0, 1, 2))])
    labels = np.where(labels == 10, 0, labels)
    return RawPart(role, str(path), pixels, labels.reshape(-1) if labels.ndim == 2 and 1 in labels.shape else labels)


def _load(path: Path) -> dict[str, NDArray[Any]]:
    arrays = load_mat(path, ("X", "y"))
    missing = [name for name in ("X", "y") if name not in arrays]
    if missing:
        raise DataError(f"{str(path)!r} must hold the arrays X and y, but {' and '.join(missing)} is missing.")
    return arrays
