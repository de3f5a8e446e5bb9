"""Refusal of machine sounds as search data, with a hint at `offramp detect`."""

from pathlib import Path

from offramp.data.raw_data import READERS, RawDataset, ReadOptions
from offramp.errors import DataError


class MachineSoundsReader:
    """Refuses data sets of machine sounds, because they have no classes."""

    description = "(for `offramp detect`: ToyADMOS, train/normal_id_01_00000000.wav, test/anomaly_id_01_00000000.wav)"

    def claims(self, path: Path) -> bool:
        return path.is_dir() and next(path.glob("train/normal_id_*.wav"), None) is not None

    def read(self, path: Path, options: ReadOptions) -> RawDataset:
        raise DataError(
            f"{str(path)!r} holds sounds of machines, normal ones to train on and anomalous ones to find, not classes. "
            f"Use `offramp detect {path}`."
        )


READERS.add("machine_sounds", MachineSoundsReader())
