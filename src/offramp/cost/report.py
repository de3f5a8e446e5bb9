"""Costs: of one layer on one core, and of a whole early-exit network on an accelerator."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from offramp.cost.capacity import MemoryNeed
from offramp.hardware.accelerator import Accelerator, Core
from offramp.workload.graph import Role, Workload
from offramp.workload.layer import LayerShape

Goal = Literal["latency", "energy", "energy_delay_product"]
"""What is minimized where there are several mappings of the same layers."""

MappingKind = Literal["layer_by_layer", "optimized"]
"""`layer_by_layer`: the reference's schedule on one compute core; `optimized`: over all cores."""

Convention = Literal["offramp", "published"]
"""`published` charges every pooling layer once per channel too often, as the reference evaluation does."""


@dataclass(frozen=True)
class MemoryEnergy:
    """Energy that the traffic of one operand costs in one memory.

    Attributes:
        memory: Name of the memory.
        operand: ``I`` for the input, ``W`` for weights or the second input, ``O`` for the output.
        energy_pj: The energy.
    """

    memory: str
    operand: str
    energy_pj: float


@dataclass(frozen=True)
class LayerCost:
    """Cost of one layer on one core.

    Attributes:
        temporal_cycles: Cycles of computing without any stall.
        stall_cycles: Cycles in which the array waits for memories.
        onload_cycles: Cycles before the array starts.
        offload_cycles: Cycles that the last results take to the outermost memory.
        mac_energy_pj: Energy of the multiply-accumulate units.
        memory_energy: Energy of the memories, by memory and operand.
        utilization: Share of the array that is used, from 0 to 1.
        spatial_mapping: The spatial mapping in words.
        temporal_mapping: The temporal mapping in words.
        spread_cycles: Spread of a measured latency: half the distance between the quartiles; 0 where it is computed.
    """

    temporal_cycles: float
    stall_cycles: float
    onload_cycles: float
    offload_cycles: float
    mac_energy_pj: float
    memory_energy: tuple[MemoryEnergy, ...]
    utilization: float
    spatial_mapping: str = ""
    temporal_mapping: str = ""
    spread_cycles: float = 0.0

    @property
    def latency_cycles(self) -> float:
        """All cycles."""
        return self.temporal_cycles + self.stall_cycles + self.onload_cycles + self.offload_cycles

    @property
    def latency_without_offload_cycles(self) -> float:
        """Cycles until the last result is computed."""
        return self.temporal_cycles + self.stall_cycles + self.onload_cycles

    @property
    def energy_pj(self) -> float:
        """Energy of the units and of all memories."""
        return self.mac_energy_pj + sum(part.energy_pj for part in self.memory_energy)


class LayerEngine(Protocol):
    """Prices single layers on single cores."""

    @property
    def name(self) -> str:
        """Name of the engine, as reports show it."""
        ...

    @property
    def version(self) -> str:
        """Version that changes whenever a figure may change; part of every cache key."""
        ...

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        """Price layers.

        Args:
            jobs: Layers, each with a core.

        Returns:
            One cost per job, in order.

        Raises:
            UnpricedJobsError: Jobs cannot be priced; all are named.
        """
        ...


@dataclass(frozen=True)
class LayerReport:
    """A layer as it was scheduled.

    Attributes:
        name: Name of the layer.
        op: Its operator.
        core: Names of the cores that run it, joined by ``+``.
        stage: Number of its stage.
        role: Whether it belongs to the backbone or to a branch.
        start_cycle: When the first core starts.
        end_cycle: When the last core is done.
        macs: Multiply-accumulate operations.
        compute_energy_pj: Energy of the cores.
        transfer_energy_pj: Energy of the transfers that the layer is charged for.
        utilization: Share of the arrays that is used, from 0 to 1.
        memory_energy: The part of ``compute_energy_pj`` that memories take, by memory and operand.
    """

    name: str
    op: str
    core: str
    stage: int
    role: Role
    start_cycle: float
    end_cycle: float
    macs: int
    compute_energy_pj: float
    transfer_energy_pj: float
    utilization: float
    memory_energy: tuple[MemoryEnergy, ...]

    @property
    def energy_pj(self) -> float:
        """Energy of cores and transfers."""
        return self.compute_energy_pj + self.transfer_energy_pj


@dataclass(frozen=True)
class StageCost:
    """Cost of one stage: the backbone up to an exit and the exit's branch.

    Attributes:
        exit: Name of the exit.
        backbone_latency_cycles: Cycles of the backbone.
        gap_cycles: Cycles that belong to neither, above all those between backbone and branch.
        branch_latency_cycles: Cycles of the branch.
        stage_latency_cycles: The sum of the three.
        stage_energy_pj: Energy of the stage.
        latency_to_exit_cycles: Cycles from the input to the exit; every branch on the way counts.
        energy_to_exit_pj: Energy of a sample that leaves here; every branch on the way counts.
        macs_to_exit: Multiply-accumulate operations of a sample that leaves here.
        speculation_energy_pj: Energy that was spent on later stages before this exit's verdict; part of
            ``energy_to_exit_pj`` of this exit alone.
    """

    exit: str
    backbone_latency_cycles: float
    gap_cycles: float
    branch_latency_cycles: float
    stage_latency_cycles: float
    stage_energy_pj: float
    latency_to_exit_cycles: float
    energy_to_exit_pj: float
    macs_to_exit: int
    speculation_energy_pj: float = 0.0

    @property
    def product_to_exit_j_cycles(self) -> float:
        """Energy times latency of a sample that leaves here."""
        return self.energy_to_exit_pj * 1e-12 * self.latency_to_exit_cycles


@dataclass(frozen=True)
class BusySpan:
    """An interval in which a core computes a part of a layer, or a link carries something for it, without a break.

    Attributes:
        place: Name of the core or link.
        layer: Name of the layer.
        start_cycle: Start of the interval.
        end_cycle: End of the interval.
        carries: What a link carries (weights, input, activation, eviction, logits or operands); empty for a core.
    """

    place: str
    layer: str
    start_cycle: float
    end_cycle: float
    carries: str = ""


@dataclass(frozen=True)
class CostReport:
    """Cost of an early-exit network on an accelerator, per exit and per layer.

    Attributes:
        accelerator: Name of the accelerator.
        engine: Name of the engine that priced the layers.
        engine_version: Its version.
        convention: What is charged.
        stages: Costs of the stages, in order.
        layers: Reports of the layers, in order.
        warnings: Sentences for the user.
        mapping: Name of the mapping.
        mapping_steps: Steps of the optimized mapping that were switched on; None where the mapping has none.
        busy: What every core and link does, and when.
        leaves_out: What a real chip pays for and these figures do not include, a sentence each.
        memory: What the network needs of the memories, and what there is.
    """

    accelerator: str
    engine: str
    engine_version: str
    convention: Convention
    stages: tuple[StageCost, ...]
    layers: tuple[LayerReport, ...]
    warnings: tuple[str, ...] = field(default=())
    mapping: MappingKind = "layer_by_layer"
    mapping_steps: tuple[str, ...] | None = None
    busy: tuple[BusySpan, ...] = ()
    leaves_out: tuple[str, ...] = ()
    memory: tuple[MemoryNeed, ...] = ()

    @property
    def memory_use(self) -> float:
        """The largest share of a memory that the network needs; above 1 it does not fit."""
        return max((need.share for need in self.memory), default=0.0)

    @property
    def products_to_exits_j_cycles(self) -> tuple[float, ...]:
        """Energy times latency of a sample that leaves, exit by exit."""
        return tuple(stage.product_to_exit_j_cycles for stage in self.stages)

    def per_exit(self) -> "CostReport":
        """The report without what is known per layer: small enough to be kept for every candidate of a search."""
        return replace(self, layers=(), busy=())


class CostModel(Protocol):
    """Prices whole workloads."""

    @property
    def name(self) -> str:
        """What prices the layers, and how they are mapped."""
        ...

    def estimate(self, workload: Workload, accelerator: Accelerator) -> CostReport:
        """Price a network.

        Args:
            workload: The network.
            accelerator: What it runs on.

        Returns:
            Cost per layer, per stage and to each exit.

        Raises:
            UnsupportedLayerError: Layers cannot be priced; they are named.
        """
        ...
