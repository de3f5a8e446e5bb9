"""Who holds what and when: busy times of a medium, contents of a memory."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection
from dataclasses import dataclass
from operator import attrgetter

_FOREVER = float("inf")


@dataclass(frozen=True)
class Window:
    """A span of cycles."""

    start: float
    end: float


class Timeline:
    """Busy times of one physical medium, which serves one thing at a time."""

    def __init__(self) -> None:
        self._starts: list[float] = []
        self._ends: list[float] = []
        self._seen: dict[str, list[Window]] = {}

    def fork(self) -> "Timeline":
        """The same in a world of its own."""
        other = Timeline()
        other._starts, other._ends = self._starts.copy(), self._ends.copy()
        other._seen = {tensor: windows.copy() for tensor, windows in self._seen.items()}
        return other

    def earliest(self, ready: float, duration: float) -> float:
        """Start of the first idle window of ``duration`` cycles that does not begin before ``ready``."""
        index = bisect_right(self._ends, ready)
        start = ready
        while index < len(self._starts) and self._starts[index] < start + duration:
            start = max(start, self._ends[index])
            index += 1
        return start

    def heard(self, tensor: str, ready: float, duration: float) -> float | None:
        """Start of a passage of ``tensor`` that begins at ``ready`` or later and is long enough to listen to."""
        for window in self._seen.get(tensor, ()):
            if window.start >= ready and window.end - window.start >= duration:
                return window.start
        return None

    def take(self, start: float, duration: float, tensors: Collection[str]) -> None:
        """Mark the medium busy; neighbouring busy spans are joined."""
        end = start + duration
        for tensor in tensors:
            self._seen.setdefault(tensor, []).append(Window(start, end))
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


@dataclass(frozen=True)
class Stored:
    """A tensor in a memory: its place is taken from ``since``, its content is there from ``available``."""

    tensor: str
    bits: int
    since: float
    available: float


@dataclass(frozen=True)
class _Change:
    time: float
    bits: int


class Store:
    """Contents of one memory over time. ``capacity_bits`` None = unlimited."""

    def __init__(self, capacity_bits: int | None) -> None:
        self.capacity_bits = capacity_bits
        self._content: dict[str, Stored] = {}
        self._changes: list[_Change] = []

    def __contains__(self, tensor: str) -> bool:
        return tensor in self._content

    def get(self, tensor: str) -> Stored | None:
        return self._content.get(tensor)

    @property
    def content(self) -> tuple[Stored, ...]:
        """What is stored, oldest first."""
        return tuple(self._content.values())

    @property
    def last_change(self) -> float:
        return self._changes[-1].time if self._changes else 0.0

    @property
    def final_bits(self) -> int:
        """Bits stored once everything planned so far has happened."""
        return sum(change.bits for change in self._changes)

    def put(self, item: Stored) -> None:
        if item.tensor not in self._content:
            self._content[item.tensor] = item
            insort(self._changes, _Change(item.since, item.bits), key=attrgetter("time"))

    def drop(self, tensor: str, time: float) -> None:
        """Forget ``tensor`` and give its place back at ``time``."""
        item = self._content.pop(tensor, None)
        if item is not None:
            insort(self._changes, _Change(max(time, item.since), -item.bits), key=attrgetter("time"))

    def fits_from(self, ready: float, bits: int) -> float:
        """First cycle, not before ``ready``, from which ``bits`` more fit at all times; infinity when never."""
        if self.capacity_bits is None:
            return ready
        room = self.capacity_bits - bits
        if room < 0:
            return _FOREVER
        used, start = 0, ready
        for index, change in enumerate(self._changes):
            used += change.bits
            following = self._changes[index + 1].time if index + 1 < len(self._changes) else _FOREVER
            if used > room and following > max(start, change.time):
                start = following
        return start
