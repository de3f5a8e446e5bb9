"""Figures of candidate tasks that do not depend on what ran before, and of the transfers that a task needs."""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from offramp.cost.mapping.optimized.candidates.layer_blocks import Block
from offramp.cost.mapping.optimized.candidates.tasks import SourceTensor, Task
from offramp.cost.mapping.optimized.core_groups import CoreGroup
from offramp.cost.mapping.optimized.router import Router
from offramp.cost.mapping.optimized.tensor_regions import Axis, Layout, TensorShape
from offramp.workload.graph import Role

Floats: TypeAlias = NDArray[np.float64]


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
        exposed_cycles: The part of it that passes after the last input has been computed, at the least.
        likely_exposed_cycles: The same, as it will probably be.
        begin_cycles: The part of that which passes before anything is computed, at the least.
        likely_begin_cycles: The same, as it will probably be.
        delivery_cycles: Time of the busiest link for the result.
        energy_pj: Energy of all transfers.
    """

    cycles: float
    exposed_cycles: float
    likely_exposed_cycles: float
    begin_cycles: float
    likely_begin_cycles: float
    delivery_cycles: float
    energy_pj: float


TRANSFER_COST_COLUMNS = 7


def transfer_cost_rows(transfer_costs: Sequence[TransferCost]) -> Floats:
    """Arrange costs of transfers as rows.

    Args:
        transfer_costs: The costs.

    Returns:
        One row each, with the attributes in order.
    """
    return np.array([astuple(x) for x in transfer_costs])


@dataclass(frozen=True)
class WeightSizes:
    """Bits of weights that a task puts into one weight memory.

    Attributes:
        first: Those of the first block.
        last: Those of the last block.
        total: Those of all blocks.
        kept: Those of all blocks as later tasks find them.
    """

    first: int
    last: int
    total: int
    kept: int


@dataclass(frozen=True)
class TaskCost:
    """Figures of one task that do not depend on what ran before.

    Attributes:
        duration: Cycles of all blocks.
        first_duration: Cycles of the first block.
        last_duration: Cycles of the last block.
        link_cycles: Cycles that its weights take the DRAM link.
        first_link_cycles: Those of the first block.
        last_link_cycles: Those of the last block.
        fullest: Weights on the fullest core.
        emptiest: The least weights on any core: of those that get any, and for ``kept`` of all compute cores.
        block_bits: Most bits of weights that one block takes on a core.
        block_cycles: Least cycles of a block but the last.
        energy_pj: Energy of the cores and of loading weights.
        load_pj: The part of it for loading weights.
        channels_apart: Whether blocks need different channels of the input.
        kind: Number of the kind of core that computes it; 0 stands for compute cores.
        branch: Whether it belongs to a branch.
    """

    duration: int
    first_duration: int
    last_duration: int
    link_cycles: int
    first_link_cycles: int
    last_link_cycles: int
    fullest: WeightSizes
    emptiest: WeightSizes
    block_bits: int
    block_cycles: int
    energy_pj: float
    load_pj: float
    channels_apart: bool
    kind: int
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
    load_pj = 0.0
    for tile in loaded:
        for layer_tile in tile:
            for block in layer_tile.blocks.blocks:
                users = [(c, b) for c, b in zip(task.cores, block.weight_bits, strict=True) if b]
                read = users[:1] if layer_tile.blocks.shared_weights else users
                load_pj += sum(group.activation_memories[group.offchip.name].read_energy_pj(bits) for _, bits in read)
                load_pj += sum(group.weight_memories[core].write_energy_pj(bits) for core, bits in users)

    def bits_of(index: int) -> int:
        shared, block = blocks[index][0].shared_weights, blocks[index][1]
        return max(block.weight_bits) if shared else sum(block.weight_bits)

    duration_of = group.route(group.offchip.name, task.cores[0]).duration
    compute = [core.name for core in group.compute_cores]
    kinds = [compute, *([core.name] for core in (group.pooling, group.simd) if core and core.name not in compute)]
    fullest, emptiest = _weight_sizes(task, [block for _, block in blocks], compute)
    return TaskCost(
        duration=task.duration,
        first_duration=blocks[0][1].duration,
        last_duration=task.last_duration,
        link_cycles=duration_of(task.weight_bits),
        first_link_cycles=duration_of(bits_of(0)),
        last_link_cycles=duration_of(bits_of(-1)),
        fullest=fullest,
        emptiest=emptiest,
        block_bits=max(max(block.weight_bits) for _, block in blocks),
        block_cycles=min(block.duration for _, block in blocks[: max(1, len(blocks) - 1)]),
        energy_pj=task.energy_pj + load_pj,
        load_pj=load_pj,
        channels_apart=bool(task.tiles[-1][-1].sources[0].block_needs),
        kind=next(number for number, names in enumerate(kinds) if task.cores[0] in names),
        branch=task.layers[0].role is Role.BRANCH,
    )


def _weight_sizes(task: Task, blocks: Sequence[Block], compute_cores: Sequence[str]) -> tuple[WeightSizes, WeightSizes]:
    """Weights on the fullest and the emptiest core."""
    nothing = WeightSizes(0, 0, 0, 0)
    if task.streamed or task.resident or not task.weight_bits:
        return nothing, nothing
    sizes = np.array([block.weight_bits for block in blocks])
    totals, used = sizes.sum(axis=0), sizes[:, sizes.any(axis=0)]
    kept = int(totals.min()) if set(compute_cores) <= set(task.cores) else 0
    return (
        WeightSizes(int(sizes[0].max()), int(sizes[-1].max()), int(totals.max()), int(totals.max())),
        WeightSizes(int(used[0].min()), int(used[-1].min()), int(used.sum(axis=0).min()), kept),
    )


def transfer_cost(
    task: Task, states: dict[str, TensorState], tensors: dict[str, TensorShape], router: Router, last: str
) -> TransferCost:
    """Work out what the transfers of a task cost.

    Args:
        task: The task.
        states: Where each of its inputs is.
        tensors: Shapes of all tensors.
        router: Plans transfers.
        last: Name of the tensor that was computed right before; others may have been sent earlier.

    Returns:
        The cost of bringing its inputs and delivering its result.
    """
    cycles = exposed = likely_exposed = begin = likely_begin = delivery = energy = 0.0
    for tile in task.tiles:
        inside = {layer_tile.layer.name for layer_tile in tile}
        for source in (source for layer_tile in tile for source in layer_tile.sources if source.tensor not in inside):
            tensor, state = tensors[source.tensor], states[source.tensor]
            if task.streamed:
                # What a streamed layer reads goes off chip first.
                traffic = router.delivery(tensor, state.layout.regions(tensor), state.layout.cores, task.layout)
            else:
                traffic = router.traffic(tensor, state.layout, source.needs, task.cores)
            cycles += traffic.least_cycles
            energy += traffic.energy_pj
            if source.tensor == last:
                least = late = float(traffic.least_cycles)
                if not task.streamed and state.parts > 1:
                    # Parts leave as they are made; the last one may be small.
                    least = max(0.0, traffic.least_cycles - state.cycles)
                    ahead = state.cycles * (state.parts - 1) / state.parts
                    late = max(traffic.least_cycles / state.parts, traffic.least_cycles - ahead)
                exposed, likely_exposed = max(exposed, least), max(likely_exposed, late)
                if _every_block_waits(source, state):
                    begin, likely_begin = max(begin, least), max(likely_begin, late)
                if state.parts == 1 or (task.layout.axis is Axis.CHANNELS and state.layout.axis is not Axis.CHANNELS):
                    # The first channels of the last core are among the last that are made.
                    likely_begin = max(likely_begin, late)
        if task.layout.cores != task.cores and not task.streamed:
            delivered = router.delivery(tensors[task.result], tile[-1].results, task.cores, task.layout)
            # Earlier tiles are delivered while later ones are computed.
            delivery = delivered.least_cycles
            energy += delivered.energy_pj
    return TransferCost(cycles, exposed, likely_exposed, begin, likely_begin, delivery, energy)


def _every_block_waits(source: SourceTensor, state: TensorState) -> bool:
    """Whether every block needs something of all that is sent."""
    return not source.block_needs or (state.parts == 1 and state.layout.axis is not Axis.CHANNELS)


@dataclass(frozen=True, eq=False)
class SizeColumns:
    """`WeightSizes` of all candidates of a position; arrays have one row per candidate.

    Attributes:
        first: See `WeightSizes`.
        last: See `WeightSizes`.
        total: See `WeightSizes`.
        kept: See `WeightSizes`.
    """

    first: Floats
    last: Floats
    total: Floats
    kept: Floats

    @staticmethod
    def of(sizes: Sequence[WeightSizes]) -> "SizeColumns":
        """Arrange sizes as arrays.

        Args:
            sizes: One per candidate.

        Returns:
            The arrays.
        """
        columns = np.array([[x.first, x.last, x.total, x.kept] for x in sizes], dtype=float)
        return SizeColumns(*(columns[:, index, None] for index in range(4)))


@dataclass(frozen=True, eq=False)
class PositionCosts:
    """Figures of all candidate tasks of one position of the plan; arrays have one row per candidate.

    Attributes:
        costs: The same as objects.
        branch: Whether the layer belongs to a branch.
        loads: Whether any candidate loads weights.
        duration: See `TaskCost`.
        first_duration: See `TaskCost`.
        last_duration: See `TaskCost`.
        after_inputs: Cycles that follow the arrival of the last part of the inputs.
        link: ``link_cycles`` of `TaskCost`.
        first_link: ``first_link_cycles`` of `TaskCost`.
        last_link: ``last_link_cycles`` of `TaskCost`.
        fullest: See `TaskCost`.
        emptiest: See `TaskCost`.
        block_bits: See `TaskCost`; at least 1.
        block_cycles: See `TaskCost`.
        energy: ``energy_pj`` of `TaskCost`.
        load: ``load_pj`` of `TaskCost`.
        load_rate: Least energy of loading weights, pJ per cycle of the link.
        apart: 1 where blocks need different channels of the input, else 0.
        kind: See `TaskCost`.
    """

    costs: tuple[TaskCost, ...]
    branch: bool
    loads: bool
    duration: Floats
    first_duration: Floats
    last_duration: Floats
    after_inputs: Floats
    link: Floats
    first_link: Floats
    last_link: Floats
    fullest: SizeColumns
    emptiest: SizeColumns
    block_bits: Floats
    block_cycles: Floats
    energy: Floats
    load: Floats
    load_rate: float
    apart: NDArray[np.bool_]
    kind: Floats

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
            first_duration=column("first_duration"),
            last_duration=column("last_duration"),
            after_inputs=np.array(waiting),
            link=column("link_cycles"),
            first_link=column("first_link_cycles"),
            last_link=column("last_link_cycles"),
            fullest=SizeColumns.of([cost.fullest for cost in costs]),
            emptiest=SizeColumns.of([cost.emptiest for cost in costs]),
            block_bits=np.maximum(column("block_bits"), 1.0),
            block_cycles=column("block_cycles"),
            energy=column("energy_pj"),
            load=column("load_pj"),
            load_rate=min((cost.load_pj / cost.link_cycles for cost in costs if cost.link_cycles), default=math.inf),
            apart=np.array([[cost.channels_apart] for cost in costs]),
            kind=column("kind"),
        )
