"""Placement of labels beside points without collisions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

CHARACTER_WIDTH = 7.2
LINE_HEIGHT = 15.0


@dataclass(frozen=True)
class Spot:
    """A point in pixels; y grows upwards."""

    x: float
    y: float


@dataclass(frozen=True)
class Label:
    """Offset of a text from its point in pixels, and which end of the text stands there."""

    text: str
    anchor: Literal["left", "center", "right"]
    shift_x: float
    shift_y: float


@dataclass(frozen=True)
class _Rectangle:
    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "_Rectangle") -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.top - self.bottom)


_SHIFTS: tuple[tuple[Literal["left", "center", "right"], float, float], ...] = (
    ("right", -11, 7),
    ("left", 11, -7),
    ("left", 11, 7),
    ("right", -11, -7),
    ("center", 0, 17),
    ("center", 0, -17),
    ("left", 11, 22),
    ("right", -11, 22),
    ("left", 11, -22),
    ("right", -11, -22),
    ("left", 11, -38),
    ("right", -11, -38),
    ("left", 30, -54),
)


def place_labels(
    texts: Sequence[str], spots: Sequence[Spot], obstacles: Sequence[Spot], width: float, height: float
) -> tuple[Label, ...]:
    """One label per spot, each at the first offset that is free, or else at the least crowded one.

    Later labels give way to earlier ones. ``width`` and ``height`` are those of the plotting area in pixels.
    """
    taken = [_Rectangle(p.x - 7, p.y - 7, p.x + 7, p.y + 7) for p in spots]
    light = [_Rectangle(p.x - 4, p.y - 4, p.x + 4, p.y + 4) for p in obstacles]
    frame = _Rectangle(0.0, 0.0, width, height)
    labels: list[Label] = []
    for text, spot in zip(texts, spots, strict=True):
        best: tuple[float, int] | None = None
        for number, shift in enumerate(_SHIFTS):
            box = _box(text, spot, *shift)
            outside = box.area - box.overlap(frame)
            crowd = 20 * outside + 5 * sum(map(box.overlap, taken)) + sum(map(box.overlap, light))
            if best is None or crowd < best[0]:
                best = (crowd, number)
        anchor, shift_x, shift_y = _SHIFTS[best[1] if best else 0]
        taken.append(_box(text, spot, anchor, shift_x, shift_y))
        labels.append(Label(text, anchor, shift_x, shift_y))
    return tuple(labels)


def _box(
    text: str, spot: Spot, anchor: Literal["left", "center", "right"], shift_x: float, shift_y: float
) -> _Rectangle:
    length = CHARACTER_WIDTH * len(text)
    before = {"left": 0.0, "center": length / 2, "right": length}[anchor]
    left = spot.x + shift_x - before
    middle = spot.y + shift_y
    return _Rectangle(left, middle - LINE_HEIGHT / 2, left + length, middle + LINE_HEIGHT / 2)
