"""The native engine: zigzag-dse's intra-core model on arrays, without zigzag."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from offramp.cost.base import LayerCost, MemoryEnergy
from offramp.cost.intra_core import MappingCosts, evaluate_orderings
from offramp.cost.mapping import SpatialPlan, all_orderings, plan_spatial, temporal_loops
from offramp.cost.native_hardware import CoreView, view_core
from offramp.cost.native_layer import LoopNest, loop_nest
from offramp.cost.native_spatial import SpatialSearch, spatial_mappings
from offramp.errors import UnsupportedLayerError
from offramp.hardware.accelerator import Core, CoreKind, PortKind, SpatialLoop
from offramp.workload.layer import LayerShape, Op

Goal = Literal["latency", "energy", "energy_delay_product"]

Reference = Literal["3.9.1", "3.6.3"]

VERSION = "native-1"
THREE_CANDIDATES = SpatialSearch()


@dataclass(frozen=True, eq=False)
class _Best:
    costs: MappingCosts
    column: int
    plan: SpatialPlan
    key: tuple[float, ...]


class NativeEngine:
    """Prices layers as zigzag-dse 3.9.1 does, all loop orders at once.

    ``goal`` picks among mappings: fewest cycles (energy decides ties), least energy, or least product of the two.
    ``loop_limit`` is LOMA's: how many temporal loops are permuted. ``search`` says which spatial mappings are tried.
    ``reference`` is the zigzag-dse version to agree with: since 3.9 data that is moved only once may move while the
    array computes; the published early-exit figures were made with 3.6.3, where it could not.
    """

    name = "native"

    def __init__(
        self,
        goal: Goal = "latency",
        loop_limit: int = 6,
        search: SpatialSearch = THREE_CANDIDATES,
        reference: Reference = "3.9.1",
    ) -> None:
        self.goal: Goal = goal
        self.loop_limit = loop_limit
        self.search = search
        self.reference: Reference = reference
        self._views: dict[int, CoreView] = {}
        self._memo: dict[tuple[LayerShape, int], LayerCost] = {}
        self._core_numbers: dict[Core, int] = {}

    @property
    def version(self) -> str:
        """Engine version and every setting that a figure depends on."""
        search = f"{self.search.candidates}{'-mixed' if self.search.mixed else ''}"
        return f"{VERSION}/zigzag-{self.reference}/{self.goal}/loops-{self.loop_limit}/spatial-{search}"

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        """One cost per job, in order; equal jobs are priced once, also across calls.

        Raises UnsupportedLayerError that names every layer that no mapping fits.
        """
        costs: list[LayerCost] = []
        faults: list[str] = []
        numbers: dict[int, int] = {}
        for shape, core in jobs:
            number = numbers.get(id(core))
            if number is None:
                number = numbers[id(core)] = self._core_numbers.setdefault(core, len(self._core_numbers))
            key = (shape, number)
            if key not in self._memo:
                try:
                    self._memo[key] = self._price_one(shape, core, number)
                except UnsupportedLayerError as error:
                    if str(error) not in faults:
                        faults.append(str(error))
                    continue
            costs.append(self._memo[key])
        if faults:
            raise UnsupportedLayerError(
                f"{len(faults)} layer{'s' if len(faults) > 1 else ''} cannot be priced: {'; '.join(faults)}."
            )
        return costs

    def _price_one(self, shape: LayerShape, core: Core, number: int) -> LayerCost:
        if core.kind is CoreKind.OFFCHIP:
            raise UnsupportedLayerError(f"{describe(shape)} on '{core.name}', which is a memory and cannot compute")
        if shape.op is Op.ACTIVATION:
            return _FREE
        if shape.op is Op.CONCAT:
            return _copy_cost(shape, core)
        view = self._views.setdefault(number, view_core(core))
        nest = loop_nest(shape)
        best: _Best | None = None
        for mapping in spatial_mappings(nest, view, self.search):
            found = self._best_order(nest, view, mapping)
            if found is not None and (best is None or found.key < best.key):
                best = found
        if best is None:
            raise UnsupportedLayerError(
                f"{describe(shape)} on '{core.name}': no loop order fits its memories "
                f"({', '.join(f'{memory.name} {memory.size_bits} bits' for memory in core.memories)})"
            )
        return _layer_cost(nest, view, best)

    def _best_order(self, nest: LoopNest, view: CoreView, mapping: tuple[SpatialLoop, ...]) -> _Best | None:
        plan = plan_spatial(nest, view, mapping)
        orderings = all_orderings(temporal_loops(nest, plan, self.loop_limit))
        mac_energy = view.core.mac_energy_pj * nest.operations
        costs = evaluate_orderings(nest, view, plan, orderings, mac_energy, fill_early=self.reference != "3.6.3")
        if costs.count == 0:
            return None
        keys = {
            "latency": (costs.latency_cycles, costs.energy_pj),
            "energy": (costs.energy_pj, costs.latency_cycles),
            "energy_delay_product": (costs.latency_cycles * costs.energy_pj,),
        }[self.goal]
        column = int(np.lexsort(keys[::-1])[0])
        return _Best(costs, column, plan, tuple(float(key[column]) for key in keys))


_FREE = LayerCost(0.0, 0.0, 0.0, 0.0, 0.0, (), 1.0, "", "folded into the layer that feeds it")


def _copy_cost(shape: LayerShape, core: Core) -> LayerCost:
    """Concatenation: every element is read from and written to the core's outermost memory once, nothing computed.

    Reading and writing overlap where the memory has a port for each, and follow each other where it has one for both.
    """
    memory = core.top_memory
    bits = shape.output_size_bits
    reads = math.ceil(bits / memory.read_bandwidth_bits)
    writes = math.ceil(bits / memory.write_bandwidth_bits)
    single = len(memory.ports) == 1 and memory.ports[0].kind is PortKind.READ_WRITE
    return LayerCost(
        temporal_cycles=float(reads + writes if single else max(reads, writes)),
        stall_cycles=0.0,
        onload_cycles=0.0,
        offload_cycles=0.0,
        mac_energy_pj=0.0,
        memory_energy=(
            MemoryEnergy(memory.name, "I", reads * memory.read_energy_pj),
            MemoryEnergy(memory.name, "O", writes * memory.write_energy_pj),
        ),
        utilization=0.0,
        temporal_mapping="copied through the outermost memory",
    )


def _layer_cost(nest: LoopNest, view: CoreView, best: _Best) -> LayerCost:
    costs, column = best.costs, best.column
    energies = []
    for operand, found in zip(nest.operands, costs.memory_energy_pj, strict=True):
        for level in range(len(found)):
            name = view.memory_of(operand.memory_operand, level).name
            energies.append(MemoryEnergy(name, operand.name, float(found[level, column])))
    latency = float(costs.latency_cycles[column])
    ideal = math.ceil(nest.operations / view.core.peak_macs_per_cycle)
    return LayerCost(
        temporal_cycles=float(costs.temporal_cycles),
        stall_cycles=float(costs.stall_cycles[column]),
        onload_cycles=float(costs.onload_cycles[column]),
        offload_cycles=float(costs.offload_cycles[column]),
        mac_energy_pj=float(costs.mac_energy_pj),
        memory_energy=tuple(energies),
        utilization=ideal / latency,
        spatial_mapping=", ".join(f"{loop.array_dimension}: {loop.loop} {loop.size}" for loop in best.plan.mapping),
        temporal_mapping=_describe_order(nest, costs, column),
    )


def _describe_order(nest: LoopNest, costs: MappingCosts, column: int) -> str:
    """Loops of each operand from the inside out; a bar ends a memory level."""
    loops = costs.orderings.describe(column)
    parts = []
    for operand, bounds in zip(nest.operands, costs.bounds, strict=True):
        levels, start = [], 0
        for stop in bounds[:, column]:
            levels.append(" ".join(f"{loop.dim}{loop.size}" for loop in loops[start:stop]))
            start = stop
        parts.append(f"{operand.name}: {' | '.join(levels)}")
    return "; ".join(parts)


def describe(shape: LayerShape) -> str:
    """The layer in a few words, for error messages."""
    kernel = f" {shape.fy}x{shape.fx}" if shape.fy * shape.fx > 1 else ""
    channels = f"{shape.g * shape.c} to {shape.g * shape.k} channels" + (f" in {shape.g} groups" if shape.g > 1 else "")
    bits = f"{shape.weight_bits}/{shape.activation_bits} bits"
    return f"{shape.op.value}{kernel} of {channels}, output {shape.oy}x{shape.ox}, {bits}"
