"""Room in memories over time: activations that come and go, weights in a ring."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from offramp.cost.schedule import Region

FOREVER = float("inf")


@dataclass
class Stay:
    """Room taken from ``start``; ``end`` is infinite until the last use is planned."""

    tensor: str
    region: Region
    bits: int
    start: float
    end: float = FOREVER


@dataclass
class RoomUse:
    """What lies in one memory for activations, and when."""

    size_bits: int
    stays: list[Stay] = field(default_factory=list)
    done: list[Stay] = field(default_factory=list)

    def fits_from(self, ready: float, bits: int) -> float:
        """First cycle, not before ``ready``, from which ``bits`` more fit for good; infinite when never."""
        room = self.size_bits - bits
        live = [stay for stay in self.stays if stay.end > ready]
        used = sum(stay.bits for stay in live)
        if used <= room:
            return ready
        for stay in sorted(live, key=lambda item: item.end):
            if stay.end == FOREVER:
                return FOREVER
            used -= stay.bits
            if used <= room:
                return stay.end
        return FOREVER

    def take(self, stay: Stay) -> Stay:
        self.stays.append(stay)
        return stay

    def fork(self, twins: Callable[[Stay], Stay]) -> "RoomUse":
        """The same in a world of its own; what is over is shared."""
        return RoomUse(self.size_bits, [twins(stay) for stay in self.stays], list(self.done))

    def forget_before(self, cycle: float) -> None:
        """Nothing that is planned from now on begins before ``cycle``: what ended by then no longer matters."""
        self.done += [stay for stay in self.stays if stay.end <= cycle]
        self.stays = [stay for stay in self.stays if stay.end > cycle]


@dataclass
class WeightRing:
    """A weight memory that is filled in the order of use; room comes back when its oldest block has been used."""

    size_bits: int
    _blocks: deque[Stay] = field(default_factory=deque)
    _used: int = 0
    _granted: float = 0.0

    def room_from(self, bits: int) -> float:
        """First cycle from which ``bits`` more fit; later calls never get an earlier one."""
        while self._used + bits > self.size_bits and self._blocks:
            oldest = self._blocks.popleft()
            self._used -= oldest.bits
            self._granted = max(self._granted, oldest.end)
        return self._granted

    def fork(self, twins: Callable[[Stay], Stay]) -> "WeightRing":
        return WeightRing(self.size_bits, deque(twins(stay) for stay in self._blocks), self._used, self._granted)

    def take(self, stay: Stay) -> Stay:
        self._blocks.append(stay)
        self._used += stay.bits
        return stay
