import pytest

from offramp.report.figures import palette


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def test_contrast_of_black_on_white_is_21() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)


@pytest.mark.parametrize("ground", [palette.BACKGROUND, palette.SURFACE])
@pytest.mark.parametrize("ink", [palette.TEXT, palette.MUTED, palette.ACCENT])
def test_text_is_readable_in_both_themes(ink: palette.Colour, ground: palette.Colour) -> None:
    assert contrast(ink.light, ground.light) >= 4.5
    assert contrast(ink.dark, ground.dark) >= 4.5


@pytest.mark.parametrize("colour", [palette.BLUE, palette.VERMILION, palette.GREEN, palette.PURPLE, palette.SLATE])
def test_marks_stand_out_in_both_themes(colour: palette.Colour) -> None:
    assert contrast(colour.light, palette.BACKGROUND.light) >= 3.0
    assert contrast(colour.dark, palette.BACKGROUND.dark) >= 3.0


def test_light_colours_identify_their_role() -> None:
    lights = [colour.light for colour in palette.COLOURS]
    assert len(set(lights)) == len(lights)
    assert not set(lights) & {colour.dark for colour in palette.COLOURS}
    assert {colour.name for colour in palette.SERIES} <= {colour.name for colour in palette.COLOURS}


def test_series_colours_do_not_run_out() -> None:
    assert palette.series_colour(0) == palette.BLUE.light
    assert palette.series_colour(99) == palette.SLATE.light
