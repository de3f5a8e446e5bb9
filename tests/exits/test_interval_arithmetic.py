"""Bounds hold whatever the logits are within their errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.exits.confidence_measures import MEASURES
from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.exit_rule import ExitRule
from offramp.exits.interval_arithmetic import INTERVALS, Interval, RoughLogits
from offramp.exits.rule_arithmetic import NUMPY
from offramp.exits.rules.cumulative import CumulativeConfidence
from offramp.exits.rules.patience import Patience


def interval(low: float, high: float) -> Interval:
    return Interval(np.asarray([low]), np.asarray([high]))


def bounds(value: Interval) -> tuple[float, float]:
    return float(value.low[0]), float(value.high[0])


def test_operators_by_hand() -> None:
    assert bounds(interval(1, 2) + interval(-3, 5)) == (-2, 7)
    assert bounds(interval(1, 2) + 1.0) == bounds(1.0 + interval(1, 2)) == (2, 3)
    assert bounds(interval(1, 2) - interval(-3, 5)) == (-4, 5)
    assert bounds(1.0 - interval(-3, 5)) == (-4, 4)
    assert bounds(interval(-1, 2) * interval(-3, 5)) == (-6, 10)
    assert bounds(2.0 * interval(-1, 2)) == (-2, 4)
    assert bounds(interval(-1, 2) / -2.0) == (-1, 0.5)


def test_what_is_not_certain_takes_both_ways() -> None:
    close, far = np.asarray([[1.0, 0.95, 0.0]]), np.asarray([[1.0, 0.0, 0.0]])
    error = np.asarray([0.03])
    rough, sure = (INTERVALS.predicted_class(RoughLogits(item, error)) for item in (close, far))
    other = INTERVALS.predicted_class(RoughLogits(far[:, ::-1], error))
    assert rough.tolist() == [[True, True, False]]
    assert bounds(INTERVALS.equal(sure, sure)) == (1, 1)
    assert bounds(INTERVALS.equal(rough, sure)) == (0, 1)
    assert bounds(INTERVALS.equal(sure, other)) == (0, 0)
    for first, second, wanted in ((sure, sure, (5, 6)), (sure, other, (1, 2)), (rough, sure, (1, 6))):
        chosen = INTERVALS.where(INTERVALS.equal(first, second), interval(5, 6), interval(1, 2))
        assert bounds(chosen) == wanted
    # What is certain hides the other way, be it the larger or the smaller one.
    assert bounds(INTERVALS.where(INTERVALS.equal(sure, sure), interval(1, 2), interval(5, 6))) == (1, 2)
    assert bounds(INTERVALS.where(INTERVALS.equal(sure, other), interval(1, 2), interval(5, 6))) == (5, 6)


def test_bounds_are_as_wide_as_the_errors_ask_for() -> None:
    """Errors of 0.03 at a temperature of 2: confidences move by 2 * 0.03 / 2, probabilities by a factor exp(0.03)."""
    rough = RoughLogits(np.log([[0.16, 0.81]]), np.asarray([0.03]))
    # Logits divided by 2: probabilities of 0.4 and 0.9 in 1.3.
    certain = INTERVALS.confidence(rough, "max_probability", 2.0)
    assert bounds(certain) == pytest.approx((0.9 / 1.3 - 0.03, 0.9 / 1.3 + 0.03))
    shares = INTERVALS.probabilities(rough, 2.0)
    assert shares.low[0] == pytest.approx(np.asarray([0.4, 0.9]) / 1.3 / np.exp(0.03))
    assert shares.high[0] == pytest.approx(np.asarray([0.4, 0.9]) / 1.3 * np.exp(0.03))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.3, 2.0, 10.0]), error=st.sampled_from([1e-3, 0.1, 1.0]))
def test_no_value_leaves_its_bounds(seed: int, scale: float, error: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=scale, size=(20, 4))
    moved = logits + rng.choice([-error, error, 0.0], size=logits.shape)
    rough = RoughLogits(logits, np.full(20, error))
    for temperature in (0.5, 1.0, 3.0):
        pairs = [
            (arithmetic.probabilities(item, temperature)) for arithmetic, item in ((INTERVALS, rough), (NUMPY, moved))
        ]
        pairs += [INTERVALS.largest(pairs[0]), NUMPY.largest(pairs[1])]
        for measure in MEASURES:
            pairs += [
                INTERVALS.confidence(rough, measure, temperature),
                NUMPY.confidence(moved, measure, temperature),
            ]
        for limits, exact in zip(pairs[::2], pairs[1::2], strict=True):
            assert (limits.low <= exact).all()
            assert (exact <= limits.high).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), measure=st.sampled_from(MEASURES), error=st.sampled_from([1e-3, 0.05, 0.5]))
def test_only_undecided_samples_can_move(seed: int, measure: str, error: float) -> None:
    rng = np.random.default_rng(seed)
    logits = [rng.normal(scale=2.0, size=(60, 3)) for _ in range(4)]
    thresholds = tuple(rng.uniform(0.2, 1.0, size=3).tolist())
    rules: list[ExitRule] = [
        ExitPolicy(measure, thresholds, (0.7, 1.0, 2.0, 1.0)),
        CumulativeConfidence(thresholds, measure),
        Patience(2),
        Patience(3),
    ]
    for rule in rules:
        undecided = rule.undecided(logits, np.full(60, error))
        for _ in range(5):
            moved = [item + rng.uniform(-error, error, size=item.shape) for item in logits]
            assert undecided[rule.decide(moved) != rule.decide(logits)].all()


@pytest.mark.parametrize("num_agreeing", [1, 2, 3])
def test_exact_logits_leave_nothing_undecided(num_agreeing: int) -> None:
    logits = [np.random.default_rng(index).normal(size=(50, 3)) for index in range(4)]
    assert not Patience(num_agreeing).undecided(logits, np.zeros(50)).any()
