"""Cost of partial plans, many at once: the model behind the dynamic programming.

A partial plan has a task for each of the first layers of a network. Layers run one after the other on their cores;
weights are loaded one after the other over the DRAM link. A result is sent part by part while it is computed. The
relaxed model leaves out that weights need space before they are used, and that a layer waits for its first block; then
every schedule of the same tasks takes at least as long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from offramp.cost.mapping.optimized.candidates.tasks import Task
from offramp.cost.mapping.optimized.core_groups import CoreGroup
from offramp.cost.mapping.optimized.router import Router
from offramp.cost.mapping.optimized.tensor_regions import Layout, TensorShape
from offramp.workload.graph import Role

Floats: TypeAlias = NDArray[np.float64]

BACKBONE, BRANCH, LINK, ENERGY, PRODUCT = range(5)
"""Columns that decide which plan is better: end of backbone and branch, end of the last weights, pJ, pJ x cycles."""

FIRST_USED, FIRST_BITS, HISTORY = 5, 8, 3
"""Then, newest first, when the weights of the last layers were used up and how many bits they took."""

NUM_COLUMNS = FIRST_BITS + HISTORY


@dataclass(frozen=True)
class TensorState:
    """Where a tensor is, and how it was computed.

    Attributes:
        layout: Cores that hold it.
        parts: Number of parts in which it was computed.
        cycles: Cycles that this took.
    """

    layout: Layout
    parts: int = 1
    cycles: int = 0


@dataclass(frozen=True)
class TransferCost:
    """What it takes to bring a task its inputs and to deliver its result.

    Attributes:
        cycles: Time of the busiest link for the inputs.
        exposed_cycles: The part of it that passes after the last input has been computed.
        delivery_cycles: Time of the busiest link for the result.
        energy_pj: Energy of all transfers.
    """

    cycles: float
    exposed_cycles: float
    delivery_cycles: float
    energy_pj: float


TRANSFER_COST_COLUMNS = 4


def transfer_cost_rows(transfer_costs: Sequence[TransferCost]) -> Floats:
    """Arrange costs of transfers as rows.

    Args:
        transfer_costs: The costs.

    Returns:
        One row each: cycles, exposed cycles, delivery cycles, energy.
    """
    return np.array([[x.cycles, x.exposed_cycles, x.delivery_cycles, x.energy_pj] for x in transfer_costs])


@dataclass(frozen=True)
class TaskCost:
    """Figures of one task that do not depend on what ran before.

    Attributes:
        duration: Cycles of all blocks.
        last_duration: Cycles of the last block.
        link_cycles: Cycles that its weights take the DRAM link.
        first_link_cycles: Those of the first block.
        last_link_cycles: Those of the last block.
        first_bits: Bits of weights of the first block on the fullest core.
        tail_bits: Those of the last two blocks.
        energy_pj: Energy of the cores and of loading weights.
        channels_apart: Whether blocks need different channels of the input.
        branch: Whether it belongs to a branch.
    """

    duration: int
    last_duration: int
    link_cycles: int
    first_link_cycles: int
    last_link_cycles: int
    first_bits: int
    tail_bits: int
    energy_pj: float
    channels_apart: bool
    branch: bool


def task_cost(task: Task, group: CoreGroup) -> TaskCost:
    """Work out the figures of a task.

    Args:
        task: The task.
        group: The cores.

    Returns:
        Its figures.
    """
    blocks = [
        (layer_tile.blocks, block) for tile in task.tiles for layer_tile in tile for block in layer_tile.blocks.blocks
    ]
    loaded = task.tiles[:1] if task.resident else task.tiles
    energy = task.energy_pj
    for tile in loaded:
        for layer_tile in tile:
            for block in layer_tile.blocks.blocks:
                users = [(c, b) for c, b in zip(task.cores, block.weight_bits, strict=True) if b]
                read = users[:1] if layer_tile.blocks.shared_weights else users
                energy += sum(group.activation_memories[group.offchip.name].read_energy_pj(bits) for _, bits in read)
                energy += sum(group.weight_memories[core].write_energy_pj(bits) for core, bits in users)

    def bits_of(index: int) -> int:
        shared, block = blocks[index][0].shared_weights, blocks[index][1]
        return max(block.weight_bits) if shared else sum(block.weight_bits)

    duration_of = group.route(group.offchip.name, task.cores[0]).duration
    per_core = [max(block.weight_bits) for _, block in blocks]
    return TaskCost(
        duration=task.duration,
        last_duration=task.last_duration,
        link_cycles=duration_of(task.weight_bits),
        first_link_cycles=duration_of(bits_of(0)),
        last_link_cycles=duration_of(bits_of(-1)),
        first_bits=per_core[0],
        tail_bits=sum(per_core[-2:]),
        energy_pj=energy,
        channels_apart=bool(task.tiles[-1][-1].sources[0].block_needs),
        branch=task.layers[0].role is Role.BRANCH,
    )


def transfer_cost(
    task: Task, states: dict[str, TensorState], tensors: dict[str, TensorShape], router: Router
) -> TransferCost:
    """Work out what the transfers of a task cost.

    Args:
        task: The task.
        states: Where each of its inputs is.
        tensors: Shapes of all tensors.
        router: Plans transfers.

    Returns:
        The cost of bringing its inputs and delivering its result.
    """
    cycles = exposed = delivery = energy = 0.0
    for tile in task.tiles:
        inside = {layer_tile.layer.name for layer_tile in tile}
        for layer_tile in tile:
            for source in layer_tile.sources:
                if source.tensor in inside:
                    continue
                state = states[source.tensor]
                if task.streamed:
                    # What a streamed layer reads goes off chip first.
                    tensor, held = tensors[source.tensor], state.layout
                    left = router.delivery(tensor, held.regions(tensor), held.cores, task.layout)
                    cycles += left.least_cycles
                    exposed = max(exposed, float(left.least_cycles))
                    energy += left.energy_pj
                    continue
                traffic = router.traffic(tensors[source.tensor], state.layout, source.needs, task.cores)
                ahead = state.cycles * (state.parts - 1) / state.parts
                exposed = max(exposed, traffic.least_cycles / state.parts, traffic.least_cycles - ahead)
                cycles += traffic.least_cycles
                energy += traffic.energy_pj
        if task.layout.cores != task.cores and not task.streamed:
            delivered = router.delivery(tensors[task.result], tile[-1].results, task.cores, task.layout)
            delivery += delivered.least_cycles
            energy += delivered.energy_pj
    return TransferCost(cycles, exposed, delivery, energy)


@dataclass(frozen=True, eq=False)
class PositionCosts:
    """Figures of all candidate tasks of one position of the plan; arrays have one row per candidate.

    Attributes:
        costs: The same as objects.
        branch: Whether the layer belongs to a branch.
        loads: Whether any candidate loads weights.
        duration: See `TaskCost`.
        last_duration: See `TaskCost`.
        after_inputs: Cycles that follow the arrival of the last part of the inputs.
        link: ``link_cycles`` of `TaskCost`.
        first_link: ``first_link_cycles`` of `TaskCost`.
        last_link: ``last_link_cycles`` of `TaskCost`.
        first_bits: See `TaskCost`.
        tail_bits: See `TaskCost`.
        energy: ``energy_pj`` of `TaskCost`.
    """

    costs: tuple[TaskCost, ...]
    branch: bool
    loads: bool
    duration: Floats
    last_duration: Floats
    after_inputs: Floats
    link: Floats
    first_link: Floats
    last_link: Floats
    first_bits: Floats
    tail_bits: Floats
    energy: Floats

    @staticmethod
    def of(costs: Sequence[TaskCost]) -> "PositionCosts":
        """Arrange figures of tasks as arrays.

        Args:
            costs: One per candidate.

        Returns:
            The arrays.
        """

        def column(name: str) -> Floats:
            return np.array([[float(getattr(cost, name))] for cost in costs])

        # Blocks that treat channels apart start as their channels arrive, others when all inputs are there.
        waiting = [[float(x.last_duration if x.channels_apart else x.duration)] for x in costs]
        return PositionCosts(
            costs=tuple(costs),
            branch=costs[0].branch,
            loads=any(cost.link_cycles for cost in costs),
            duration=column("duration"),
            last_duration=column("last_duration"),
            after_inputs=np.array(waiting),
            link=column("link_cycles"),
            first_link=column("first_link_cycles"),
            last_link=column("last_link_cycles"),
            first_bits=column("first_bits"),
            tail_bits=column("tail_bits"),
            energy=column("energy_pj"),
        )


@dataclass(frozen=True)
class PartialPlanModel:
    """Extends partial plans by one task.

    A partial plan is a row of figures; the columns are `BACKBONE` to `PRODUCT` and the history of weights.

    Attributes:
        prefetch: Whether weights are loaded ahead.
        waits: Whether a stage waits for the verdict before.
        relaxed: Whether the figures are to be a bound.
        weight_memory_bits: Size of the weight memory.
    """

    prefetch: bool
    waits: bool
    relaxed: bool
    weight_memory_bits: int

    def enter_stage(self, values: Floats) -> None:
        """Begin the next stage, after the verdict where it has to wait.

        Args:
            values: One row per partial plan; changed in place.
        """
        if self.waits:
            values[:, BACKBONE] = np.maximum(values[:, BACKBONE], values[:, BRANCH])
            values[:, LINK] = np.maximum(values[:, LINK], values[:, BRANCH])
        values[:, BRANCH] = 0.0

    def advance(self, before: Floats, position: PositionCosts, transfer_costs: Floats) -> Floats:
        """Extend every partial plan by every candidate.

        Args:
            before: One row per partial plan.
            position: Figures of the candidates.
            transfer_costs: By candidate, plan and column; see `transfer_cost_rows`.

        Returns:
            Figures by candidate, plan and column.
        """
        values = np.repeat(before[None, :, :], len(position.costs), axis=0)
        column = BRANCH if position.branch else BACKBONE
        base = before[:, column]
        cycles, exposed, delivery, energy = (transfer_costs[:, :, figure] for figure in range(TRANSFER_COST_COLUMNS))
        if self.prefetch:
            done = self._prefetched(before, values, base, position, exposed)
        else:
            done = base + (position.duration + cycles + position.link)
            values[:, :, LINK] += position.link
        values[:, :, column] = done + delivery
        values[:, :, ENERGY] += position.energy + energy
        return values

    def _prefetched(
        self, before: Floats, values: Floats, base: Floats, position: PositionCosts, exposed: Floats
    ) -> Floats:
        done: Floats = base + np.maximum(position.duration, exposed + position.after_inputs)
        if not position.loads:
            return done
        start = before[:, LINK] if self.relaxed else self._space_from(before, position.first_bits)
        link = start + position.link
        done = np.maximum(done, link + position.last_duration)
        if not self.relaxed:
            done = np.maximum(done, start + (position.first_link + position.duration))
            # The last block is loaded when the block two before it has been used.
            link = np.maximum(link, done - 2 * position.last_duration + position.last_link)
            link = np.minimum(link, done - position.last_duration)
            self._record_weights(values, done, position.tail_bits)
        values[:, :, LINK] = link
        return done

    def _space_from(self, values: Floats, bits: Floats) -> Floats:
        """When the link is free and there is space for the first block."""
        start: Floats = values[None, :, LINK]
        held = bits
        for age in range(HISTORY):
            held = held + values[:, FIRST_BITS + age]
            used = values[:, FIRST_USED + age]
            start = np.where(held > self.weight_memory_bits, np.maximum(start, used), start)
        return start

    def _record_weights(self, values: Floats, done: Floats, bits: Floats) -> None:
        for first, newest in ((FIRST_USED, done), (FIRST_BITS, bits)):
            values[:, :, first + 1 : first + HISTORY] = values[:, :, first : first + HISTORY - 1].copy()
            values[:, :, first] = newest
