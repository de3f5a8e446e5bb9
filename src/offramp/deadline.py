"""Wall time of a command: how much is left, and until when one phase may go on."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """A phase that began at ``start`` and must end at ``end``; both in seconds of the monotonic clock."""

    start: float
    end: float

    def passed(self) -> bool:
        return time.monotonic() >= self.end

    def fraction(self) -> float:
        """Share of the phase's time that is over, 0..1."""
        span = self.end - self.start
        return 1.0 if span <= 0 else min(max((time.monotonic() - self.start) / span, 0.0), 1.0)


class Clock:
    """Counts from ``started`` (monotonic seconds; now if None). ``seconds`` None = no limit."""

    def __init__(self, seconds: float | None, started: float | None = None) -> None:
        self.seconds = seconds
        self.started = time.monotonic() if started is None else started

    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def phase(self, end_fraction: float) -> Deadline | None:
        """A phase from now until ``end_fraction`` of the whole time; None without a limit."""
        if self.seconds is None:
            return None
        return Deadline(start=time.monotonic(), end=self.started + self.seconds * end_fraction)
