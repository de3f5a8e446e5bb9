"""NumPy archives: arrays called ``x``/``images`` and ``y``/``labels``, alone or once per part (``x_train``, ...)."""

from pathlib import Path

from offramp.data.raw_data import READERS, RawDataset, ReadOptions
from offramp.data.signals.array_file import load_archive
from offramp.data.signals.named_arrays import dataset_of_arrays


class NpzReader:
    """Reads NumPy archives."""

    description = "an .npz file with arrays x and y, or x_train, y_train, x_test, y_test"

    def claims(self, path: Path) -> bool:
        return path.is_file() and path.suffix.lower() == ".npz"

    def read(self, path: Path, options: ReadOptions) -> RawDataset:
        return dataset_of_arrays(path.stem, str(path), load_archive(path), options)


READERS.add("npz", NpzReader())
