"""Choice of a member of a Pareto front by a named rule, an index, or a bound."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from offramp.errors import ConstraintError, InputError, UnknownNameError
from offramp.objectives.evaluation import Constraint, Evaluation, Objective, quality_metric
from offramp.objectives.pareto import ParetoFront
from offramp.objectives.parse import parse_constraints
from offramp.registry import unknown_name_message

PICK_RULES = ("knee", "most_accurate", "near_best", "cheapest")
NEAR_BEST_DROP = 0.005
"""How much less accurate than the best a network may be that the rule near_best picks, a share."""
_NAMES = {"most_accurate": "most accurate", "near_best": "near best"}
PRODUCT = "energy_delay_product_j_cycles"


def rule_name(rule: str) -> str:
    """Name a picking rule in words.

    Args:
        rule: A rule, or several that picked the same network (``knee+cheapest``).

    Returns:
        The names of the rules, separated by commas.
    """
    parts = [part.strip() for part in rule.replace("+", ",").split(",")]
    return ", ".join(f"front member {part}" if part.isdecimal() else _NAMES.get(part, part) for part in parts)


def pick(front: ParetoFront, rule: str | int) -> Evaluation:
    """Return the member of a front that a rule names.

    Cost is the energy-delay product where energy and latency are both objectives, else the first minimized objective.

    Args:
        front: The front to pick from.
        rule: ``knee`` (where giving up more accuracy stops paying, see `knee`); ``most_accurate``; ``near_best`` (the
            cheapest whose accuracy is at most half a point below that of the most accurate member); ``cheapest``; a
            number from 0 (the place on the front); or bounds such as ``macs<=2M``, separated by commas (the most
            accurate member that keeps all of them).

    Returns:
        The picked evaluation.

    Raises:
        UnknownNameError: The rule cannot be understood.
        InputError: The front is empty, or has no such place.
        ConstraintError: A bound cannot be understood, or no member keeps the bounds.
    """
    text = str(rule).strip()
    check_rule(text)
    if not len(front):
        raise InputError(f"There is nothing to pick ({text}): the Pareto front is empty, no candidate is feasible.")
    if text == "knee":
        return knee(front)
    if text == "most_accurate":
        return _most_accurate(front, front.evaluations)
    if text == "near_best":
        return near_best(front)
    if text == "cheapest":
        return _cheapest(front)
    if _is_place(text):
        return _at(front, int(text))
    return _under_bounds(front, parse_constraints(text.split(",")))


def check_rule(rule: str | int) -> None:
    """Check that a rule can be understood, without a front.

    Args:
        rule: A rule as `pick` takes it.

    Raises:
        UnknownNameError: The rule is none of those that `pick` knows.
        ConstraintError: The rule is a bound that cannot be understood, or bounds that exclude each other.
    """
    text = str(rule).strip()
    if text in PICK_RULES or _is_place(text):
        return
    if any(sign in text for sign in "<>=≤≥"):
        parse_constraints(text.split(","))
        return
    hint = " A place (0, 1, ...) or a bound such as 'macs<=2M' may be given, too."
    raise UnknownNameError(unknown_name_message("pick rule", text, list(PICK_RULES)) + hint)


def knee(front: ParetoFront) -> Evaluation:
    """Return the member farthest above the line from the cheapest to the most accurate member.

    Accuracy and cost are scaled to 0..1 between these two.

    Args:
        front: A front with at least one member.

    Returns:
        The knee; the most accurate member where none lies above the line.
    """
    cheapest, best = _cheapest(front), _most_accurate(front, front.evaluations)
    costs = _costs(front, front.evaluations)
    accuracies = np.asarray([_quality(front, evaluation) for evaluation in front])
    low_cost, high_cost = _costs(front, [cheapest, best])
    low, high = _quality(front, cheapest), _quality(front, best)
    if high <= low:
        return cheapest
    if high_cost <= low_cost:
        return best
    # Both axes scaled, the line has slope 1; the distance from it grows with accuracy minus cost.
    distances = (accuracies - low) / (high - low) - (costs - low_cost) / (high_cost - low_cost)
    farthest = float(distances.max())
    if farthest <= 1e-12:
        return best
    tied = [e for e, distance in zip(front, distances, strict=True) if distance >= farthest - 1e-12]
    return _most_accurate(front, tied)


def near_best(front: ParetoFront, best: float | None = None) -> Evaluation:
    """Return the cheapest member that is nearly as accurate as the best network.

    Args:
        front: A front with at least one member.
        best: Accuracy of the best network, a share, or its other measure of good answers; None = that of the most
            accurate member.

    Returns:
        The cheapest member at most `NEAR_BEST_DROP` below it; the most accurate member where there is none.
    """
    most_accurate = _most_accurate(front, front.evaluations)
    floor = (_quality(front, most_accurate) if best is None else best) - NEAR_BEST_DROP - 1e-12
    near = tuple(member for member in front if _quality(front, member) >= floor)
    return _cheapest(ParetoFront(front.objectives, near)) if near else most_accurate


def _is_place(text: str) -> bool:
    # A place of more digits is none; int() refuses thousands of them.
    return len(text) < 10 and text.removeprefix("-").isdecimal()


def _at(front: ParetoFront, place: int) -> Evaluation:
    if not 0 <= place < len(front):
        raise InputError(f"The place on the front must be from 0 to {len(front) - 1}, got {place}.")
    return front.evaluations[place]


def _under_bounds(front: ParetoFront, bounds: Sequence[Constraint]) -> Evaluation:
    within = [e for e in front if not any(bound.violation(_value(e, bound.metric)) for bound in bounds)]
    if within:
        return _most_accurate(front, within)
    closest = min(front, key=lambda e: sum(bound.violation(_value(e, bound.metric)) for bound in bounds))
    wanted = ", ".join(f"{b.metric}{b.relation}{b.bound:g}" for b in bounds)
    reached = ", ".join(f"{b.metric}={_value(closest, b.metric):g}" for b in bounds)
    raise ConstraintError(f"No member of the front keeps {wanted}; the closest has {reached}. Relax the bound.")


def _most_accurate(front: ParetoFront, members: Sequence[Evaluation]) -> Evaluation:
    costs = _costs(front, members)
    return members[min(range(len(members)), key=lambda index: (-_quality(front, members[index]), float(costs[index])))]


def _cheapest(front: ParetoFront) -> Evaluation:
    costs = _costs(front, front.evaluations)
    members = front.evaluations
    return members[min(range(len(members)), key=lambda index: (float(costs[index]), -_quality(front, members[index])))]


def _quality(front: ParetoFront, evaluation: Evaluation) -> float:
    """The accuracy, or the measure that is an objective in its place."""
    return _value(evaluation, quality_metric(front.objectives))


def _value(evaluation: Evaluation, metric: str) -> float:
    if metric not in evaluation.values:
        raise InputError(f"an evaluation must have a value of {metric} to be picked by it, got {evaluation.values}.")
    return evaluation.values[metric]


def cost_of(values: Mapping[str, float], objectives: Sequence[Objective]) -> float:
    """The cost by which rules pick and networks are matched.

    Args:
        values: Metrics of a network.
        objectives: The objectives of the search.

    Returns:
        The product of energy and latency where both are objectives or none is, else the first minimized objective; the
        energy-delay product where that is an objective.

    Raises:
        InputError: A metric is missing.
    """
    metrics = _cost_metrics(objectives)
    missing = [metric for metric in metrics if metric not in values]
    if missing:
        raise InputError(f"an evaluation must have a value of {missing[0]} to be picked by it, got {dict(values)}.")
    return math.prod(values[metric] for metric in metrics)


def _costs(front: ParetoFront, members: Sequence[Evaluation]) -> NDArray[np.float64]:
    return np.asarray([cost_of(member.values, front.objectives) for member in members])


def _cost_metrics(objectives: Sequence[Objective]) -> tuple[str, ...]:
    """Metrics whose product is the cost."""
    minimized = [objective.metric for objective in objectives if objective.direction == "minimize"]
    if PRODUCT in minimized:
        return (PRODUCT,)
    if {"energy_pj", "latency_cycles"} <= set(minimized) or not minimized:
        return ("energy_pj", "latency_cycles")
    return (minimized[0],)
