"""Multiply and shift, against exact fractions."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from offramp.nn.fixed_point import MAX_ACCUMULATOR, common_fixed_point, fixed_point, rescale, shift_right

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
def test_integers_and_floats_give_the_exact_result(ratio: float, total: int) -> None:
    factor = fixed_point(torch.tensor(ratio))
    exact = round(Fraction(total) * Fraction(ratio))  # Python rounds halves of fractions to the even integer
    assert int(rescale(torch.tensor(total), factor)) == exact
    assert int((torch.tensor(float(total), dtype=torch.float64) * factor.as_float).round()) == exact


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
