"""Trackers: log the figures of a search in addition to its record."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from offramp.registry import CALLABLE, Registry


class Tracker(Protocol):
    """Receives the figures of a run. It ignores a figure that it cannot show."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log figures.

        Args:
            step: Number of the epoch or of the evaluation, from 1; for each name it only rises.
            values: The figures by name, such as ``search/accuracy``.
        """
        ...

    def close(self) -> None:
        """Write what is buffered; nothing is logged afterwards."""
        ...


TRACKERS: Registry[Callable[[Path], Tracker]] = Registry(
    "tracker", "offramp.run.trackers", entry_points="offramp.trackers", expects=CALLABLE
)
"""Functions or classes that make a tracker from the run folder, by name."""


class NoTracker:
    """Logs nothing."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def close(self) -> None:
        pass


def build_tracker(name: str | None, folder: Path) -> Tracker:
    """Make the tracker of a run.

    Args:
        name: Its registered name; None = nothing is logged.
        folder: The run folder.

    Returns:
        The tracker.

    Raises:
        InputError: There is no tracker of that name, or the package that it needs is not installed.
    """
    return NoTracker() if name is None else TRACKERS.get(name)(folder)
