"""Space in memories over time: activations that come and go, weights in a ring buffer."""

from collections import deque
from dataclasses import dataclass, field

from offramp.cost.schedule import Region

FOREVER = float("inf")


@dataclass
class Residency:
    """Space that a part of a tensor takes in a memory.

    Attributes:
        tensor: Name of the tensor.
        region: The part.
        bits: Number of bits.
        start: Cycle from which the space is taken.
        end: Cycle in which it is free again; infinite until the last use is planned.
    """

    tensor: str
    region: Region
    bits: int
    start: float
    end: float = FOREVER


@dataclass
class MemoryOccupancy:
    """What is in one memory for activations, and when.

    Attributes:
        size_bits: Size of the memory.
        residencies: What may still matter.
        done: What ended before all that is still planned.
    """

    size_bits: int
    residencies: list[Residency] = field(default_factory=list)
    done: list[Residency] = field(default_factory=list)

    def fits_from(self, ready: float, bits: int) -> float:
        """Find the first cycle from which more bits fit for good.

        Args:
            ready: The cycle must not be earlier.
            bits: How many.

        Returns:
            The cycle; infinite where there is none.
        """
        limit = self.size_bits - bits
        live = [residency for residency in self.residencies if residency.end > ready]
        used = sum(residency.bits for residency in live)
        if used <= limit:
            return ready
        for residency in sorted(live, key=lambda item: item.end):
            if residency.end == FOREVER:
                return FOREVER
            used -= residency.bits
            if used <= limit:
                return residency.end
        return FOREVER

    def take(self, residency: Residency) -> Residency:
        """Take space.

        Args:
            residency: What takes it.

        Returns:
            The same object.
        """
        self.residencies.append(residency)
        return residency

    def forget_before(self, cycle: float) -> None:
        """Set aside what no longer matters.

        Args:
            cycle: Nothing that is planned from now on begins earlier.
        """
        self.done += [residency for residency in self.residencies if residency.end <= cycle]
        self.residencies = [residency for residency in self.residencies if residency.end > cycle]


@dataclass
class WeightBuffer:
    """A weight memory that is filled in the order of use; space is free again once its oldest block has been used.

    Attributes:
        size_bits: Size of the memory.
    """

    size_bits: int
    _blocks: deque[Residency] = field(default_factory=deque)
    _used: int = 0
    _granted: float = 0.0

    def fits_from(self, bits: int) -> float:
        """Find the first cycle from which more bits fit.

        Args:
            bits: How many.

        Returns:
            The cycle; later calls never get an earlier one.
        """
        while self._used + bits > self.size_bits and self._blocks:
            oldest = self._blocks.popleft()
            self._used -= oldest.bits
            self._granted = max(self._granted, oldest.end)
        return self._granted

    def wait_until(self, cycle: float) -> None:
        """Take nothing more before a cycle.

        Args:
            cycle: The first cycle in which there is space again.
        """
        self._granted = max(self._granted, cycle)

    def take(self, residency: Residency) -> Residency:
        """Take space behind what was taken before.

        Args:
            residency: What takes it.

        Returns:
            The same object.
        """
        self._blocks.append(residency)
        self._used += residency.bits
        return residency
