"""Operating points worked out by hand for two exits and four samples."""

import numpy as np
import pytest

from offramp.cost.base import CostReport, StageCost
from offramp.evaluate.operating_point import choose_operating_point, measure_point
from offramp.exiting.policy import ExitPolicy
from offramp.objectives.evaluation import Constraint
from offramp.space.architecture import PolicyChoice


def stage(name: str, latency: float, energy: float, macs: int) -> StageCost:
    return StageCost(name, latency, 0.0, 0.0, latency, energy, latency, energy, macs)


# Exit 0 costs 10 cycles and 1e12 pJ (1 J), the final exit 40 cycles and 3e12 pJ (3 J).
COST = CostReport("toy", "hand", "1", "offramp", (stage("0", 10.0, 1e12, 100), stage("1", 40.0, 3e12, 500)), ())


def logits_of(probabilities: list[float]) -> np.ndarray:
    """Two classes; the given probability is that of class 0."""
    p = np.asarray(probabilities)
    return np.log(np.stack([p, 1 - p], axis=1))


# Exit 0 is right and sure about samples 0 and 1, unsure and right about 2, unsure and wrong about 3.
LABELS = np.array([0, 0, 0, 1])
FIRST = logits_of([0.95, 0.92, 0.62, 0.71])
FINAL = logits_of([0.99, 0.99, 0.99, 0.01])
LOGITS = (FIRST, FINAL)


def test_without_a_drop_only_the_wrong_sample_goes_on() -> None:
    # No threshold separates sample 2 (0.62, right) from sample 3 (0.71, wrong): both go on.
    point = choose_operating_point(LOGITS, LABELS, COST, PolicyChoice("max_probability", 0.0))
    assert point.profile.rates == (0.5, 0.5)
    assert point.profile.top1 == 1.0
    assert point.expected.latency_cycles == pytest.approx(25.0)
    assert point.expected.macs == pytest.approx(300.0)
    assert point.expected.energy_latency_product_j_cycles == pytest.approx(0.5 * 10 + 0.5 * 120)
    assert point.expected.product_of_means_j_cycles == pytest.approx(2.0 * 25.0)


def test_a_drop_buys_a_cheaper_point() -> None:
    point = choose_operating_point(LOGITS, LABELS, COST, PolicyChoice("max_probability", 0.25))
    assert point.profile.rates == (1.0, 0.0)
    assert point.profile.top1 == 0.75
    assert point.values()["latency_cycles"] == pytest.approx(10.0)


def test_constraints_move_the_point() -> None:
    tight = Constraint("latency_cycles", "<=", 12.0)
    point = choose_operating_point(LOGITS, LABELS, COST, PolicyChoice("max_probability", 0.0), [tight])
    assert point.profile.rates == (1.0, 0.0)
    assert point.violations([tight]) == (0.0,)
    accurate = Constraint("accuracy", ">=", 1.0)
    point = choose_operating_point(LOGITS, LABELS, COST, PolicyChoice("max_probability", 0.25), [accurate])
    assert point.profile.top1 == 1.0


def test_an_impossible_constraint_is_violated_as_little_as_can_be() -> None:
    impossible = Constraint("latency_cycles", "<=", 5.0)
    point = choose_operating_point(LOGITS, LABELS, COST, PolicyChoice("max_probability", 0.0), [impossible])
    assert point.expected.latency_cycles == pytest.approx(10.0)
    assert point.violations([impossible]) == (pytest.approx(1.0),)


def test_a_network_without_early_exits() -> None:
    cost = CostReport("toy", "hand", "1", "offramp", (COST.stages[1],), ())
    point = choose_operating_point((FINAL,), LABELS, cost, PolicyChoice())
    assert point.policy == ExitPolicy("max_probability", ())
    assert point.profile.rates == (1.0,)
    assert point.expected.macs == 500


def test_a_fixed_policy_is_measured_as_it_is() -> None:
    point = measure_point(LOGITS, LABELS, ExitPolicy("max_probability", (0.7,)), COST)
    assert point.profile.rates == (0.75, 0.25)
    assert point.profile.accuracies == (pytest.approx(2 / 3), 1.0)
    assert point.profile.full_accuracies == (0.75, 1.0)
    assert point.profile.top1 == 0.75
