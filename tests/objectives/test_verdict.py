"""The verdict on early exits, on cases worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from offramp.cost.report import CostReport, StageCost
from offramp.errors import InputError
from offramp.exits.quality.sample_outcomes import sample_outcomes
from offramp.jsonio import dumps, loads
from offramp.numerics.paired_bootstrap import Estimate
from offramp.objectives.verdict import (
    ENERGY,
    GAIN_METRICS,
    LATENCY,
    PRODUCT,
    ComparedNetwork,
    Gain,
    Verdict,
    answer_of,
    compare,
)


def stage(latency: float, energy_j: float) -> StageCost:
    return StageCost("exit", latency, 0.0, 0.0, latency, energy_j * 1e12, latency, energy_j * 1e12, 1)


def network(correct: list[int], exits: list[int], *stages: tuple[float, float]) -> ComparedNetwork:
    cost = CostReport("toy", "toy", "1", "offramp", tuple(stage(*item) for item in stages), ())
    return ComparedNetwork(sample_outcomes(correct, exits, len(stages)), cost)


def gains(energy: tuple[float, float], latency: tuple[float, float], product: tuple[float, float]) -> tuple[Gain, ...]:
    ends = (energy, latency, product)
    return tuple(Gain(metric, Estimate(low, low, high)) for metric, (low, high) in zip(GAIN_METRICS, ends, strict=True))


def test_the_gains_are_the_ratios_of_mean_costs_worked_out_by_hand() -> None:
    """Three of four samples leave at (10 cycles, 1 J), one at (50, 7): means 20 cycles, 2.5 J, 95 J cycles.

    The match takes 40 cycles and 5 J for each, 200 J cycles. Right are 3 against 4 of 4.
    """
    exits = network([1, 1, 1, 0], [0, 0, 0, 1], (10.0, 1.0), (50.0, 7.0))
    match = network([1, 1, 1, 1], [0, 0, 0, 0], (40.0, 5.0))
    found = compare(exits, match)
    assert [found.gain(metric).value for metric in GAIN_METRICS] == pytest.approx([2.0, 2.0, 200 / 95])
    assert found.accuracy_difference.value == pytest.approx(-0.25)
    assert found.num_samples == 4
    assert found.answer == "undecided"


def test_a_match_with_exits_is_compared_sample_by_sample() -> None:
    """Both leave together at half of the cost of the other: the ratio is exactly 2, whatever the resample."""
    left = [0, 1] * 50
    cheap = network([1] * 100, left, (1.0, 1.0), (10.0, 10.0))
    dear = network([1] * 100, left, (2.0, 2.0), (20.0, 20.0))
    found = compare(cheap, dear).gain(LATENCY)
    assert found.value == pytest.approx(2.0)
    # Half a sample in each of the cells that were not seen moves it a little.
    assert 1.9 < found.low <= 2.0 <= found.high < 2.1


def test_exits_pay_at_the_same_accuracy_and_half_the_cost() -> None:
    right = [1] * 950 + [0] * 50
    exits = network(right, [0] * 800 + [1] * 200, (1.0, 1.0), (6.0, 6.0))
    found = compare(exits, network(right, [0] * 1000, (4.0, 4.0)))
    assert found.answer == "pay"
    assert found.samples_to_decide is None


def test_exits_that_nobody_uses_do_not_pay() -> None:
    """A failed guarantee: everybody runs through a branch and leaves at the end, at 1.1 times the cost."""
    right = [1] * 950 + [0] * 50
    exits = network(right, [1] * 1000, (1.0, 1.0), (4.4, 4.4))
    found = compare(exits, network(right, [0] * 1000, (4.0, 4.0)))
    assert found.answer == "do not pay"
    assert found.gain(PRODUCT).value == pytest.approx(1 / 1.21)


def test_few_samples_decide_nothing_and_the_number_that_would_is_stated() -> None:
    """100 samples, one lost and one gained: the interval is about 2.8 points on either side, the margin 1 point.

    (2.8 / 1) ** 2 is about 8 times as many samples.
    """
    correct = [1] * 98 + [0, 1]
    other = [1] * 98 + [1, 0]
    exits = network(correct, [0] * 80 + [1] * 20, (1.0, 1.0), (6.0, 6.0))
    found = compare(exits, network(other, [0] * 100, (4.0, 4.0)))
    assert found.answer == "undecided"
    assert found.samples_to_decide is not None
    assert 400 <= found.samples_to_decide <= 1200
    many = compare(
        network(correct * 12, ([0] * 80 + [1] * 20) * 12, (1.0, 1.0), (6.0, 6.0)),
        network(other * 12, [0] * 1200, (4.0, 4.0)),
    )
    assert many.answer == "pay"


SAME = Estimate(0.0, -0.005, 0.005)


@pytest.mark.parametrize(
    ("difference", "energy", "latency", "product", "expected"),
    [
        (SAME, (1.5, 1.6), (1.5, 1.6), (2.2, 2.6), "pay"),
        # The product is lower, but latency is certainly higher.
        (SAME, (3.0, 3.1), (0.8, 0.9), (2.4, 2.8), "undecided"),
        # Latency may be higher or lower.
        (SAME, (3.0, 3.1), (0.9, 1.1), (2.7, 3.4), "pay"),
        (SAME, (0.9, 1.1), (0.9, 1.1), (0.8, 1.2), "undecided"),
        (SAME, (0.8, 0.9), (0.8, 0.9), (0.64, 0.8), "do not pay"),
        (SAME, (1.0, 1.0), (1.0, 1.0), (1.0, 1.0), "do not pay"),
        # Costs more, and is certainly more accurate.
        (Estimate(0.02, 0.01, 0.03), (0.8, 0.9), (0.8, 0.9), (0.64, 0.8), "undecided"),
        # Costs less, but may lose more than the margin; certainly loses more than the margin.
        (Estimate(0.0, -0.02, 0.02), (1.5, 1.6), (1.5, 1.6), (2.2, 2.6), "undecided"),
        (Estimate(-0.03, -0.04, -0.02), (1.5, 1.6), (1.5, 1.6), (2.2, 2.6), "undecided"),
        # Ends of intervals that lie on the bounds.
        (Estimate(0.0, -0.01, 0.01), (1.1, 1.2), (1.1, 1.2), (1.2, 1.4), "pay"),
        (Estimate(0.01, 0.0, 0.02), (0.8, 0.9), (0.8, 0.9), (0.64, 0.8), "do not pay"),
    ],
)
def test_the_rule(
    difference: Estimate,
    energy: tuple[float, float],
    latency: tuple[float, float],
    product: tuple[float, float],
    expected: str,
) -> None:
    assert answer_of(difference, gains(energy, latency, product), 0.01) == expected


LOWER = Estimate(-0.007, -0.022, 0.008)
CHEAPER = gains((1.3, 1.5), (1.3, 1.5), (1.9, 2.1))


@pytest.mark.parametrize(
    ("difference", "at_cost", "expected"),
    [
        # 97.3 % where the match has 98.0 %, and the static network of the same cost 95.0 %.
        (LOWER, None, "undecided"),
        (LOWER, Estimate(0.023, 0.008, 0.038), "pay"),
        (LOWER, Estimate(0.023, -0.001, 0.038), "undecided"),
        # As accurate as the match; the network at its cost is measured 2 points, half a point, or not below.
        (SAME, Estimate(0.020, -0.001, 0.041), "pay"),
        (SAME, Estimate(0.005, -0.010, 0.020), "undecided"),
        (SAME, Estimate(0.000, -0.017, 0.017), "undecided"),
        # A static network that costs no more is certainly within one point, or more accurate.
        (SAME, Estimate(0.000, -0.009, 0.009), "do not pay"),
        (SAME, Estimate(-0.02, -0.03, -0.01), "do not pay"),
        # Certainly more accurate, if by little.
        (SAME, Estimate(0.005, 0.001, 0.009), "pay"),
    ],
)
def test_a_static_network_that_costs_no_more_and_is_as_accurate_speaks_against_early_exits(
    difference: Estimate, at_cost: Estimate | None, expected: str
) -> None:
    assert answer_of(difference, CHEAPER, 0.01, at_cost) == expected


def test_a_network_that_costs_more_than_its_match_does_not_pay_whatever_the_other() -> None:
    dearer = gains((0.8, 0.9), (0.8, 0.9), (0.64, 0.8))
    assert answer_of(LOWER, dearer, difference_at_cost=Estimate(0.023, 0.008, 0.038)) == "do not pay"


@pytest.mark.parametrize(
    ("at_cost", "expected"),
    [
        # Half a width of 2 points must become half a point, below the margin or above 0.
        (Estimate(0.005, -0.015, 0.025), 16_000),
        # 0.017 must become 0.01.
        (Estimate(0.0, -0.017, 0.017), 2890),
        # 0.021 must become 0.02, to lie above 0.
        (Estimate(0.020, -0.001, 0.041), 1103),
    ],
)
def test_how_many_samples_would_decide_against_the_static_network_at_the_same_cost(
    at_cost: Estimate, expected: int
) -> None:
    found = Verdict("undecided", LOWER, CHEAPER, num_samples=1000, difference_at_cost=at_cost)
    assert found.samples_to_decide == pytest.approx(expected, abs=1)


def test_both_matches_are_compared_on_the_same_samples() -> None:
    """1000 samples: 970 right, against 980 of the match and 940 of the network at its cost."""
    right = [1] * 970 + [0] * 30
    exits = network(right, [0] * 800 + [1] * 200, (1.0, 1.0), (6.0, 6.0))
    match = network([1] * 980 + [0] * 20, [0] * 1000, (4.0, 4.0))
    at_cost = network([1] * 940 + [0] * 60, [0] * 1000, (2.0, 2.0))
    found = compare(exits, match, at_cost)
    assert found.difference_at_cost is not None
    assert found.difference_at_cost.value == pytest.approx(0.03)
    assert found.answer == "pay"
    assert compare(exits, match).answer == "undecided"
    with pytest.raises(ValueError, match="same samples"):
        compare(exits, match, network([1], [0], (2.0, 2.0)))


def test_more_samples_are_not_named_where_the_accuracy_is_too_low() -> None:
    found = Verdict(
        "undecided", Estimate(-0.03, -0.04, -0.02), gains((1.5, 1.6), (1.5, 1.6), (2.2, 2.6)), num_samples=1000
    )
    assert found.samples_to_decide is None


def test_a_verdict_survives_json_and_refuses_another_answer() -> None:
    right = [1] * 95 + [0] * 5
    found = compare(network(right, [0] * 80 + [1] * 20, (1.0, 1.0), (6.0, 6.0)), network(right, [0] * 100, (4.0, 4.0)))
    assert loads(Verdict, dumps(found)) == found
    with pytest.raises(InputError, match="must be 'undecided' by these intervals"):
        loads(Verdict, dumps(found).replace('"answer":"undecided"', '"answer":"pay"'))
    with pytest.raises(ValueError, match="`gains` must be of"):
        replace(found, gains=found.gains[:2])


def test_networks_of_different_test_sets_are_not_compared() -> None:
    one = network([1], [0], (1.0, 1.0))
    with pytest.raises(ValueError, match="same samples"):
        compare(one, network([1, 1], [0, 0], (1.0, 1.0)))
    with pytest.raises(ValueError, match="same exits"):
        replace(one, outcomes=sample_outcomes([1], [0], 2))


def test_true_gains_are_covered_and_no_gain_is_rarely_called_one() -> None:
    """Exits that save nothing on average are called paying in at most 5 % of test sets."""
    rng = np.random.default_rng(0)
    called = 0
    for seed in range(60):
        correct = rng.random(500) < 0.9
        left = (rng.random(500) < 0.5).astype(int)
        # Mean energy 0.5 * 0.5 + 0.5 * 1.5 = 1, that of the match; latencies are the same.
        exits = network(list(correct), list(left), (1.0, 0.5), (1.0, 1.5))
        found = compare(exits, network(list(correct), [0] * 500, (1.0, 1.0)), seed=seed)
        called += found.answer == "pay"
        assert found.gain(ENERGY).low < found.gain(ENERGY).high
    assert called <= 6
