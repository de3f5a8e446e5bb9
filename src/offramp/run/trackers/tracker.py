"""Trackers: log the figures of a search in addition to its record."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from offramp.registry import Registry


class Tracker(Protocol):
    """Receives figures as they come; it must not fail for a figure it cannot show."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """``values`` by name, such as ``search/accuracy``, at a step that counts upwards for each name."""
        ...

    def close(self) -> None: ...


TRACKERS: Registry[Callable[[Path], Tracker]] = Registry(
    "tracker", "offramp.run.trackers", entry_points="offramp.trackers"
)
"""Builders by name; each gets the run folder. A file in this package that adds one is all it takes."""


class NoTracker:
    """Logs nothing."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def close(self) -> None:
        pass


def build_tracker(name: str | None, folder: Path) -> Tracker:
    """The tracker of that name for a run; None = none. Raises InputError where its package is missing."""
    return NoTracker() if name is None else TRACKERS.get(name)(folder)
