"""What every runner of a measured device does: it says how long a file takes."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from offramp.cost.engines.measured.network_files import TimedFile


@dataclass(frozen=True)
class TimedRuns:
    """The runs of one file.

    Attributes:
        seconds: The time that counts.
        spread_s: Half the distance between the quartiles of the runs.
        energy_j: The lowest energy of a run in J; None where it was not measured.
    """

    seconds: float
    spread_s: float
    energy_j: float | None = None

    @classmethod
    def of_typical(cls, seconds: list[float]) -> "TimedRuns":
        """Summarise runs whose disturbances were divided out: the median counts.

        Args:
            seconds: The time of each run, at least one.

        Returns:
            The summary.
        """
        low, middle, high = np.quantile(seconds, [0.25, 0.5, 0.75])
        return cls(float(middle), float(high - low) / 2)

    @classmethod
    def of_least(cls, seconds: list[float], energies_j: list[float]) -> "TimedRuns":
        """Summarise runs as they were: the shortest counts, since other load only ever makes a run longer.

        Args:
            seconds: The time of each run, at least one.
            energies_j: The energy of each run; empty where it was not measured.

        Returns:
            The summary.
        """
        low, high = np.quantile(seconds, [0.25, 0.75])
        return cls(min(seconds), float(high - low) / 2, min(energies_j) if energies_j else None)


class DeviceRunner(Protocol):
    """Times files on one device."""

    @property
    def identity(self) -> str:
        """The device, its software and the settings of the measurement: part of the key of every stored cost."""
        ...

    @property
    def method(self) -> str:
        """What is measured, and which figure of all runs counts, as part of a sentence."""
        ...

    @property
    def measures_in_context(self) -> bool:
        """Whether a layer is timed as one of several copies, without what the device adds at the ends of a file."""
        ...

    def measure(self, file: TimedFile) -> TimedRuns:
        """Time a file.

        Args:
            file: The file.

        Returns:
            Its runs.

        Raises:
            ConfigError: The file cannot be timed; the message says why and what to do.
        """
        ...
