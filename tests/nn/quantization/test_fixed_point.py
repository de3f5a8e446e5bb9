"""Multiply and shift, against exact fractions."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from offramp.nn.quantization.fixed_point import (
    MAX_ACCUMULATOR,
    common_fixed_point,
    fixed_point,
    keep_significant,
    rescale,
    shift_right,
)

RATIOS = st.floats(min_value=2.0**-40, max_value=2.0**20, width=32)
SUMS = st.integers(-MAX_ACCUMULATOR + 1, MAX_ACCUMULATOR - 1)


def test_a_half_is_half_of_the_largest_multiplier() -> None:
    factor = fixed_point(torch.tensor(0.5))
    assert (int(factor.multiplier), int(factor.shift)) == (2**23, 24)
    assert float(factor.as_float) == 0.5


def test_halves_go_to_the_even_integer() -> None:
    factor = fixed_point(torch.tensor(0.25))
    values = torch.tensor([1, 2, 3, 6, 10, -1, -2, -3, -6, -10])
    # 0.25 0.5 0.75 1.5 2.5 and their negatives
    assert rescale(values, factor).tolist() == [0, 0, 1, 2, 2, 0, 0, -1, -2, -2]


def test_shifting_by_hand() -> None:
    # 5/2 = 2.5, 7/2 = 3.5, -5/2 = -2.5, 9/4 = 2.25, 11/4 = 2.75
    values, shifts = torch.tensor([5, 7, -5, 9, 11]), torch.tensor([1, 1, 1, 2, 2])
    assert shift_right(values, shifts).tolist() == [2, 4, -2, 2, 3]


@given(RATIOS)
def test_a_ratio_is_kept_exactly(ratio: float) -> None:
    factor = fixed_point(torch.tensor(ratio))
    exact = Fraction(int(factor.multiplier), 2 ** int(factor.shift))
    # Below 2**-31 nothing an accumulator holds can reach one half.
    assert exact == Fraction(ratio) or (exact == 0 and Fraction(ratio) * MAX_ACCUMULATOR < Fraction(1, 2))
    assert 0 <= int(factor.multiplier) < 2**24
    assert int(factor.shift) >= 1


@given(RATIOS, SUMS)
def test_integers_do_what_float32_does(ratio: float, total: int) -> None:
    factor = fixed_point(torch.tensor(ratio))
    whole = int(rescale(torch.tensor(total), factor))
    product = torch.tensor(total).to(torch.float32) * factor.as_float.to(torch.float32)
    assert whole == int(product.round())
    assert whole == round(significant(significant(Fraction(total)) * Fraction(ratio)))
    # 24 bits hold all that counts: the result is the nearest integer but for products within 2**-16 of a half.
    exact = Fraction(total) * Fraction(ratio)
    if abs(exact) < 256:
        assert abs(whole - exact) <= Fraction(1, 2) + Fraction(1, 2**15)


def significant(value: Fraction) -> Fraction:
    """To 24 significant bits; Python rounds halves of fractions to the even integer."""
    if value == 0:
        return value
    unit = Fraction(1)
    while abs(value) / unit >= 2**24:
        unit *= 2
    while abs(value) / unit < 2**23:
        unit /= 2
    return round(value / unit) * unit


@given(RATIOS, st.integers(-1000, 1000))
def test_exact_halves_are_no_exception(ratio: float, odd: int) -> None:
    power = torch.tensor(2.0**-7)
    total = 64 * (2 * odd + 1)
    assert int(rescale(torch.tensor(total), fixed_point(power))) == round(Fraction(2 * odd + 1, 2))


@pytest.mark.parametrize("ratio", [-0.5, float("nan"), float("inf"), 2.0**22])
def test_what_is_no_ratio_of_steps_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="a ratio of steps must be from 0"):
        fixed_point(torch.tensor([0.5, ratio]))


def test_two_ratios_share_a_shift() -> None:
    factors = common_fixed_point(torch.tensor([0.75, 0.125]))
    assert factors.shift.tolist() == [24, 24]
    assert factors.multiplier.tolist() == [12_582_912, 2_097_152]
    # 3 * 0.75 + 2 * 0.125 = 2.5, a half that goes to 2
    total = (torch.tensor([3, 2]) * factors.multiplier).sum()
    assert int(shift_right(total, factors.shift[0])) == 2


def test_a_channel_of_its_own_ratio() -> None:
    factor = fixed_point(torch.tensor([0.5, 2.0, 0.0]))
    assert rescale(torch.tensor([7, 7, 7]), factor).tolist() == [4, 14, 0]


def test_significant_bits_by_hand() -> None:
    values = torch.tensor([2**24 - 1, 2**24 + 1, 2**24 + 3, -(2**24) - 3, 2**25 + 6, 5])
    # Beyond 2**24 every second integer is left, beyond 2**25 every fourth; halves go to the even one.
    expected = [2**24 - 1, 2**24, 2**24 + 4, -(2**24) - 4, 2**25 + 8, 5]
    assert keep_significant(values).tolist() == expected
    assert values.to(torch.float32).long().tolist() == expected
