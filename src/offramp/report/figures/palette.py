"""Colours by role, for the light and the dark theme; figures are drawn in light ones, which the page replaces.

The series colours follow Okabe and Ito's palette, which stays distinct for colour-blind readers.
Source: M. Okabe, K. Ito, "Color Universal Design", 2008.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """The colour of a role.

    Attributes:
        name: Name of the role.
        light: Colour of the light theme; each is used once, so that it identifies the role.
        dark: Colour of the dark theme.
    """

    name: str
    light: str
    dark: str


BACKGROUND = Colour("background", "#fdfdfe", "#14171c")
SURFACE = Colour("surface", "#f3f5f8", "#1c2127")
TEXT = Colour("text", "#1a1f26", "#e7eaee")
MUTED = Colour("muted", "#545d69", "#a9b2be")
LINE = Colour("line", "#d6dbe2", "#39424d")
FAINT = Colour("faint", "#aab3be", "#5d6874")
ACCENT = Colour("accent", "#005f9e", "#6fb9f2")
BLUE = Colour("blue", "#0072b2", "#4aa8e4")
VERMILION = Colour("vermilion", "#d55e00", "#f28b4b")
GREEN = Colour("green", "#009e73", "#33c49b")
YELLOW = Colour("yellow", "#e69f00", "#f1bf4f")
PURPLE = Colour("purple", "#b0558f", "#de97c2")
SKY = Colour("sky", "#56b4e9", "#9ad4f7")
OLIVE = Colour("olive", "#8a8a2e", "#c3c25f")
SLATE = Colour("slate", "#6b7785", "#8d99a8")

COLOURS = (
    BACKGROUND,
    SURFACE,
    TEXT,
    MUTED,
    LINE,
    FAINT,
    ACCENT,
    BLUE,
    VERMILION,
    GREEN,
    YELLOW,
    PURPLE,
    SKY,
    OLIVE,
    SLATE,
)
SERIES = (BLUE, YELLOW, GREEN, PURPLE, VERMILION, SKY, OLIVE, SLATE)


def series_colour(index: int) -> str:
    """Colour of a series in the light theme.

    Args:
        index: Index of the series, from 0.

    Returns:
        A colour; series after the last one of `SERIES` share it.
    """
    return SERIES[min(index, len(SERIES) - 1)].light
