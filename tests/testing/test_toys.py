"""The toys' answers, partly worked out by hand."""

import math

import numpy as np
import pytest

from offramp.numerics.dominance import non_dominated
from offramp.objectives.evaluation import Constraint, Objective
from offramp.objectives.pareto import values_to_minimize
from offramp.space.architecture import Architecture, ExitChoice, PolicyChoice, StageChoice
from offramp.testing.toys import ToyEvaluator, every_architecture, small_space, tiny_space, true_front

OBJECTIVES = (Objective("accuracy", "maximize"), Objective("macs", "minimize"))


def two_blocks(exits: tuple[ExitChoice, ...] = (), policy: PolicyChoice | None = None) -> Architecture:
    stages = (StageChoice(1, 4, (3,), (1,)), StageChoice(1, 8, (3,), (1,)))
    return Architecture("toy", 8, stages, exits, policy=policy or PolicyChoice())


def test_a_static_network_by_hand() -> None:
    # Blocks: 4 * 8 * (3 + 4) = 224, then 8 * 4 * (3 + 4) = 224 more.
    values = ToyEvaluator().evaluate(two_blocks()).values
    assert values["macs"] == 4480.0
    assert values["latency_cycles"] == 448.0
    assert values["energy_pj"] == pytest.approx(44_800.0)
    assert values["energy_delay_product_j_cycles"] == pytest.approx(1e-10 * 448**2)
    assert values["accuracy"] == pytest.approx(0.97 * (1 - math.exp(-(0.112**0.6))))


def test_an_exit_by_hand() -> None:
    values = ToyEvaluator().evaluate(two_blocks((ExitChoice(0, "pool_linear"),))).values
    # 0.3 * 224 / 448 = 15 % leave after 224 and a branch of 4.48; the rest pays for all and the branch.
    assert values["macs"] == pytest.approx(10 * (0.15 * 228.48 + 0.85 * 452.48))
    more = ToyEvaluator().evaluate(two_blocks((ExitChoice(0, "pool_linear"),), PolicyChoice(accuracy_drop=0.02))).values
    assert more["macs"] < values["macs"]
    assert more["accuracy"] < values["accuracy"]


def test_constraints_become_violations() -> None:
    evaluator = ToyEvaluator((Constraint("macs", "<=", 4000.0), Constraint("accuracy", ">=", 0.01)))
    evaluation = evaluator.evaluate(two_blocks())
    assert evaluation.violations == (pytest.approx(0.12), 0.0)
    assert not evaluation.feasible


def test_the_true_front_is_the_front_of_everything() -> None:
    space, evaluator = tiny_space(), ToyEvaluator()
    everything = [evaluator.evaluate(item) for item in every_architecture(space)]
    points = values_to_minimize(everything, OBJECTIVES)
    front = true_front(space, evaluator, OBJECTIVES)
    best = {tuple(row) for row in points[non_dominated(points)].tolist()}
    assert {tuple(row) for row in values_to_minimize(front.evaluations, OBJECTIVES).tolist()} == best
    # Both ends by themselves: nothing is more accurate than the first, nothing cheaper than the last.
    assert front.evaluations[0].values["accuracy"] == max(item.values["accuracy"] for item in everything)
    assert front.evaluations[-1].values["macs"] == min(item.values["macs"] for item in everything)


def test_values_are_sensible_over_the_large_toy() -> None:
    space, evaluator, rng = small_space(), ToyEvaluator(), np.random.default_rng(0)
    values = [evaluator.evaluate(space.sample(rng)).values for _ in range(300)]
    assert all(0.0 < item["accuracy"] < 1.0 for item in values)
    assert all(item["macs"] > 0 for item in values)
