"""Placement of labels beside points so that they overlap as little as possible."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

CHARACTER_WIDTH = 7.2
"""Mean width of a character in pixels."""

LINE_HEIGHT = 15.0
"""Height of a line in pixels."""


@dataclass(frozen=True)
class PixelPoint:
    """A point in the plotting area.

    Attributes:
        x: Distance from the left edge in pixels.
        y: Distance from the lower edge in pixels.
    """

    x: float
    y: float


@dataclass(frozen=True)
class Label:
    """A label and its offset from its point.

    Attributes:
        text: The text.
        anchor: The part of the text that is placed at the offset.
        shift_x: Offset to the right in pixels.
        shift_y: Offset upwards in pixels.
    """

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
    texts: Sequence[str], points: Sequence[PixelPoint], obstacles: Sequence[PixelPoint], width: float, height: float
) -> tuple[Label, ...]:
    """Place one label beside each point, at the first free offset or else at the least crowded one.

    Later labels avoid earlier ones.

    Args:
        texts: The texts.
        points: The points, one per text.
        obstacles: Other points, which labels avoid where they can.
        width: Width of the plotting area in pixels.
        height: Height of the plotting area in pixels.

    Returns:
        One label per text, in order.
    """
    taken = [_Rectangle(p.x - 7, p.y - 7, p.x + 7, p.y + 7) for p in points]
    light = [_Rectangle(p.x - 4, p.y - 4, p.x + 4, p.y + 4) for p in obstacles]
    frame = _Rectangle(0.0, 0.0, width, height)
    labels: list[Label] = []
    for text, point in zip(texts, points, strict=True):
        best: tuple[float, int] | None = None
        for number, shift in enumerate(_SHIFTS):
            box = _box(text, point, *shift)
            outside = box.area - box.overlap(frame)
            crowd = 20 * outside + 5 * sum(map(box.overlap, taken)) + sum(map(box.overlap, light))
            if best is None or crowd < best[0]:
                best = (crowd, number)
        anchor, shift_x, shift_y = _SHIFTS[best[1] if best else 0]
        taken.append(_box(text, point, anchor, shift_x, shift_y))
        labels.append(Label(text, anchor, shift_x, shift_y))
    return tuple(labels)


def _box(
    text: str, point: PixelPoint, anchor: Literal["left", "center", "right"], shift_x: float, shift_y: float
) -> _Rectangle:
    length = CHARACTER_WIDTH * len(text)
    before = {"left": 0.0, "center": length / 2, "right": length}[anchor]
    left = point.x + shift_x - before
    middle = point.y + shift_y
    return _Rectangle(left, middle - LINE_HEIGHT / 2, left + length, middle + LINE_HEIGHT / 2)
