"""p-values against exact probabilities: every possible count of losses and gains is gone through."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multinomial

from offramp.exits.hypothesis_tests import (
    LossCounts,
    RiskTest,
    best_bet,
    betting_p_value,
    binomial_p_value,
    fewest_samples,
)

NUM = 25
OUTCOMES = [(lost, gained) for lost in range(NUM + 1) for gained in range(NUM + 1 - lost)]


def chance_of_rejection(test: RiskTest, epsilon: float, level: float, p_lost: float, p_gained: float) -> float:
    """Exact probability that the p-value is at most ``level`` where losses and gains are this frequent."""
    rejected = [
        (lost, gained, NUM - lost - gained)
        for lost, gained in OUTCOMES
        if test.p_value(LossCounts(lost, gained, NUM), epsilon) <= level
    ]
    if not rejected:
        return 0.0
    return float(multinomial.pmf(rejected, NUM, [p_lost, p_gained, 1.0 - p_lost - p_gained]).sum())


@settings(max_examples=40, deadline=None)
@given(
    epsilon=st.floats(0.0, 0.4),
    excess=st.floats(0.0, 0.2),
    p_gained=st.floats(0.0, 0.3),
    level=st.floats(0.01, 0.5),
    share=st.floats(0.0, 1.0),
)
def test_a_drop_above_epsilon_is_rarely_excluded(
    epsilon: float, excess: float, p_gained: float, level: float, share: float
) -> None:
    p_gained = min(p_gained, 0.49 * (1.0 - epsilon - excess))
    p_lost = p_gained + epsilon + excess
    for test in (RiskTest("binomial"), RiskTest("betting", share / (1.0 - epsilon))):
        assert chance_of_rejection(test, epsilon, level, p_lost, p_gained) <= level + 1e-9


def test_the_tests_find_what_there_is_to_find() -> None:
    """A test that never rejects would pass the one above."""
    assert chance_of_rejection(RiskTest("binomial"), 0.2, 0.1, 0.02, 0.0) > 0.8
    # Losses that gains more than make up for are beyond the binomial test, which does not see the gains.
    bet = best_bet(LossCounts(4, 10, 25), 0.1)
    assert chance_of_rejection(RiskTest("betting", bet), 0.1, 0.1, 0.15, 0.4) > 0.5
    assert chance_of_rejection(RiskTest("binomial"), 0.1, 0.1, 0.15, 0.4) < 0.1


def test_values_by_hand() -> None:
    # No loss among 10: 0.9 ** 10. One: 10 * 0.1 * 0.9 ** 9 more.
    assert binomial_p_value(LossCounts(0, 3, 10), 0.1) == pytest.approx(0.9**10)
    assert binomial_p_value(LossCounts(1, 0, 10), 0.1) == pytest.approx(0.9**10 + 0.9**9)
    # Wealth after a loss, a gain and two without either: 0.55 * 1.55 * 1.05 ** 2 = 0.94, and a p-value is at most 1.
    assert betting_p_value(LossCounts(1, 1, 4), 0.1, 0.5) == 1.0
    assert betting_p_value(LossCounts(0, 1, 4), 0.1, 0.5) == pytest.approx(1 / (1.55 * 1.05**3))
    # Who bets everything is ruined by one loss.
    assert betting_p_value(LossCounts(1, 9, 10), 0.0, 1.0) == 1.0
    assert betting_p_value(LossCounts(5, 5, 10), 0.1, 0.0) == 1.0


def test_the_best_bet_is_the_best() -> None:
    counts = LossCounts(3, 5, 400)
    bet = best_bet(counts, 0.02)
    p_values = [betting_p_value(counts, 0.02, other) for other in np.linspace(0.0, 1.0 / 0.98, 2000)]
    assert betting_p_value(counts, 0.02, bet) == pytest.approx(min(p_values), rel=1e-3)
    # Where the drop is above epsilon there is nothing to be won.
    assert best_bet(LossCounts(30, 0, 400), 0.02) == pytest.approx(0.0, abs=1e-4)
    # Without any loss wealth grows with the bet, up to 1 / (1 - epsilon).
    assert best_bet(LossCounts(0, 5, 400), 0.1) == pytest.approx(1.0 / 0.9, abs=1e-4)


@pytest.mark.parametrize("test", [RiskTest("binomial"), RiskTest("betting", 0.4)])
@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (2, 0), (2, 9)])
def test_the_bound_is_where_the_p_value_is_delta(test: RiskTest, lost: int, gained: int) -> None:
    counts = LossCounts(lost, gained, 300)
    bound = test.upper_bound(counts, 0.05, 0.1)
    assert counts.drop < bound <= 0.05
    assert test.p_value(counts, bound) == pytest.approx(0.1, rel=1e-3)
    assert test.p_value(counts, bound - 0.002) > 0.1


def test_a_bound_is_never_above_epsilon() -> None:
    for test in (RiskTest("binomial"), RiskTest("betting", 0.4), RiskTest("betting", 0.0)):
        assert test.upper_bound(LossCounts(40, 0, 100), 0.05, 0.1) == 0.05
    assert RiskTest("binomial").upper_bound(LossCounts(100, 0, 100), 0.05, 0.1) == 0.05
    certain = RiskTest("betting", 1.0).upper_bound(LossCounts(0, 300, 300), 0.05, 0.1)
    assert -1.0 <= certain < 0.05


@pytest.mark.parametrize(("lost", "gained", "samples"), [(-1, 0, 5), (0, -1, 5), (3, 3, 5)])
def test_counts_that_cannot_be(lost: int, gained: int, samples: int) -> None:
    with pytest.raises(ValueError, match="counts must"):
        LossCounts(lost, gained, samples)
    assert math.isclose(LossCounts(1, 3, 10).drop, -0.2)


@pytest.mark.parametrize(
    ("epsilon", "delta", "expected"),
    [(0.01, 0.05, 299), (0.05, 0.1, 45), (0.5, 0.5, 1), (0.5, 0.25, 2), (0.5, 0.125, 3), (0.1, 0.1**2, 44)],
)
def test_the_fewest_samples_by_hand(epsilon: float, delta: float, expected: int) -> None:
    """ln 0.05 / ln 0.99 = 298.07; ln 0.1 / ln 0.95 = 44.9; 0.5 ** 2 = 0.25 exactly."""
    assert fewest_samples(epsilon, delta) == expected


@settings(max_examples=100, deadline=None)
@given(epsilon=st.floats(1e-3, 0.9), delta=st.floats(1e-3, 0.9))
def test_neither_test_passes_a_policy_that_changes_nothing_on_fewer_samples(epsilon: float, delta: float) -> None:
    needed = fewest_samples(epsilon, delta)
    assert needed is not None
    largest = 1.0 / (1.0 - epsilon)
    assert binomial_p_value(LossCounts(0, 0, needed), epsilon) <= delta
    assert betting_p_value(LossCounts(0, 0, needed), epsilon, largest) <= delta * (1 + 1e-9)
    if needed > 1:
        assert binomial_p_value(LossCounts(0, 0, needed - 1), epsilon) > delta
        assert betting_p_value(LossCounts(0, 0, needed - 1), epsilon, largest) > delta * (1 - 1e-9)


def test_no_number_of_samples_shows_that_nothing_is_lost() -> None:
    assert fewest_samples(0.0, 0.5) is None
