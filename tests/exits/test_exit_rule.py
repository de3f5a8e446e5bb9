"""Policies of all kinds on the same logits: fair, complete, and by one interface."""

import numpy as np
import pytest

from offramp.errors import InputError, UnknownNameError
from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.exit_rule import STOPPING_RULES, CachedOutputs, compare_policies
from offramp.exits.thresholds import ThresholdGrid
from tests.exits.synthetic import outputs

GRID = ThresholdGrid(0.1, 3)


def cached(num_samples: int = 300, num_exits: int = 4) -> CachedOutputs:
    strengths = np.linspace(1.2, 3.0, num_exits).tolist()
    made = outputs(num_samples, np.random.default_rng(0), strengths=strengths, num_classes=4)
    return CachedOutputs(made.logits, made.labels, tuple(float(index + 1) for index in range(num_exits)))


def test_every_point_is_what_its_rule_does_and_none_is_beaten() -> None:
    given = cached()
    curves = compare_policies(given, grid=GRID)
    assert [curve.name for curve in curves] == ["cumulative", "patience", "threshold"]
    for curve in curves:
        assert len(curve.points) >= 3
        for point in curve.points:
            exits = point.rule.decide(given.logits)
            answers = np.stack([item.argmax(axis=1) for item in given.logits])[exits, np.arange(300)]
            assert point.accuracy == np.mean(answers == given.labels)
            assert point.expected_cost == pytest.approx(np.mean(exits + 1.0))
        for cheap, dear in zip(curve.points, curve.points[1:], strict=False):
            assert cheap.expected_cost < dear.expected_cost
            assert cheap.accuracy < dear.accuracy
        # Leaving at once is the cheapest there is.
        assert curve.points[0].expected_cost == 1.0


def test_kinds_can_be_named() -> None:
    assert [curve.name for curve in compare_policies(cached(), ["patience"], GRID)] == ["patience"]
    with pytest.raises(UnknownNameError, match="Did you mean 'patience'"):
        compare_policies(cached(), ["patients"], GRID)
    assert "threshold" in STOPPING_RULES


def test_one_exit_alone() -> None:
    for curve in compare_policies(cached(num_exits=1), grid=GRID):
        assert [point.expected_cost for point in curve.points] == [1.0]


def test_thresholds_are_exit_policies() -> None:
    (curve,) = compare_policies(cached(), ["threshold"], GRID)
    assert all(isinstance(point.rule, ExitPolicy) for point in curve.points)


def test_learned_confidences_are_used_where_they_are_given() -> None:
    """An oracle that knows where an exit is right gives the best accuracy there can be."""
    given = cached()
    right = [(item.argmax(axis=1) == given.labels).astype(float) for item in given.logits]
    oracle = CachedOutputs(given.logits, given.labels, given.costs, tuple(right[:-1]))
    (known,) = compare_policies(oracle, ["cumulative"], GRID)
    (stand_in,) = compare_policies(given, ["cumulative"], GRID)
    assert known.points[-1].accuracy == np.mean(np.max(right, axis=0))
    assert stand_in.points[-1].accuracy < known.points[-1].accuracy


def test_outputs_that_do_not_fit_are_refused() -> None:
    given = cached(20, 3)
    good = np.full(20, 0.5)
    for confidences, fault in [
        ((good,), "one array of 20 samples per early exit"),
        ((good, good[:-1]), "one array of 20 samples"),
        ((good, good + 0.6), "from 0 to 1"),
        ((good, good * np.nan), "from 0 to 1"),
    ]:
        with pytest.raises(InputError, match=fault):
            CachedOutputs(given.logits, given.labels, given.costs, confidences)
    with pytest.raises(InputError, match="`costs` must have"):
        CachedOutputs(given.logits, given.labels, given.costs[:-1])
