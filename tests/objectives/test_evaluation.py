"""Evaluations, objectives and constraints as values."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.jsonio import dumps, loads
from offramp.objectives.evaluation import Constraint, Evaluation, Objective, Status
from tests.objectives.cases import architecture, failed, point


def test_smaller_is_better_after_to_minimize() -> None:
    assert Objective("accuracy", "maximize").to_minimize(0.9) == -0.9
    assert Objective("macs", "minimize").to_minimize(5.0) == 5.0


def test_violations_are_relative_to_the_bound() -> None:
    assert Constraint("macs", "<=", 200.0).violation(250.0) == 0.25
    assert Constraint("macs", "<=", 200.0).violation(200.0) == 0.0
    assert Constraint("accuracy", ">=", 0.8).violation(0.6) == pytest.approx(0.25)
    assert Constraint("accuracy", ">=", 0.8).violation(0.9) == 0.0


def test_a_bound_of_zero_has_finite_violations() -> None:
    assert Constraint("macs", "<=", 0.0).violation(0.0) == 0.0
    assert 0.0 < Constraint("macs", "<=", 0.0).violation(1.0) < Constraint("macs", "<=", 0.0).violation(2.0) < math.inf


@given(st.floats(1e-6, 1e12), st.floats(0, 1e12))
def test_a_constraint_is_violated_exactly_on_its_wrong_side(bound: float, value: float) -> None:
    assert (Constraint("macs", "<=", bound).violation(value) > 0) == (value > bound)
    assert (Constraint("macs", ">=", bound).violation(value) > 0) == (value < bound)


def test_feasible_means_complete_and_within_all_bounds() -> None:
    assert point(0, 0.9, 10.0).feasible
    assert point(0, 0.9, 10.0, (0.0, 0.0)).feasible
    assert not point(0, 0.9, 10.0, (0.0, 0.1)).feasible
    assert not failed(0).feasible


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_complete_evaluation_is_finite(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        point(0, value, 10.0)
    assert Evaluation(architecture(0), Status.FAILED, {"accuracy": value}).status is Status.FAILED


def test_json_both_ways() -> None:
    for item in (point(3, 0.91, 1e6, (0.5,)), failed(2)):
        assert loads(Evaluation, dumps(item)) == item
