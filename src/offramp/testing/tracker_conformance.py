"""What every tracker must do, as checks that raise AssertionError with a sentence."""

import math
from pathlib import Path

from offramp.run.trackers.tracker import build_tracker


def check_figures(name: str, folder: Path) -> None:
    """Check that a tracker takes every kind of figure that a run logs, and is closed without an error.

    Args:
        name: The registered name of the tracker.
        folder: An empty folder, in the place of a run's.

    Raises:
        AssertionError: The tracker fails for a figure, or when it is closed.
    """
    figures: tuple[tuple[int, dict[str, float]], ...] = (
        (1, {"supernet/loss": 2.5}),
        (2, {"supernet/loss": 1.25}),
        (1, {"search/accuracy": 0.5, "search/energy_pj": 1e12, "search/failed": 0.0}),
        # A candidate that failed has no other figures.
        (2, {"search/failed": 1.0}),
        (3, {}),
        (4, {"search/accuracy": math.nan, "search/energy_pj": math.inf}),
    )
    try:
        tracker = build_tracker(name, folder)
        for step, values in figures:
            tracker.log(step, values)
        tracker.close()
    except Exception as exc:
        raise AssertionError(f"tracker {name!r} must take every figure, got {type(exc).__name__}: {exc}") from exc


def check_resumed(name: str, folder: Path) -> None:
    """Check that a second tracker works in a folder that has one's figures, as when a run is resumed.

    Args:
        name: The registered name of the tracker.
        folder: An empty folder, in the place of a run's.

    Raises:
        AssertionError: The second tracker fails, or removes a file of the first.
    """
    check_figures(name, folder)
    before = {path for path in folder.rglob("*") if path.is_file()}
    check_figures(name, folder)
    gone = sorted(str(path) for path in before if not path.exists())
    if gone:
        raise AssertionError(f"tracker {name!r} must keep the figures of a run that is resumed, but removed {gone}")


CHECKS = (check_figures, check_resumed)
