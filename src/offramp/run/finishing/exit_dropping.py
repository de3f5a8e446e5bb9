"""Removal of exits that do not pay for their branches, by comparing all subsets."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from offramp.cost.report import CostReport
from offramp.objectives.evaluation import Constraint
from offramp.run.evaluators.operating_point import OperatingPoint, choose_operating_point
from offramp.space.architecture import PolicyChoice


@dataclass(frozen=True)
class KeptExits:
    """Places of early exits, what the network costs with these alone, and its operating point."""

    places: tuple[int, ...]
    cost: CostReport
    point: OperatingPoint


def exits_worth_keeping(
    logits: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    price: Callable[[tuple[int, ...]], CostReport],
    choice: PolicyChoice,
    constraints: Sequence[Constraint] = (),
    *,
    calibrate: bool = False,
    most_product: float,
) -> KeptExits:
    """The cheapest set of exits that gives up at most ``choice.accuracy_drop`` of the best one's accuracy.

    ``logits``, one (samples, classes) array per exit, the final one last, are those of the network with all of its
    exits: what an exit answers does not depend on the others. ``price`` costs the network with the early exits at some
    places alone; one early exit stays at least. Each set has the operating point that `choose_operating_point` gives
    it; points that keep all constraints come first, then those within ``most_product`` (J x cycles), or the cheapest
    where none is.
    """
    kept = []
    for places in _sets(len(logits) - 1):
        answers = [*(logits[place] for place in places), logits[-1]]
        cost = price(places)
        point = choose_operating_point(
            answers, labels, cost, choice, constraints, calibrate=calibrate, most_product=most_product
        )
        kept.append(KeptExits(places, cost, point))
    least = min(sum(item.point.violations(constraints)) for item in kept)
    kept = [item for item in kept if sum(item.point.violations(constraints)) <= least]
    kept = [item for item in kept if _product(item) <= most_product] or [min(kept, key=_product)]
    floor = max(item.point.profile.top1 for item in kept) - choice.accuracy_drop - 1e-12
    return min((item for item in kept if item.point.profile.top1 >= floor), key=_product)


def _sets(num_early: int) -> Iterator[tuple[int, ...]]:
    for count in range(1, num_early + 1):
        yield from combinations(range(num_early), count)


def _product(item: KeptExits) -> float:
    return item.point.expected.energy_delay_product_j_cycles
