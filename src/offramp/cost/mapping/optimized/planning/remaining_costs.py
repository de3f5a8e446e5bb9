"""What the rest of a network costs at least, from any position of a plan to each exit."""

import math
from collections.abc import Sequence

import numpy as np

from offramp.cost.mapping.optimized.planning.partial_plans import BACKBONE, BRANCH, ENERGY, LINK, PRODUCT
from offramp.cost.mapping.optimized.planning.task_costs import Floats, PositionCosts
from offramp.cost.mapping.optimized.planning.task_orders import TaskOrder
from offramp.workload.graph import Layer, Role


class RemainingCosts:
    """Least time, link time and energy of all that follows a position, until each exit."""

    def __init__(
        self,
        layers: Sequence[Layer],
        costs: Sequence[PositionCosts],
        orders: Sequence[TaskOrder],
        ends: Sequence[int],
        weights: Sequence[float],
        *,
        waits: bool,
    ) -> None:
        """Add up what each position takes at least.

        Args:
            layers: The first layer of each position.
            costs: Figures of the candidates of each position.
            orders: How each position depends on those before it.
            ends: Position that ends each stage.
            weights: Weights of the exits.
            waits: Whether every stage waits for the verdict before.
        """
        self._layers, self._costs, self._orders = layers, costs, orders
        self._ends, self._weights, self._waits = ends, weights, waits
        figures = [
            [min(getattr(cost, name) for cost in position.costs) for name in ("link_cycles", "energy_pj")]
            for position in costs
        ]
        least = np.array(figures, dtype=float)
        branch = np.array([layer.role is Role.BRANCH for layer in layers])
        stages = np.array([layer.stage for layer in layers])
        advances = np.array([self._least_advance(index) for index in range(len(layers))])
        self._rest = np.zeros((len(layers), len(weights), 3))
        for stage, end in enumerate(ends):
            timed = advances * (~branch | (stages == stage) | waits)
            for column, values in enumerate((timed, least[:, 0], least[:, 1])):
                sums = np.concatenate([[0.0], np.cumsum(values)])
                self._rest[:end, stage, column] = sums[end + 1] - sums[1 : end + 1]

    def _least_advance(self, index: int) -> float:
        """The least time by which a position ends later than the one that it follows."""
        if not self._orders[index].follows:
            return 0.0
        costs = self._costs[index].costs
        return float(min(cost.last_duration if cost.channels_apart else cost.duration for cost in costs))

    def least_products(self, index: int, values: Floats) -> Floats:
        """Work out the least product that partial plans may still end with.

        Args:
            index: Position of the last task of the partial plans.
            values: One row per partial plan.

        Returns:
            pJ x cycles, one per partial plan.
        """
        return self._products(index, values, waits=self._waits, ahead=math.inf)

    def likely_products(self, index: int, values: Floats, ahead: float) -> Floats:
        """Predict the product that partial plans end with, to tell which are promising.

        Args:
            index: Position of the last task of the partial plans.
            values: One row per partial plan.
            ahead: Cycles by which loads of weights may run ahead of their use.

        Returns:
            pJ x cycles, one per partial plan.
        """
        return self._products(index, values, waits=True, ahead=ahead)

    def _products(self, index: int, values: Floats, *, waits: bool, ahead: float) -> Floats:
        product = values[:, PRODUCT].copy()
        here = self._layers[index]
        reached: Floats | None = None
        before = np.zeros(3)
        loaded = np.maximum(values[:, LINK], values[:, BACKBONE] - ahead)
        for stage, weight in enumerate(self._weights):
            if self._ends[stage] <= index:
                continue
            base = values[:, BACKBONE]
            if here.role is Role.BRANCH and (waits or stage == here.stage):
                base = np.maximum(base, values[:, BRANCH])
            time, link, energy = rest = self._rest[index, stage]
            end = np.maximum(base + time, loaded + link)
            if waits and reached is not None:
                # Nothing of this stage happens before the verdict of the one before.
                end = np.maximum(end, reached + (rest - before)[:2].max())
            product += weight * (values[:, ENERGY] + energy) * end
            reached, before = end, rest
        return product
