"""Which second of a sound is heard, where the sound is longer than a network's window."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LongSounds = Literal["loudest", "start", "windows"]
"""The window with the most energy, the first one, or one every half window."""


@dataclass(frozen=True)
class Heard:
    """The part of a longer sound that was heard.

    Attributes:
        start_s: Its beginning in seconds.
        end_s: Its end in seconds.
        duration_s: Seconds of the whole sound.
    """

    start_s: float
    end_s: float
    duration_s: float

    def __str__(self) -> str:
        return f"heard {self.start_s:.2f} to {self.end_s:.2f} s of {self.duration_s:.2f} s"


def heard_at(start: int, window: int, count: int, rate_hz: int) -> Heard | None:
    """Name the part of a sound that a window covers.

    Args:
        start: First sample of the window.
        window: Samples of the window.
        count: Samples of the sound.
        rate_hz: Samples per second.

    Returns:
        The part; None where the window covers the whole sound.
    """
    if count <= window:
        return None
    return Heard(start / rate_hz, (start + window) / rate_hz, count / rate_hz)


def window_starts(samples: NDArray[np.float32], window: int, how: LongSounds) -> tuple[int, ...]:
    """Choose the windows of a sound.

    Args:
        samples: Samples of the sound, (count,).
        window: Samples of a window.
        how: Which windows are taken of a sound that is longer.

    Returns:
        The first sample of each window: 0 alone where the sound is not longer; with ``windows`` the last one ends with
        the sound.
    """
    if how == "windows":
        return _all_starts(len(samples), window)
    if how == "start" or len(samples) <= window:
        return (0,)
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    return (int(np.argmax(energy[window:] - energy[:-window])),)


def num_windows(count: int, window: int, how: LongSounds) -> int:
    """Count the windows that `window_starts` chooses.

    Args:
        count: Samples of the sound.
        window: Samples of a window.
        how: Which windows are taken of a sound that is longer.

    Returns:
        The number of windows, at least 1.
    """
    return len(_all_starts(count, window)) if how == "windows" else 1


def _all_starts(count: int, window: int) -> tuple[int, ...]:
    last = count - window
    if last <= 0:
        return (0,)
    starts = range(0, last + 1, max(1, window // 2))
    return (*starts, last) if starts[-1] < last else tuple(starts)
