"""Cost of partial plans, many at once: the model behind the dynamic programming.

A partial plan has a task for each of the first layers of a network. Layers run one after the other on their cores;
weights are loaded one after the other over the DRAM link, as far as the weight memories hold them. A result is sent
part by part while it is computed. The relaxed model takes the emptiest memory for all, lets layers that do not depend
on each other run at the same time, and chooses the work before a verdict freely; then every schedule of the same tasks
takes at least as long and as much energy.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from offramp.cost.mapping.optimized.planning.task_costs import TRANSFER_COST_COLUMNS, Floats, PositionCosts
from offramp.cost.mapping.optimized.planning.task_orders import IN_TURN, TaskOrder

Nodes: TypeAlias = NDArray[np.int64]

BACKBONE, BRANCH, LINK, CORES, ENERGY, PRODUCT = range(6)
"""Columns that decide which plan is better: end of backbone and branch, end of the last weights, end of the work of the
compute cores (for bounds alone), pJ, pJ x cycles."""

VERDICT = 6
"""Then the decision of the exit before, where work for this stage may begin earlier; else 0."""

FIRST, KIND = 7, 9
"""Then, for backbone and branch: when the first part of the last result is there, and which kind of core made it."""

HISTORY = 4
STARTS, BITS, SIZES, CYCLES = (11 + HISTORY * number for number in range(4))
"""Then, newest first, for the last tasks with weights: when they started, how many bits of weights they took, and bits
(less than 0, since more are better) and cycles of one block."""

NUM_COLUMNS = 11 + 4 * HISTORY

EARLY_SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 1.0)
"""Ends of the ranges of work before a verdict that a bound distinguishes, as shares of all that the link could do."""


@dataclass(frozen=True, eq=False)
class StageEntries:
    """Partial plans that have begun a stage.

    Attributes:
        values: One row per partial plan.
        rows: Number of the partial plan that each continues.
        modes: What may happen before the verdict: 0 nothing, 1 weights are loaded, 2 cores work as well.
    """

    values: Floats
    rows: Nodes
    modes: Nodes


@dataclass(frozen=True)
class PartialPlanModel:
    """Extends partial plans by one task.

    A partial plan is a row of figures; the columns are `BACKBONE` to `PRODUCT` and the history of weights.

    Attributes:
        prefetch: Whether weights are loaded ahead.
        waits: Whether every stage waits for the verdict before.
        relaxed: Whether the figures are to be a bound.
        weight_memory_bits: Size of the weight memory.
    """

    prefetch: bool
    waits: bool
    relaxed: bool
    weight_memory_bits: int

    def enter_stage(self, values: Floats, verdict_weight: float, load_rate: float) -> StageEntries:
        """Begin the next stage in every way that the model knows, after the verdict or before.

        Args:
            values: One row per partial plan, at the end of the stage before.
            verdict_weight: Weight of the exit that ended it.
            load_rate: Least energy of loading weights of later stages, pJ per cycle of the link.

        Returns:
            The partial plans at the start of the stage.
        """
        verdict = values[:, (BACKBONE, BRANCH, CORES)].max(axis=1)
        entered = values.copy()
        entered[:, BRANCH] = entered[:, VERDICT] = 0.0
        waiting = entered.copy()
        for column in (BACKBONE, LINK, CORES, FIRST):
            waiting[:, column] = np.maximum(values[:, column], verdict)
        rows = np.arange(len(values))
        if self.waits:
            return StageEntries(waiting, rows, np.zeros(len(values), dtype=np.int64))
        if self.relaxed:
            ways = self._early_work(entered, waiting, verdict, verdict_weight * load_rate)
            return StageEntries(
                np.concatenate(ways), np.tile(rows, len(ways)), np.zeros(len(ways) * len(rows), np.int64)
            )
        entered[:, VERDICT] = verdict
        loading = entered.copy()
        loading[:, (BACKBONE, FIRST, CORES)] = waiting[:, (BACKBONE, FIRST, CORES)]
        ways = [waiting, loading, entered]
        return StageEntries(np.concatenate(ways), np.tile(rows, 3), np.repeat(np.arange(3), len(rows)))

    @staticmethod
    def _early_work(entered: Floats, waiting: Floats, verdict: Floats, load_rate: float) -> list[Floats]:
        """Ranges of how long the link works for later stages before the verdict, at the best of each range.

        At least so much energy as the start of a range needs is charged to the exit; weights arrive no earlier than if
        the link had worked until the end of the range. Cores work before the verdict or do not.
        """
        ahead = verdict - np.minimum(entered[:, LINK], verdict)
        ways = []
        for first, last in pairwise((*EARLY_SHARES, 2.0)):
            for computes in (False, True):
                way = entered.copy()
                if first:
                    way[:, PRODUCT] += load_rate * verdict * first * ahead
                if last <= 1.0:
                    way[:, LINK] = np.maximum(entered[:, LINK], verdict - last * ahead)
                if not computes:
                    way[:, (BACKBONE, FIRST, CORES)] = waiting[:, (BACKBONE, FIRST, CORES)]
                ways.append(way)
        return ways

    def advance(
        self, before: Floats, position: PositionCosts, transfer_costs: Floats, order: TaskOrder = IN_TURN
    ) -> Floats:
        """Extend every partial plan by every candidate.

        Args:
            before: One row per partial plan.
            position: Figures of the candidates.
            transfer_costs: By candidate, plan and column; see `transfer_cost_rows`.
            order: How the task depends on those before it.

        Returns:
            Figures by candidate, plan and column.
        """
        values = np.repeat(before[None, :, :], len(position.costs), axis=0)
        column = BRANCH if position.branch else BACKBONE
        after_others = order.follows or not self.relaxed
        base = before[:, column] if after_others else np.zeros(len(before))
        cycles, least_late, late, least_wait, wait, delivery, energy = (
            transfer_costs[:, :, figure] for figure in range(TRANSFER_COST_COLUMNS)
        )
        load_start: Floats = before[None, :, LINK]
        begin: Floats = np.repeat(base[None, :], len(position.costs), axis=0)
        if self.prefetch:
            if order.reads_last and position.apart.any():
                # A task on other cores may start with the first part of what it reads; in a bound on any cores, since
                # blocks may run while the task before waits.
                overlaps = position.apart & (self.relaxed | (position.kind != before[None, :, KIND + column]))
                begin = np.where(overlaps, np.minimum(begin, before[None, :, FIRST + column]), begin)
            wait, late = (least_wait, least_late) if self.relaxed else (wait, late)
            begin = np.maximum(begin, np.where(wait > 0.0, base + wait, 0.0))
            begin, load_start, done = self._prefetched(before, values, begin, position)
            done = np.maximum(done, base + late + position.after_inputs)
        else:
            done = base + (position.duration + cycles + position.link)
            values[:, :, LINK] += position.link
        values[:, :, FIRST + column] = begin + position.first_duration
        values[:, :, KIND + column] = position.kind
        if self.relaxed:
            values[:, :, CORES] += np.where(position.kind == 0.0, position.duration, 0.0)
        values[:, :, column] = np.maximum(done + delivery, 0.0 if after_others else before[:, column])
        values[:, :, ENERGY] += position.energy + energy
        verdict = before[:, VERDICT]
        if order.verdict_weight and verdict.any():
            loaded = np.clip((verdict - load_start) / np.maximum(position.link, 1.0), 0.0, 1.0)
            computed = np.clip((verdict - done) / np.maximum(position.duration, 1.0) + 1.0, 0.0, 1.0)
            early = loaded * position.load + computed * (position.energy - position.load + energy)
            values[:, :, PRODUCT] += order.verdict_weight * verdict * early
        return values

    def _prefetched(
        self, before: Floats, values: Floats, begin: Floats, position: PositionCosts
    ) -> tuple[Floats, Floats, Floats]:
        """When a task starts, when loading of its weights starts, and when it is done."""
        if not position.loads:
            return begin, before[None, :, LINK], begin + position.duration
        sizes = position.emptiest if self.relaxed else position.fullest
        start = np.maximum(before[:, LINK], self._space_from(before, sizes.first))
        begin = np.maximum(begin, start + position.first_link)
        # Weights that do not fit beside each other are loaded as the first of them have been used.
        first_end = begin + np.minimum(position.last_duration - position.block_cycles, 0.0)
        excess = np.maximum(sizes.total - self.weight_memory_bits, 0.0)
        used = first_end + np.ceil(excess / position.block_bits) * position.block_cycles
        last = np.maximum(self._space_from(before, sizes.total), np.where(excess > 0.0, used, 0.0))
        link = np.maximum(start + position.link, np.where(position.link > 0.0, last + position.last_link, 0.0))
        done = np.maximum(begin + position.duration, link + position.last_duration)
        values[:, :, LINK] = np.where(position.link > 0.0, link, before[:, LINK])
        kept = (first_end, sizes.kept, -position.block_bits, position.block_cycles)
        for first, newest in zip((STARTS, BITS, SIZES, CYCLES), kept, strict=True):
            values[:, :, first + 1 : first + HISTORY] = values[:, :, first : first + HISTORY - 1].copy()
            values[:, :, first] = newest
        return begin, start, done

    def _space_from(self, before: Floats, bits: Floats) -> Floats:
        """When there is space for ``bits`` beside the weights of the tasks before."""
        held = np.repeat(bits, len(before), axis=1)
        start = np.zeros_like(held)
        for age in range(HISTORY):
            kept = before[:, BITS + age]
            held = held + kept
            freed = np.clip(held - self.weight_memory_bits, 0.0, kept)
            blocks = np.ceil(freed / np.maximum(-before[:, SIZES + age], 1.0))
            ready = before[:, STARTS + age] + before[:, CYCLES + age] * blocks
            start = np.where(freed > 0.0, np.maximum(start, ready), start)
        return start
