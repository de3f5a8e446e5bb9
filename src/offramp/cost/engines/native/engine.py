"""The native engine: zigzag-dse's intra-core model on arrays, without zigzag."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from offramp.cost.engines.cost_engine import COST_ENGINES, CostEngine, EngineOptions
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
from offramp.cost.engines.native.memory_levels import CoreView, unserved_movement, view_core
from offramp.cost.engines.native.spatial_unrolling import SpatialSearch, spatial_mappings
from offramp.cost.operator_rules import RULE_OPS, rule_cost
from offramp.cost.report import Goal, LayerCost, LayerEngine, MemoryEnergy
from offramp.cost.sparsity_gain import gain_of
from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError
from offramp.hardware.accelerator import Core, CoreKind, SpatialLoop
from offramp.workload.layer import LayerShape

MODEL_VERSION = 3
"""To be raised whenever a figure may change."""

BLOCK = 5040
"""Loop orders priced at once: what 7 different loops have. Bounds the memory that a layer takes."""


@dataclass(frozen=True)
class _Key:
    """A job as the memory of an engine files it: cores are numbered, for hashing one takes long."""

    shape: LayerShape
    core_number: int
    goal: str


@dataclass(frozen=True)
class _Answer:
    cost: LayerCost | None
    fault: str = ""


@dataclass(frozen=True)
class _Known:
    """What an engine and its siblings have seen and priced; every layer is priced for all their ``goals`` at once."""

    goals: list[Goal] = field(default_factory=list)
    cores: dict[Core, int] = field(default_factory=dict)
    answers: dict[_Key, _Answer] = field(default_factory=dict)


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

    ``goal`` picks among mappings: fewest cycles (energy decides ties), least energy (cycles decide ties), or least
    product of both. A core with a dataflow keeps it; otherwise the ``num_spatial_mappings`` best-ranked spatial
    mappings are tried, with ``mixed_spatial_mappings`` also those that lay several loops along one array dimension.
    ``loma_lpf_limit`` bounds how many temporal loops are permuted.

    ``loads_overlap_computation`` False: what a layer loads only once is there before it computes, as in zigzag-dse 3.6
    and in the published evaluation of early-exit networks. True: as zigzag-dse 3.9.1 counts, such loads are shortened
    by what fits beside the computation.

    Equal jobs are priced once in the engine's life; cores that differ in name only are equal.
    """

    goal: Goal = "latency"
    loma_lpf_limit: int = 6
    num_spatial_mappings: int = 3
    mixed_spatial_mappings: bool = False
    loads_overlap_computation: bool = False
    _known: _Known = field(default_factory=_Known, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("loma_lpf_limit", "num_spatial_mappings"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be >= 1, got {getattr(self, name)}.")
        self._known.goals.append(self.goal)

    def sibling(self, goal: Goal) -> "NativeEngine":
        """The same engine with another goal; what one of them evaluates serves both."""
        other = replace(self, goal=goal)
        object.__setattr__(other, "_known", self._known)
        if goal not in self._known.goals:
            self._known.goals.append(goal)
        return other

    @property
    def name(self) -> str:
        return "native"

    @property
    def version(self) -> str:
        """Version of the model and every setting that a figure depends on."""
        mixed = ".mixed" if self.mixed_spatial_mappings else ""
        loads = ".overlap" if self.loads_overlap_computation else ""
        return f"{MODEL_VERSION}.{self.goal}.lpf{self.loma_lpf_limit}.spatial{self.num_spatial_mappings}{mixed}{loads}"

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        """One cost per job, in order; UnpricedJobsError names every layer that no mapping fits."""
        numbers: dict[int, int] = {}
        costs: list[LayerCost] = []
        unpriced: dict[_Key, UnpricedJob] = {}
        for shape, core in jobs:
            if id(core) not in numbers:
                known = self._known.cores
                numbers[id(core)] = known.setdefault(replace(core, name="core", source=""), len(known))
            key = _Key(shape, numbers[id(core)], self.goal)
            answer = self._known.answers.get(key)
            if answer is None:
                for goal, found in self._answers(shape, core).items():
                    self._known.answers[replace(key, goal=goal)] = found
                answer = self._known.answers[key]
            if answer.cost is None:
                unpriced.setdefault(key, UnpricedJob(shape, core.name, answer.fault))
            else:
                costs.append(answer.cost)
        if unpriced:
            raise UnpricedJobsError(self.name, tuple(unpriced.values()))
        return costs

    def _answers(self, shape: LayerShape, core: Core) -> dict[Goal, _Answer]:
        """The answer for each goal."""
        goals = self._known.goals
        if core.kind is CoreKind.OFFCHIP:
            return dict.fromkeys(goals, _Answer(None, "it is a memory and cannot compute"))
        if shape.op in RULE_OPS:
            return dict.fromkeys(goals, _Answer(rule_cost(shape, core)))
        view = _view(core)
        if fault := why_not(core) or unserved_movement(view):
            return dict.fromkeys(goals, _Answer(None, fault))
        nest = sparse_nest(loop_nest(shape), gain_of(shape, core))
        best: dict[Goal, _Best] = {}
        search = SpatialSearch(self.num_spatial_mappings, self.mixed_spatial_mappings)
        for mapping in spatial_mappings(nest, view, search):
            for goal, found in self._best_orders(nest, view, mapping):
                if goal not in best or found.rank < best[goal].rank:
                    best[goal] = found
        if not best:
            sizes = ", ".join(f"{memory.name} {memory.size_bits} bits" for memory in core.memories)
            return dict.fromkeys(goals, _Answer(None, f"no loop order fits its memories ({sizes})"))
        return {goal: _Answer(_layer_cost(nest, view, found)) for goal, found in best.items()}

    def _best_orders(
        self, nest: LoopNest, view: CoreView, mapping: tuple[SpatialLoop, ...]
    ) -> Iterator[tuple[Goal, _Best]]:
        """For each goal the best order of each block of orders, earlier ones first."""
        plan = plan_spatial(nest, view, mapping)
        orderings = all_orderings(temporal_loops(nest, plan, self.loma_lpf_limit))
        for block in orderings.blocks(BLOCK):
            costs = evaluate_orderings(nest, view, plan, block, fill_early=self.loads_overlap_computation)
            if costs.count == 0:
                continue
            for goal in self._known.goals:
                ranks = _ranks(costs, goal)
                column = int(np.lexsort(ranks[::-1])[0])
                yield goal, _Best(costs, column, plan, tuple(float(rank[column]) for rank in ranks))


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
    first = NativeEngine(goal=options.goals[0])
    return first, *(first.sibling(goal) for goal in options.goals[1:])


COST_ENGINES.add(
    "native",
    CostEngine("offramp's own: all loop orders of a layer at once", _build, prices_zero_weights=True),
)
