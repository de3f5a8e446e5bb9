"""Busy times of a link or a core."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An interval of cycles.

    Attributes:
        start: Its first cycle.
        end: One past its last cycle.
    """

    start: float
    end: float


class Timeline:
    """Busy times of one link or core, which serves one thing at a time."""

    def __init__(self) -> None:
        """Start idle."""
        self._starts: list[float] = []
        self._ends: list[float] = []
        self._transfers: dict[str, list[Interval]] = {}

    def earliest(self, ready: float, duration: float) -> float:
        """Find the first idle interval.

        Args:
            ready: It must not begin earlier.
            duration: Its length in cycles.

        Returns:
            Its start.
        """
        index = bisect_right(self._ends, ready)
        start = ready
        while index < len(self._starts) and self._starts[index] < start + duration:
            start = max(start, self._ends[index])
            index += 1
        return start

    def broadcast_start(self, tensor: str, ready: float, duration: float) -> float | None:
        """Find a transfer of a tensor that another receiver can listen to.

        Args:
            tensor: Name of the tensor.
            ready: The transfer must not begin earlier.
            duration: Its least length in cycles.

        Returns:
            Its start; None where there is none.
        """
        for interval in self._transfers.get(tensor, ()):
            if interval.start >= ready and interval.end - interval.start >= duration:
                return interval.start
        return None

    def take(self, start: float, duration: float, tensors: Collection[str]) -> None:
        """Mark an interval as busy.

        Args:
            start: Its start; the interval must be idle.
            duration: Its length in cycles.
            tensors: Names of the tensors that are transferred.
        """
        end = start + duration
        for tensor in tensors:
            self._transfers.setdefault(tensor, []).append(Interval(start, end))
        if duration <= 0:
            return
        index = bisect_left(self._starts, start)
        if index > 0 and self._ends[index - 1] == start:
            index -= 1
            start = self._starts[index]
            del self._starts[index], self._ends[index]
        if index < len(self._starts) and self._starts[index] == end:
            end = self._ends[index]
            del self._starts[index], self._ends[index]
        self._starts.insert(index, start)
        self._ends.insert(index, end)
