"""Wall time of a command: how much is left, and when each phase must end."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """The time of one phase, in seconds of the monotonic clock.

    Attributes:
        start: When the phase began.
        end: When it must end.
    """

    start: float
    end: float

    def passed(self) -> bool:
        """Whether the phase must have ended by now."""
        return time.monotonic() >= self.end

    def fraction(self) -> float:
        """Share of the phase's time that is over, 0..1."""
        span = self.end - self.start
        return 1.0 if span <= 0 else min(max((time.monotonic() - self.start) / span, 0.0), 1.0)

    def seconds_left(self) -> float:
        """Seconds until the phase must end, at least 0."""
        return max(0.0, self.end - time.monotonic())

    def up_to(self, share: float) -> "Deadline":
        """A part of the phase.

        Args:
            share: Share of this phase's time at which the part must end, 0..1.

        Returns:
            The part from now to that time.
        """
        return Deadline(time.monotonic(), self.start + (self.end - self.start) * share)


class Clock:
    """The time budget of a command, whose phases share what is left of it when the clock is made.

    Attributes:
        seconds: The budget; None = no limit.
        started: When it began, in seconds of the monotonic clock.
        made: When the clock was made; what was prepared before takes nothing from the first phase alone.
    """

    def __init__(self, seconds: float | None, started: float | None = None) -> None:
        """Start the clock.

        Args:
            seconds: The budget; None = no limit.
            started: When it began, in seconds of the monotonic clock; None = now.
        """
        self.seconds = seconds
        self.made = time.monotonic()
        self.started = self.made if started is None else started

    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def phase(self, end_fraction: float) -> Deadline | None:
        """Begin a phase.

        Args:
            end_fraction: Share of the time that was left when the clock was made, at which the phase must end, 0..1.

        Returns:
            A phase from now to that time; None without a limit.
        """
        if self.seconds is None:
            return None
        left = max(0.0, self.started + self.seconds - self.made)
        return Deadline(start=time.monotonic(), end=self.made + left * end_fraction)
