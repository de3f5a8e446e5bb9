"""What is in a memory over time, in the layer-by-layer schedule."""

from bisect import insort
from dataclasses import dataclass
from operator import attrgetter

_NEVER = float("inf")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a memory.

    Attributes:
        tensor: Name of the tensor.
        bits: Number of bits.
        since: Cycle from which its space is taken.
        available: Cycle from which it can be read.
    """

    tensor: str
    bits: int
    since: float
    available: float


@dataclass(frozen=True)
class _Change:
    time: float
    bits: int


class MemoryContents:
    """Contents of one memory over time.

    Attributes:
        capacity_bits: Size of the memory; None = unlimited.
    """

    def __init__(self, capacity_bits: int | None) -> None:
        """Start empty.

        Args:
            capacity_bits: Size of the memory; None = unlimited.
        """
        self.capacity_bits = capacity_bits
        self._content: dict[str, StoredTensor] = {}
        self._changes: list[_Change] = []

    def __contains__(self, tensor: str) -> bool:
        return tensor in self._content

    def get(self, tensor: str) -> StoredTensor | None:
        """Look up a tensor.

        Args:
            tensor: Name of the tensor.

        Returns:
            The tensor in this memory; None where it is not there.
        """
        return self._content.get(tensor)

    @property
    def content(self) -> tuple[StoredTensor, ...]:
        """What is stored, the oldest first."""
        return tuple(self._content.values())

    @property
    def last_change(self) -> float:
        """Cycle of the last change that is planned; 0 without any."""
        return self._changes[-1].time if self._changes else 0.0

    @property
    def final_bits(self) -> int:
        """Bits stored after all that is planned."""
        return sum(change.bits for change in self._changes)

    def put(self, item: StoredTensor) -> None:
        """Store a tensor; nothing happens where it is stored already.

        Args:
            item: The tensor.
        """
        if item.tensor not in self._content:
            self._content[item.tensor] = item
            insort(self._changes, _Change(item.since, item.bits), key=attrgetter("time"))

    def drop(self, tensor: str, time: float) -> None:
        """Remove a tensor; nothing happens where it is not stored.

        Args:
            tensor: Name of the tensor.
            time: Cycle from which its space is free.
        """
        item = self._content.pop(tensor, None)
        if item is not None:
            insort(self._changes, _Change(max(time, item.since), -item.bits), key=attrgetter("time"))

    def fits_from(self, ready: float, bits: int) -> float:
        """Find the first cycle from which more bits fit at all times.

        Args:
            ready: The cycle must not be earlier.
            bits: How many.

        Returns:
            The cycle; infinite where there is none.
        """
        if self.capacity_bits is None:
            return ready
        limit = self.capacity_bits - bits
        if limit < 0:
            return _NEVER
        used, start = 0, ready
        for index, change in enumerate(self._changes):
            used += change.bits
            following = self._changes[index + 1].time if index + 1 < len(self._changes) else _NEVER
            if used > limit and following > max(start, change.time):
                start = following
        return start
