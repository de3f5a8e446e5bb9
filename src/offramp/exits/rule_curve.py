"""The trade-off curve of a kind of exit rule on cached outputs: how its thresholds are chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offramp.exits.exit_rule import EXIT_RULES, CachedOutputs, ExitRule
from offramp.exits.score_thresholds import ThresholdGrid
from offramp.exits.threshold_combinations import with_slack
from offramp.numerics.dominance import distinct_front


@dataclass(frozen=True)
class RulePoint:
    """An exit rule and what it reaches on cached outputs.

    Attributes:
        rule: The rule with its thresholds.
        accuracy: Share of right answers.
        expected_cost: Mean cost of a sample.
    """

    rule: ExitRule
    accuracy: float
    expected_cost: float


def rule_curve(name: str, outputs: CachedOutputs, grid: ThresholdGrid | None = None) -> tuple[RulePoint, ...]:
    """Choose thresholds for a kind of exit rule.

    Args:
        name: The registered name of the rule.
        outputs: Cached outputs of a network, of samples that nothing is tested on.
        grid: Which thresholds are tried; None for the default grid.

    Returns:
        The rules of this kind that no other of them beats in both accuracy and expected cost, cheapest first.

    Raises:
        UnknownNameError: If no rule of this name is registered.
    """
    samples = outputs.scored()
    points = []
    for rule in EXIT_RULES.get(name).choices(outputs, grid or ThresholdGrid()):
        exits = rule.decide(outputs.logits)
        right = samples.correct[exits, np.arange(samples.num_samples)]
        points.append(RulePoint(rule, float(right.mean()), float(samples.costs[exits].mean())))
    return _undominated(points)


def _undominated(points: Sequence[RulePoint]) -> tuple[RulePoint, ...]:
    goals = np.array([[point.expected_cost, -point.accuracy] for point in points])
    front = distinct_front(goals)
    costs = goals[front, 0]
    # Costs that differ by rounding alone are the same cost, and the next point is more accurate.
    same = np.append(costs[1:] <= with_slack(costs[:-1]), False)
    return tuple(points[index] for index in front[~same])
