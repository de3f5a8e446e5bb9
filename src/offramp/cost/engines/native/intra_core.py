"""Cycles and pJ of one layer on one core under one spatial mapping, for all loop orders at once.

The model is that of zigzag-dse 3.9.1 (Mei et al., IEEE TC 2021), evaluated on arrays with one column per loop order.
"""

from dataclasses import dataclass

import numpy as np

from offramp.cost.engines.native.in_memory_arrays import ImcGeometry, operation_energy_pj
from offramp.cost.engines.native.latency import Clock, amount_of, double_buffered, latency_of, movements_of
from offramp.cost.engines.native.loop_mapping import FloatArray, IntArray, Orderings, SpatialPlan
from offramp.cost.engines.native.loop_nest import LoopNest, Operand
from offramp.cost.engines.native.memory_allocation import Allocator
from offramp.cost.engines.native.memory_levels import CoreView, Direction
from offramp.cost.engines.native.operand_sizes import TensorSizes
from offramp.cost.engines.native.traffic import Reuse, Traffic, reuse_of, traffic_of


@dataclass(frozen=True, eq=False)
class MappingCosts:
    """Costs per loop order (last axis); only orders that fit the memories are left.

    Attributes:
        orderings: The loop orders.
        temporal_cycles: Cycles of computing without any stall, the same for all orders.
        stall_cycles: Cycles in which the array waits for memories.
        onload_cycles: Cycles before the array starts.
        offload_cycles: Cycles that the last results take to the outermost memory.
        mac_energy_pj: Energy of the multiply-accumulate units, the same for all orders.
        memory_energy_pj: Energy of the memories; one (levels x orders) array per operand, output first.
        energy_pj: Energy of the layer.
        latency_cycles: Cycles of the layer.
        bounds: One (levels x orders) array per operand: the place after the last loop of each memory level.
    """

    orderings: Orderings
    temporal_cycles: float
    stall_cycles: FloatArray
    onload_cycles: FloatArray
    offload_cycles: FloatArray
    mac_energy_pj: float
    memory_energy_pj: tuple[FloatArray, ...]
    energy_pj: FloatArray
    latency_cycles: FloatArray
    bounds: tuple[IntArray, ...]

    @property
    def count(self) -> int:
        """Number of orders."""
        return len(self.latency_cycles)


def evaluate_orderings(
    nest: LoopNest,
    view: CoreView,
    plan: SpatialPlan,
    orderings: Orderings,
    fill_early: bool,
    used: CoreView | None = None,
) -> MappingCosts:
    """Price loop orders under one spatial mapping. Orders that do not fit the memories are left out.

    Args:
        nest: The layer's loops.
        view: The core.
        plan: The spatial mapping.
        orderings: The loop orders.
        fill_early: Whether data that is loaded once may arrive during the computation; see
            `offramp.cost.engines.native.latency.latency_of`.
        used: The core with as much of its memories as is filled; None for all of them.

    Returns:
        Costs of the orders that fit.
    """
    sizes = _tensor_sizes(nest, plan, orderings)
    prefix = _prefix(orderings)
    allocation = Allocator(nest, used or view, orderings, sizes, prefix).run()
    bounds = allocation.bounds
    if not allocation.valid.all():
        kept = np.flatnonzero(allocation.valid)
        orderings = Orderings(orderings.loops, orderings.index[:, kept])
        bounds = tuple(found[:, kept] for found in bounds)
        sizes = _tensor_sizes(nest, plan, orderings)
        prefix = prefix[:, kept]
    imc = view.core.imc
    per_operation = ImcGeometry.of(view.core, imc).cycles_per_operation if imc else 1.0
    gain = nest.sparsity
    if gain is not None:
        per_operation = gain.cycles
    clock = Clock(orderings.total_cycles if orderings.count else 1, per_operation, gain)
    mac_energy = _mac_energy_pj(nest, view, plan)
    reuses = tuple(
        reuse_of(operand, found, orderings, prefix) for operand, found in zip(nest.operands, bounds, strict=True)
    )
    exact = _traffic(nest, sizes, reuses)
    whole = exact
    if not plan.is_whole:
        cut = tuple(TensorSizes.of(o, u, orderings) for o, u in zip(nest.operands, plan.whole, strict=True))
        whole = _traffic(nest, cut, reuses)
    energies = tuple(
        _memory_energy(operand, view, traffic, reuse, clock)
        for operand, traffic, reuse in zip(nest.operands, exact, reuses, strict=True)
    )
    energy = np.zeros(orderings.count)
    for found in energies:
        for level in found:
            energy = energy + level
    buffered = double_buffered(nest, view, reuses, exact)
    moves = movements_of(nest, view, clock, reuses, whole, buffered)
    latency = latency_of(nest, view, clock, moves, fill_early)
    offload = latency.offload + _drain_cycles(view, plan)
    return MappingCosts(
        orderings=orderings,
        temporal_cycles=clock.temporal_cycles,
        stall_cycles=latency.stall,
        onload_cycles=latency.onload,
        offload_cycles=offload,
        mac_energy_pj=mac_energy,
        memory_energy_pj=energies,
        energy_pj=energy + mac_energy,
        latency_cycles=clock.temporal_cycles + latency.stall + latency.onload + offload,
        bounds=tuple(reuse.bounds[1:] for reuse in reuses),
    )


def _mac_energy_pj(nest: LoopNest, view: CoreView, plan: SpatialPlan) -> float:
    """Of all operations of a layer, as far as zeros do not save them."""
    if view.core.imc is not None:
        return operation_energy_pj(nest, view.core, view.core.imc, plan.mapping)
    energy = view.core.mac_energy_pj_at(nest.bits("I2"), nest.bits("I1")) * nest.operations
    return energy if nest.sparsity is None else energy * nest.sparsity.mac_energy


def _tensor_sizes(nest: LoopNest, plan: SpatialPlan, orderings: Orderings) -> tuple[TensorSizes, ...]:
    return tuple(TensorSizes.of(o, u, orderings) for o, u in zip(nest.operands, plan.exact, strict=True))


def _traffic(nest: LoopNest, sizes: tuple[TensorSizes, ...], reuses: tuple[Reuse, ...]) -> tuple[Traffic, ...]:
    return tuple(traffic_of(nest, o, s, r) for o, s, r in zip(nest.operands, sizes, reuses, strict=True))


def _prefix(orderings: Orderings) -> FloatArray:
    """Running product (places + 1 x orders) of the loop sizes."""
    loop_sizes = np.array([loop.size for loop in orderings.loops], dtype=np.float64)
    prefix = np.ones((orderings.index.shape[0] + 1, orderings.count))
    np.multiply.accumulate(loop_sizes[orderings.index], axis=0, out=prefix[1:])
    return prefix


def _drain_cycles(view: CoreView, plan: SpatialPlan) -> int:
    """Along a systolic dimension the last results leave the array a cycle per unit after they are computed."""
    cycles = 0
    for name in view.core.systolic_dimensions:
        used = 1
        for loop in plan.mapping:
            used *= loop.size if loop.array_dimension == name else 1
        cycles += used - 1
    return cycles


def _memory_energy(operand: Operand, view: CoreView, traffic: Traffic, reuse: Reuse, clock: Clock) -> FloatArray:
    """pJ (levels x orders) of one operand's accesses, each of a port's full width."""
    levels = view.levels[operand.memory_operand]
    times = np.floor(clock.total / reuse.cycles)
    result = np.zeros((len(levels), times.shape[1]))
    for level, item in enumerate(levels):
        memory = view.memories[item.memory].level
        words = []
        for way in Direction:
            high = way in (Direction.READ_TO_HIGH, Direction.WRITE_FROM_HIGH)
            row = level + 1 if high else level
            outwards = way in (Direction.WRITE_FROM_LOW, Direction.READ_TO_HIGH)
            impossible = outwards and not operand.is_output
            if impossible or (high and level == len(levels) - 1) or not item.bandwidth_bits[way]:
                words.append(np.zeros(times.shape[1]))
                continue
            bits = traffic.link_bits[row] if outwards else traffic.back_bits[row]
            narrow, wide = item.min_bandwidth_bits[way], item.bandwidth_bits[way]
            accesses = np.ceil(amount_of(traffic, level, way) * bits / narrow) * (narrow / wide)
            words.append(np.floor(accesses * times[row] * traffic.units[level + 1]))
        reads = words[Direction.READ_TO_HIGH] * memory.read_energy_pj + (
            words[Direction.READ_TO_LOW] * memory.read_energy_pj
        )
        writes = words[Direction.WRITE_FROM_HIGH] * memory.write_energy_pj + (
            words[Direction.WRITE_FROM_LOW] * memory.write_energy_pj
        )
        result[level] = reads + writes
    return result
