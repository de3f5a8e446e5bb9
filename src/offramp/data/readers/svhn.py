"""Street View House Numbers, cropped: ``train_32x32.mat`` and ``test_32x32.mat``, in which class 10 is the digit 0."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.file_listing import is_leftover
from offramp.data.images.mat_file import load_mat
from offramp.data.images.pixel_arrays import pixels_from_arrays
from offramp.data.images.pixel_units import NamedArray
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
            files: dict[Role, Path] = {"train": path}
        else:
            files = {role: path / name for role, name in _FILES.items() if (path / name).is_file()}
            if "train" not in files:
                raise DataError(
                    f"{str(path)!r} must hold {_FILES['train']} (and, where there is one, {_FILES['test']}). "
                    "Rename the files, or name the one .mat file to use."
                )
        arrays = {role: _load(file) for role, file in files.items()}
        found = pixels_from_arrays([_images(files[role], arrays[role]["X"]) for role in files])
        parts = tuple(
            RawPart(role, str(files[role]), pixels, _labels(arrays[role]["y"]))
            for role, pixels in zip(files, found.images, strict=True)
        )
        return RawDataset(path.stem, parts, tuple(str(digit) for digit in range(10)), notes=found.notes)


READERS.add("svhn", SvhnReader())


def _images(path: Path, values: NDArray[Any]) -> NamedArray:
    if values.ndim != 4:
        raise DataError(f"X in {str(path)!r} must have 4 axes (height, width, channels, images), got {values.shape}.")
    return NamedArray(f"{str(path)!r} (X)", values.transpose(3, 0, 1, 2))


def _labels(values: NDArray[Any]) -> NDArray[Any]:
    digits = np.where(values == 10, 0, values)
    return digits.reshape(-1) if digits.ndim == 2 and 1 in digits.shape else digits


def _load(path: Path) -> dict[str, NDArray[Any]]:
    arrays = load_mat(path, ("X", "y"))
    missing = [name for name in ("X", "y") if name not in arrays]
    if missing:
        raise DataError(f"{str(path)!r} must hold the arrays X and y, but {' and '.join(missing)} is missing.")
    return arrays
