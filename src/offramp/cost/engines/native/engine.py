"""The native engine: zigzag-dse's intra-core model on arrays, without zigzag."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from offramp.cost.capacity import size_text
from offramp.cost.engines.cost_engine import COST_ENGINES, CostEngine, EngineOptions, MemoryFill, Unrolling
from offramp.cost.engines.native.in_memory_arrays import ImcGeometry, why_not
from offramp.cost.engines.native.intra_core import MappingCosts, evaluate_orderings
from offramp.cost.engines.native.loop_mapping import (
    FloatArray,
    SpatialPlan,
    all_orderings,
    plan_spatial,
    temporal_loops,
)
from offramp.cost.engines.native.loop_nest import LoopNest, loop_nest, sparse_nest
from offramp.cost.engines.native.memory_levels import CoreView, partly_used, unserved_movement, view_core
from offramp.cost.engines.native.spatial_unrolling import SpatialCandidate, SpatialSearch, spatial_candidates
from offramp.cost.operator_rules import RULE_OPS, rule_cost
from offramp.cost.report import Goal, LayerCost, LayerEngine, MemoryEnergy
from offramp.cost.sparsity_gain import gain_of
from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError
from offramp.hardware.accelerator import Core, CoreKind, MemoryOperand
from offramp.workload.layer import LayerShape

MODEL_VERSION = 4
"""To be raised whenever a figure may change."""

MANY_SPATIAL_MAPPINGS = 48
"""Spatial mappings that are tried where no loop order fits the memories under the best-ranked ones."""

BLOCK = 5040
"""Loop orders priced at once: what 7 different loops have. Bounds the memory that a layer takes."""


@dataclass(frozen=True, eq=False)
class _Best:
    """The best order under one spatial mapping."""

    costs: MappingCosts
    column: int
    plan: SpatialPlan
    rank: tuple[float, ...]


@dataclass(frozen=True)
class NativeEngine:
    """Prices layers as zigzag-dse does, all loop orders at once: milliseconds per layer, no zigzag needed.

    It keeps no prices between calls; `offramp.cost.price_cache` does.

    Attributes:
        goal: What decides among mappings: fewest cycles (energy decides ties), least energy (cycles decide ties), or
            least product of both.
        loma_lpf_limit: Most temporal loops that are permuted; larger numbers of prime factors are merged. At least 1.
        num_spatial_mappings: Number of best-ranked spatial mappings that are tried, at least 1. A core with a dataflow
            has only that one.
        mixed_spatial_mappings: Whether as many again are tried that unroll several loops along one array dimension.
        loads_overlap_computation: Whether data that is loaded once may arrive during the computation, as zigzag-dse
            3.9.1 counts. False: it arrives before, as in zigzag-dse 3.6 and in the published evaluation of early-exit
            networks.
        unrolling: How a loop that a dataflow has on several array dimensions is divided where the layer is smaller:
            ``best``, or ``zigzag`` as zigzag-dse 3.9.1 does, which takes the loop off some of these dimensions. Other
            layers and cores cost the same under both, and ``best`` is never worse. With ``best``, more mappings are
            tried for a layer that zigzag-dse refuses because none fits the memories.
        memory_fill: How much of the memories a mapping fills: ``full`` as much as it can, as zigzag-dse does, or
            ``best`` as much as is best, which takes several times as long.
    """

    goal: Goal = "latency"
    loma_lpf_limit: int = 6
    num_spatial_mappings: int = 3
    mixed_spatial_mappings: bool = False
    loads_overlap_computation: bool = False
    unrolling: Unrolling = "best"
    memory_fill: MemoryFill = "full"

    def __post_init__(self) -> None:
        for name in ("loma_lpf_limit", "num_spatial_mappings"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be >= 1, got {getattr(self, name)}.")

    def with_goal(self, goal: Goal) -> "NativeEngine":
        """Return the engine with another goal.

        Args:
            goal: What the other engine minimises.

        Returns:
            An engine with the same settings otherwise.
        """
        return replace(self, goal=goal)

    @property
    def name(self) -> str:
        return "native"

    @property
    def version(self) -> str:
        """Version of the model and every setting that a figure depends on."""
        mixed = ".mixed" if self.mixed_spatial_mappings else ""
        loads = ".overlap" if self.loads_overlap_computation else ""
        search = f"lpf{self.loma_lpf_limit}.spatial{self.num_spatial_mappings}{mixed}"
        fill = ".fill" if self.memory_fill == "best" else ""
        return f"{MODEL_VERSION}.{self.goal}.{search}{loads}.{self.unrolling}{fill}"

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        """Price layers on cores.

        Args:
            jobs: Layers and cores.

        Returns:
            One cost per job, in order.

        Raises:
            UnpricedJobsError: No mapping fits some layers; the error names all of them.
        """
        return self.price_goals(jobs, (self.goal,))[0]

    def price_goals(self, jobs: Sequence[tuple[LayerShape, Core]], goals: Sequence[Goal]) -> list[list[LayerCost]]:
        """Price layers on cores, with the best mapping for each of several goals.

        Args:
            jobs: Layers and cores.
            goals: At least one goal.

        Returns:
            For each goal one cost per job, in order.

        Raises:
            UnpricedJobsError: No mapping fits some layers; the error names all of them.
        """
        costs: list[dict[Goal, LayerCost]] = []
        unpriced: dict[tuple[LayerShape, str], UnpricedJob] = {}
        for shape, core in jobs:
            answer = self._answer(shape, core, goals)
            if isinstance(answer, str):
                unpriced.setdefault((shape, core.name), UnpricedJob(shape, core.name, answer))
            else:
                costs.append(answer)
        if unpriced:
            raise UnpricedJobsError(self.name, tuple(unpriced.values()))
        return [[cost[goal] for cost in costs] for goal in goals]

    def _answer(self, shape: LayerShape, core: Core, goals: Sequence[Goal]) -> dict[Goal, LayerCost] | str:
        """The cost for each goal, or why there is none."""
        if core.kind is CoreKind.OFFCHIP:
            return "it is a memory and cannot compute"
        if shape.op in RULE_OPS:
            return dict.fromkeys(goals, rule_cost(shape, core))
        view = _view(core)
        if fault := why_not(core) or unserved_movement(view):
            return fault
        nest = sparse_nest(loop_nest(shape), gain_of(shape, core))
        best: dict[Goal, _Best] = {}
        for used, count in () if _holds_no_element(nest, view) else self._attempts(core):
            search = SpatialSearch(count, self.mixed_spatial_mappings, self.unrolling == "best")
            for candidate in spatial_candidates(nest, view, search):
                for goal, found in self._best_orders(candidate, view, _view(used), goals):
                    if goal not in best or found.rank < best[goal].rank:
                        best[goal] = found
            if best and self.memory_fill == "full":
                break
        if not best:
            return _no_fit(shape, core)
        return {goal: _layer_cost(nest, view, found) for goal, found in best.items()}

    def _attempts(self, core: Core) -> Iterator[tuple[Core, int]]:
        """What of the memories is used, with how many spatial mappings; later ones where no order fits before."""
        yield core, self.num_spatial_mappings
        if self.memory_fill == "full" and self.unrolling == "best":
            yield core, MANY_SPATIAL_MAPPINGS
        for used in partly_used(core) if self.memory_fill == "best" or self.unrolling == "best" else ():
            yield used, self.num_spatial_mappings

    def _best_orders(
        self, candidate: SpatialCandidate, view: CoreView, used: CoreView, goals: Sequence[Goal]
    ) -> Iterator[tuple[Goal, _Best]]:
        """For each goal the best order of each block of orders, earlier ones first."""
        nest = candidate.nest
        plan = plan_spatial(nest, view, candidate.mapping)
        orderings = all_orderings(temporal_loops(nest, plan, self.loma_lpf_limit))
        for block in orderings.blocks(BLOCK):
            costs = evaluate_orderings(nest, view, plan, block, self.loads_overlap_computation, used)
            if costs.count == 0:
                continue
            for goal in goals:
                ranks = _ranks(costs, goal)
                column = int(np.lexsort(ranks[::-1])[0])
                yield goal, _Best(costs, column, plan, tuple(float(rank[column]) for rank in ranks))


def _holds_no_element(nest: LoopNest, view: CoreView) -> bool:
    """Whether a memory is smaller than one element of an operand that passes it: then no mapping can fit."""
    return any(
        min(operand.bits, operand.partial_bits) > use.level.size_bits
        for operand in nest.operands
        for use in view.memories
        if operand.memory_operand in use.level.operands
    )


def _ranks(costs: MappingCosts, goal: Goal) -> tuple[FloatArray, ...]:
    """What decides between loop orders, the most important first."""
    if goal == "latency":
        return costs.latency_cycles, costs.energy_pj
    if goal == "energy":
        return costs.energy_pj, costs.latency_cycles
    return (costs.latency_cycles * costs.energy_pj,)


@lru_cache(maxsize=256)
def _view(core: Core) -> CoreView:
    return view_core(core)


def _no_fit(shape: LayerShape, core: Core) -> str:
    """Why no mapping was found; names the memory that is too small for the weights or the output as a whole."""
    needs: tuple[tuple[str, MemoryOperand, int], ...] = (
        ("weights", "I2", shape.weight_size_bits),
        ("results", "O", shape.output_size_bits),
    )
    too_large = [
        f"its {content} need {size_text(needed)}, and {memory.name} holds {size_text(memory.size_bits)}"
        for content, operand, needed in needs
        if needed > (memory := core.outermost_memory(operand)).size_bits
    ]
    sizes = ", ".join(f"{memory.name} {memory.size_bits} bits" for memory in core.memories)
    return "; ".join(too_large) or f"no loop order fits its memories ({sizes})"


def _layer_cost(nest: LoopNest, view: CoreView, best: _Best) -> LayerCost:
    costs, column = best.costs, best.column
    energies = []
    for operand, found in zip(nest.operands, costs.memory_energy_pj, strict=True):
        for level in range(len(found)):
            name = view.memory_of(operand.memory_operand, level).name
            energies.append(MemoryEnergy(name, operand.name, float(found[level, column])))
    latency = float(costs.latency_cycles[column])
    imc = view.core.imc
    per_operation = ImcGeometry.of(view.core, imc).cycles_per_operation if imc else 1.0
    rounds = math.ceil(nest.operations / view.core.peak_macs_per_cycle)
    ideal = math.ceil(rounds * per_operation) if nest.sparsity is None else nest.sparsity.whole_cycles(rounds)
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


def _build(options: EngineOptions) -> tuple[LayerEngine, ...]:
    overlap = options.loads == "overlap"
    return tuple(
        NativeEngine(
            goal=goal, loads_overlap_computation=overlap, unrolling=options.unrolling, memory_fill=options.memory_fill
        )
        for goal in options.goals
    )


COST_ENGINES.add(
    "native",
    CostEngine("offramp's own: all loop orders of a layer at once", _build, prices_zero_weights=True),
)
