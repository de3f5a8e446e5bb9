"""Thresholds of every kind of exit rule on the same logits."""

import itertools

import numpy as np
import pytest

from offramp.errors import InputError, UnknownNameError
from offramp.exits.confidence_measures import MEASURES
from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.exit_rule import EXIT_RULES, CachedOutputs
from offramp.exits.rule_curve import rule_curve
from offramp.exits.score_thresholds import ThresholdGrid
from offramp.exits.thresholds import trade_off_curve
from tests.exits.synthetic import outputs

GRID = ThresholdGrid(0.1, 3)


def cached(num_samples: int = 300, num_exits: int = 4) -> CachedOutputs:
    strengths = np.linspace(1.2, 3.0, num_exits).tolist()
    made = outputs(num_samples, np.random.default_rng(0), strengths=strengths, num_classes=4)
    return CachedOutputs(made.logits, made.labels, tuple(float(index + 1) for index in range(num_exits)))


def test_every_point_is_what_its_rule_does_and_none_is_beaten() -> None:
    given = cached()
    assert list(EXIT_RULES) == ["cumulative", "patience", "threshold"]
    for name in EXIT_RULES:
        curve = rule_curve(name, given, GRID)
        assert len(curve) >= 3
        for point in curve:
            assert point.rule.name == name
            exits = point.rule.decide(given.logits)
            answers = np.stack([item.argmax(axis=1) for item in given.logits])[exits, np.arange(300)]
            assert point.accuracy == np.mean(answers == given.labels)
            assert point.expected_cost == pytest.approx(np.mean(exits + 1.0))
        for cheap, dear in itertools.pairwise(curve):
            assert cheap.expected_cost < dear.expected_cost
            assert cheap.accuracy < dear.accuracy
        # Leaving at once is the cheapest there is.
        assert curve[0].expected_cost == 1.0


def test_a_rule_of_an_unknown_name_is_answered_with_a_near_one() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'patience'"):
        rule_curve("patients", cached(), GRID)


def test_one_exit_alone() -> None:
    for name in EXIT_RULES:
        assert [point.expected_cost for point in rule_curve(name, cached(num_exits=1), GRID)] == [1.0]


def test_thresholds_are_exit_policies_and_those_of_the_trade_off_curves() -> None:
    given = cached()
    curve = rule_curve("threshold", given, GRID)
    assert all(isinstance(point.rule, ExitPolicy) for point in curve)
    policies = [
        choice.policy
        for measure in MEASURES
        for choice in trade_off_curve(given.logits, given.labels, given.costs, measure, GRID)
    ]
    assert list(ExitPolicy.choices(given, GRID)) == policies


def test_thresholds_come_from_the_grid_that_is_given_or_from_the_default_one() -> None:
    given = cached(100, 3)
    coarse = rule_curve("cumulative", given, ThresholdGrid(1.0, 0))
    assert {value for point in coarse for value in point.rule.notation(3).thresholds} <= {0.0, 1.0, 2.0}
    assert rule_curve("cumulative", given) == rule_curve("cumulative", given, ThresholdGrid())
    assert len(coarse) < len(rule_curve("cumulative", given))


def test_outputs_that_do_not_fit_are_refused() -> None:
    given = cached(20, 3)
    with pytest.raises(InputError, match="`costs` must have"):
        CachedOutputs(given.logits, given.labels, given.costs[:-1])
