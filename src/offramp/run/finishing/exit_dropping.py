"""Removal of exits whose branches cost more than they save, by comparison of all subsets of exits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from offramp.cost.report import CostReport
from offramp.exits.quality.quality_measures import QualityMeasures
from offramp.objectives.evaluation import Constraint
from offramp.run.evaluators.operating_point import OperatingPoint, choose_operating_point
from offramp.space.architecture import PolicyChoice


@dataclass(frozen=True)
class KeptExits:
    """A subset of the early exits of a network.

    Attributes:
        places: Positions of the exits in the network.
        cost: The cost report of the network with these exits alone.
        point: The operating point of that network.
    """

    places: tuple[int, ...]
    cost: CostReport
    point: OperatingPoint


def exits_worth_keeping(
    num_early: int,
    answers: Callable[[tuple[int, ...]], Sequence[NDArray[np.floating]]],
    labels: NDArray[np.integer],
    price: Callable[[tuple[int, ...]], CostReport],
    choice: PolicyChoice,
    constraints: Sequence[Constraint] = (),
    *,
    calibrate: bool = False,
    by_class: bool = False,
    most_product: float,
    measures: QualityMeasures | None = None,
) -> KeptExits:
    """Choose the cheapest subset of exits whose accuracy is close enough to that of the best subset.

    At least one early exit is kept. `choose_operating_point` chooses the operating point of each subset. Subsets with
    the smallest sum of violations are considered first, of these the ones within ``most_product``; if there are none,
    the cheapest one is chosen.

    Args:
        num_early: How many early exits the network has.
        answers: Returns the logits (samples, classes) of the network with the early exits at some positions alone, one
            array per exit, the final one last.
        labels: The true classes (samples,).
        price: Returns the cost report of the network with the early exits at some positions alone.
        choice: The confidence measure, and how much accuracy may be lost against the most accurate subset.
        constraints: The constraints of the search.
        calibrate: Whether a temperature per exit is fitted on the same samples first.
        by_class: Whether thresholds differ by predicted class.
        most_product: The largest expected energy-delay product (J x cycles) that is considered.
        measures: The measures of good answers; None = accuracy decides.

    Returns:
        The chosen subset.
    """
    measures, kept = measures or QualityMeasures(), []
    for places in _sets(num_early):
        cost = price(places)
        point = choose_operating_point(
            answers(places),
            labels,
            cost,
            choice,
            constraints,
            calibrate=calibrate,
            by_class=by_class,
            most_product=most_product,
            measures=measures,
        )
        kept.append(KeptExits(places, cost, point))
    least = min(sum(item.point.violations(constraints)) for item in kept)
    kept = [item for item in kept if sum(item.point.violations(constraints)) <= least]
    kept = [item for item in kept if _product(item) <= most_product] or [min(kept, key=_product)]
    decides = measures.chosen_by
    floor = max(item.point.values()[decides] for item in kept) - choice.accuracy_drop - 1e-12
    return min((item for item in kept if item.point.values()[decides] >= floor), key=_product)


def _sets(num_early: int) -> Iterator[tuple[int, ...]]:
    for count in range(1, num_early + 1):
        yield from combinations(range(num_early), count)


def _product(item: KeptExits) -> float:
    return item.point.expected.energy_delay_product_j_cycles
