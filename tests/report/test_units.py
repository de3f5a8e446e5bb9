import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.report import units

PREFIXES = {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "": 1.0, "m": 1e-3, "µ": 1e-6, "n": 1e-9, "p": 1e-12}


def plain(text: str) -> str:
    return text.replace(units.NBSP, " ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1.00"),
        (9.996, "10.0"),
        (12.34, "12.3"),
        (999.7, "1000"),
        (123456.0, "123456"),
        (0.00123, "0.00123"),
        (-4.567, "-4.57"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert units.significant(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00123, "J", "1.23 mJ"),
        (1e-12, "J", "1.00 pJ"),
        (2.5e-13, "J", "0.250 pJ"),
        (0.0, "J", "0 J"),
        (179058.0, "cycles", "179 k cycles"),
        (0.5, "cycles", "0.500 cycles"),
        (2.43e6, "MACs", "2.43 M MACs"),
        (999.7, "MACs", "1.00 k MACs"),
        (999.4, "MACs", "999 MACs"),
        (-2000.0, "J", "-2.00 kJ"),
        (374.18, "J·cycles", "374 J·cycles"),
        (2e8, "Hz", "200 MHz"),
        (math.nan, "J", "–"),
    ],
)
def test_prefix_and_unit(value: float, unit: str, text: str) -> None:
    assert plain(units.si(value, unit)) == text


@given(st.floats(min_value=1e-11, max_value=1e14))
def test_a_figure_reads_back_to_its_value(value: float) -> None:
    number, unit = plain(units.si(value, "J")).split(" ")
    assert float(number) * PREFIXES[unit.removesuffix("J")] == pytest.approx(value, rel=5.1e-3)
    if 1e-11 < value < 9.9e14:
        assert 0.99 <= float(number) < 1000


@given(st.lists(st.floats(min_value=0.0, max_value=1e13), min_size=1))
def test_one_scale_for_an_axis_keeps_all_numbers_below_a_thousand(values: list[float]) -> None:
    scale = units.scale_for(values, "MACs")
    assert max(values) * scale.factor <= 1000 * (1 + 1e-2)
    assert scale.factor <= 1.0


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.973, "97.3 %"),
        (1.0, "100.0 %"),
        (0.9999, "99.9 %"),
        (0.0, "0.0 %"),
        (0.0001, "< 0.1 %"),
        (math.nan, "–"),
    ],
)
def test_percent(share: float, text: str) -> None:
    assert plain(units.percent(share)) == text


def test_percent_without_digits_keeps_the_ends_for_the_ends() -> None:
    assert plain(units.percent(0.997, 0)) == "99 %"
    assert plain(units.percent(0.003, 0)) == "< 1 %"
    assert plain(units.percent(0.62, 0)) == "62 %"


@pytest.mark.parametrize(
    ("value", "reference", "text"),
    [
        (10.0, 31.0, "3.1× less"),
        (31.0, 10.0, "3.1× more"),
        (10.0, 10.0, "the same"),
        (10.0, 10.04, "the same"),
        (10.0, 10.4, "1.04× less"),
        (1.0, 42.9, "42.9× less"),
        (0.0, 1.0, "–"),
        (math.nan, 1.0, "–"),
    ],
)
def test_reduction(value: float, reference: float, text: str) -> None:
    assert plain(units.reduction(value, reference)) == text


@given(st.floats(min_value=1e-6, max_value=1e6), st.floats(min_value=1e-6, max_value=1e6))
def test_reduction_names_the_right_direction(value: float, reference: float) -> None:
    text = units.reduction(value, reference)
    if text != "the same":
        assert text.endswith("less") == (value < reference)
        assert float(text.split("×")[0]) > 1.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (125.4, "2 min 5 s"),
        (3599.9, "1 h 0 min"),
        (11000.0, "3 h 3 min"),
        (-1.0, "–"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert plain(units.duration(seconds)) == text


def test_named_quantities() -> None:
    assert plain(units.energy(7.07e6)) == "7.07 µJ"
    assert plain(units.wall_time(200_000, 200e6)) == "1.00 ms"
    assert plain(units.percentage_points(-0.0021)) == "0.2 percentage points"
    assert plain(units.count(1, "class", "classes")) == "1 class"
    assert plain(units.count(12345, "class", "classes")) == "12 345 classes"
