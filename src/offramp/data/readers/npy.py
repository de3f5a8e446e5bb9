"""Files of one NumPy array each: ``x.npy`` and ``y.npy``, or ``x_train.npy``, ``y_train.npy``, ``x_test.npy``, ..."""

from pathlib import Path

from offramp.data.file_listing import is_leftover
from offramp.data.raw_data import READERS, RawDataset, ReadOptions
from offramp.data.signals.array_file import load_array
from offramp.data.signals.named_arrays import dataset_of_arrays, is_array_name


class NpyReader:
    """Reads NumPy arrays in files of their own."""

    description = "a folder with x.npy and y.npy, or x_train.npy, y_train.npy, x_test.npy, y_test.npy; or one of them"

    def claims(self, path: Path) -> bool:
        return path.suffix.lower() == ".npy" if path.is_file() else bool(_files(path))

    def read(self, path: Path, options: ReadOptions) -> RawDataset:
        folder = path.parent if path.is_file() else path
        arrays = {file.stem: load_array(file) for file in _files(folder) if is_array_name(file.stem, options)}
        return dataset_of_arrays(folder.resolve().name, str(folder), arrays, options)


READERS.add("npy", NpyReader())


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.npy") if file.is_file() and not is_leftover(file.name))
