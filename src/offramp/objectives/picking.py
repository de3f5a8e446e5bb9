"""Picking a member of a Pareto front: by a named rule, by its place, or by a bound."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from offramp.errors import ConstraintError, InputError, UnknownNameError
from offramp.objectives.evaluation import Constraint, Evaluation, Objective
from offramp.objectives.pareto import ParetoFront
from offramp.objectives.parse import parse_constraints
from offramp.registry import unknown_name_message

PICK_RULES = ("knee", "most_accurate", "cheapest")
PRODUCT = "energy_latency_product_j_cycles"


def pick(front: ParetoFront, rule: str | int) -> Evaluation:
    """The member of a front that a rule names.

    ``knee``: where giving up more accuracy stops paying (see `knee`); ``most_accurate``; ``cheapest``; a number: the
    member at that place, from 0; bounds such as ``macs<=2M`` (several with commas): the most accurate one that keeps
    them. Cost is the product of energy and latency where both are objectives, else the first objective to minimize.
    Raises UnknownNameError for another rule, InputError for a place that is not there or an empty front,
    ConstraintError where no member keeps the bounds.
    """
    text = str(rule).strip()
    check_rule(text)
    if not len(front):
        raise InputError(f"There is nothing to pick ({text}): the Pareto front is empty, no candidate is feasible.")
    if text == "knee":
        return knee(front)
    if text == "most_accurate":
        return _most_accurate(front, front.evaluations)
    if text == "cheapest":
        return _cheapest(front)
    if _is_place(text):
        return _at(front, int(text))
    return _under_bounds(front, parse_constraints(text.split(",")))


def check_rule(rule: str | int) -> None:
    """Raise what `pick` would raise for a rule that cannot be understood, without a front."""
    text = str(rule).strip()
    if text in PICK_RULES or _is_place(text):
        return
    if any(sign in text for sign in "<>=≤≥"):
        parse_constraints(text.split(","))
        return
    hint = " A place (0, 1, ...) or a bound such as 'macs<=2M' may be given, too."
    raise UnknownNameError(unknown_name_message("pick rule", text, list(PICK_RULES)) + hint)


def knee(front: ParetoFront) -> Evaluation:
    """The member farthest on the good side of the line from the cheapest to the most accurate one.

    Accuracy and cost are scaled to 0..1 between these two. With no member on the good side: the most accurate one.
    """
    cheapest, best = _cheapest(front), _most_accurate(front, front.evaluations)
    costs = _costs(front, front.evaluations)
    accuracies = np.asarray([_accuracy(evaluation) for evaluation in front])
    low_cost, high_cost = _costs(front, [cheapest, best])
    low, high = _accuracy(cheapest), _accuracy(best)
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
    return members[min(range(len(members)), key=lambda index: (-_accuracy(members[index]), float(costs[index])))]


def _cheapest(front: ParetoFront) -> Evaluation:
    costs = _costs(front, front.evaluations)
    members = front.evaluations
    return members[min(range(len(members)), key=lambda index: (float(costs[index]), -_accuracy(members[index])))]


def _accuracy(evaluation: Evaluation) -> float:
    return _value(evaluation, "accuracy")


def _value(evaluation: Evaluation, metric: str) -> float:
    if metric not in evaluation.values:
        raise InputError(f"an evaluation must have a value of {metric} to be picked by it, got {evaluation.values}.")
    return evaluation.values[metric]


def _costs(front: ParetoFront, members: Sequence[Evaluation]) -> NDArray[np.float64]:
    metrics = _cost_metrics(front.objectives)
    return np.asarray([math.prod(_value(member, metric) for metric in metrics) for member in members])


def _cost_metrics(objectives: Sequence[Objective]) -> tuple[str, ...]:
    """Metrics whose product is the cost."""
    minimized = [objective.metric for objective in objectives if objective.direction == "minimize"]
    if PRODUCT in minimized:
        return (PRODUCT,)
    if {"energy_pj", "latency_cycles"} <= set(minimized) or not minimized:
        return ("energy_pj", "latency_cycles")
    return (minimized[0],)
