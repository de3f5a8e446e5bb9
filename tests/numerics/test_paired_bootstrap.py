"""Intervals of paired comparisons: against scipy's bootstrap, by hand, and how often they cover the true value."""

import numpy as np
import pytest
from scipy.stats import bootstrap, norm

from offramp.numerics.paired_bootstrap import Estimate, paired_bootstrap

# Right in both, in the second alone, in the first alone, in none.
DIFFERENCES = np.array([0.0, -1.0, 1.0, 0.0])


def difference(shares: np.ndarray) -> np.ndarray:
    return shares @ DIFFERENCES


def test_the_interval_is_that_of_the_paired_percentile_bootstrap_of_scipy() -> None:
    counts = np.array([700, 120, 160, 20])
    first = np.repeat([1, 0, 1, 0], counts)
    second = np.repeat([1, 1, 0, 0], counts)
    expected = bootstrap(
        (first, second),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=4000,
        batch=200,
        rng=np.random.default_rng(1),
    ).confidence_interval
    found = paired_bootstrap(counts, difference, seed=3)
    assert found.value == pytest.approx(0.04)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.002)


def test_the_interval_has_the_width_of_the_normal_one_where_samples_are_many() -> None:
    """Variance of one difference: 0.1 + 0.2 - 0.1 ** 2 = 0.29."""
    counts = np.array([6000, 1000, 2000, 1000])
    half = norm.ppf(0.975) * np.sqrt(0.29 / 10_000)
    found = paired_bootstrap(counts, difference, seed=0)
    assert (found.low, found.high) == pytest.approx((0.1 - half, 0.1 + half), abs=5e-4)


def test_no_difference_among_few_samples_is_no_proof_that_there_is_none() -> None:
    """Among 100 samples no pair differs. A plain bootstrap gives an interval of width 0."""
    found = paired_bootstrap(np.array([90, 0, 0, 10]), difference, seed=0)
    assert found.value == 0.0
    assert found.low <= -0.01 < 0.01 <= found.high


@pytest.mark.parametrize("num_samples", [100, 400])
@pytest.mark.parametrize("shares", [(0.988, 0.010, 0.002), (0.98, 0.01, 0.01), (0.9, 0.05, 0.05), (0.94, 0.05, 0.01)])
def test_intervals_of_differences_cover_the_true_value_as_often_as_they_say(
    num_samples: int, shares: tuple[float, float, float]
) -> None:
    true = shares[2] - shares[1]
    drawn = np.random.default_rng(7).multinomial(num_samples, (*shares, 0.0), size=400)
    found = [paired_bootstrap(counts, difference, seed=index, resamples=999) for index, counts in enumerate(drawn)]
    covered = np.mean([item.low - 1e-12 <= true <= item.high + 1e-12 for item in found])
    # 400 draws at 0.95 have a standard deviation of 0.011.
    assert covered >= 0.925


@pytest.mark.parametrize("rates", [(0.5, 0.3, 0.2), (0.9, 0.05, 0.05), (0.98, 0.01, 0.01), (0.997, 0.001, 0.002)])
def test_intervals_of_cost_ratios_cover_the_true_value_as_often_as_they_say(rates: tuple[float, ...]) -> None:
    costs = np.array([1.0, 5.0, 20.0])
    true = 10.0 / float(np.array(rates) @ costs)
    drawn = np.random.default_rng(8).multinomial(360, rates, size=400)
    found = [
        paired_bootstrap(counts, lambda shares: 10.0 / (shares @ costs), seed=index, resamples=999)
        for index, counts in enumerate(drawn)
    ]
    assert np.mean([item.low <= true <= item.high for item in found]) >= 0.92


def test_the_same_seed_gives_the_same_interval() -> None:
    counts = np.array([80, 5, 9, 6])
    assert paired_bootstrap(counts, difference, seed=4) == paired_bootstrap(counts, difference, seed=4)
    assert paired_bootstrap(counts, difference, seed=4) != paired_bootstrap(counts, difference, seed=5)


def test_ten_thousand_samples_take_no_time_per_sample() -> None:
    """Ten million samples in one cell: a bootstrap that visits samples would need gigabytes."""
    found = paired_bootstrap(np.array([10**7, 0, 0, 0]), difference, seed=0)
    assert found.value == 0.0
    assert abs(found.high) < 1e-6


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, float("nan")])
def test_a_confidence_outside_of_0_to_1_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        paired_bootstrap(np.array([1, 1]), lambda shares: shares[..., 0], seed=0, confidence=confidence)


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        paired_bootstrap(np.array([0, 0]), lambda shares: shares[..., 0], seed=0)


@pytest.mark.parametrize("values", [(1.0, 2.0, 3.0), (1.0, 0.0, 0.5), (float("nan"), 0.0, 1.0)])
def test_an_estimate_outside_of_its_interval_is_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="lie in its interval"):
        Estimate(*values)
