"""What a cost is: of one layer on one core, and of a whole early-exit workload on an accelerator."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from offramp.hardware.accelerator import Accelerator, Core
from offramp.workload.graph import Role, Workload
from offramp.workload.layer import LayerShape

Goal = Literal["latency", "energy", "energy_delay_product"]
"""What is minimized where there are several mappings of the same layers."""

MappingKind = Literal["layer_by_layer", "optimized"]
"""`layer_by_layer`: the reference's schedule on one core; `optimized`: the mapper's, over all cores."""

Convention = Literal["offramp", "published"]
"""`published` charges every pooling layer once per channel too often, as the reference evaluation does."""


@dataclass(frozen=True)
class MemoryEnergy:
    """Energy that one operand's traffic (I input, W weights or second input, O output) costs in one memory."""

    memory: str
    operand: str
    energy_pj: float


@dataclass(frozen=True)
class LayerCost:
    """One layer on one core. ``energy_pj`` = ``mac_energy_pj`` + the sum over ``memory_energy``.

    ``temporal + stall + onload`` are the cycles until the last result is made; ``offload`` the cycles that
    draining it to the top memory takes afterwards. ``latency_cycles`` is their sum.
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

    @property
    def latency_cycles(self) -> float:
        return self.temporal_cycles + self.stall_cycles + self.onload_cycles + self.offload_cycles

    @property
    def latency_without_offload_cycles(self) -> float:
        return self.temporal_cycles + self.stall_cycles + self.onload_cycles

    @property
    def energy_pj(self) -> float:
        return self.mac_energy_pj + sum(part.energy_pj for part in self.memory_energy)


class LayerEngine(Protocol):
    """Prices single layers on single cores."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Changes whenever a figure may change; part of every cache key."""
        ...

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        """One cost per job, in order. Raises UnsupportedLayerError that names all layers it cannot price."""
        ...


@dataclass(frozen=True)
class LayerReport:
    """A layer of the workload as scheduled: when, where, and what it spent."""

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
        return self.compute_energy_pj + self.transfer_energy_pj


@dataclass(frozen=True)
class StageCost:
    """One stage: the backbone up to an exit and the exit's branch. ``gap_cycles`` lies between the two.

    ``stage_latency_cycles`` = backbone + gap + branch. The ``*_to_exit`` figures are cumulative from the input and
    charge every branch on the way. ``speculation_energy_pj`` was spent on later stages before this exit's verdict; it
    is part of ``energy_to_exit_pj`` of this exit alone.
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
    """A core that computes a part of ``layer``, or a link that carries something for it, without a break.

    ``carries`` says what: weights, input, activation, eviction or logits; it is empty for a core.
    """

    place: str
    layer: str
    start_cycle: float
    end_cycle: float
    carries: str = ""


@dataclass(frozen=True)
class CostReport:
    """Cost of an early-exit workload on an accelerator, per exit and per layer.

    ``busy``: what every core and link does when. ``mapping_steps``: the steps of the optimized mapping that were
    switched on, None where the model knows none. ``leaves_out``: what a real chip pays for and these figures do not
    hold, a sentence each.
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

    @property
    def products_to_exits_j_cycles(self) -> tuple[float, ...]:
        """Energy times latency of a sample that leaves, exit by exit."""
        return tuple(stage.product_to_exit_j_cycles for stage in self.stages)

    def per_exit(self) -> "CostReport":
        """Without what is known per layer: small enough to be kept for every candidate of a search."""
        return replace(self, layers=(), busy=())


class CostModel(Protocol):
    """Prices whole workloads."""

    @property
    def name(self) -> str: ...

    def estimate(self, workload: Workload, accelerator: Accelerator) -> CostReport: ...
