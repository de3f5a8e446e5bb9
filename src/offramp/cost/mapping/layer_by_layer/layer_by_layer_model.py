"""Cost of whole early-exit workloads: layers priced by an engine, scheduled layer by layer on one compute core."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from offramp.cost.busy_times import busy_spans
from offramp.cost.mapping.layer_by_layer.link_scheduling import plan_layer_by_layer
from offramp.cost.mapping.placement import Placement, place
from offramp.cost.report import Convention, CostReport, LayerCost, LayerEngine, LayerReport, StageCost
from offramp.cost.schedule import Execution, Schedule
from offramp.cost.unmodelled import left_out_layer_by_layer
from offramp.cost.unsupported import UnpricedJobsError, describe
from offramp.errors import AcceleratorError, UnsupportedLayerError
from offramp.hardware.accelerator import Accelerator, Core, CoreKind
from offramp.workload.graph import Role, Workload
from offramp.workload.layer import LayerShape, Op

NOTICEABLE_WAIT = 0.05
"""Share of the whole latency above which waiting that no stage is charged for gets a warning."""


@dataclass(frozen=True)
class LayerByLayerModel:
    """Prices each layer with ``engine`` and schedules all of them, in order, with one compute core.

    Of several different compute cores the one with the lowest energy-delay product to the final exit is taken.
    Pooling and element-wise operators go to the pooling and the SIMD core where there is one. A stage is charged from
    the start of its first backbone layer to the end of its branch; what passes before that, above all the wait for the
    first weights and the graph input, is charged to no stage. Energies: weights to the layer that uses them, an
    activation's journey to the layer that made it. Source: asyms/stream, branch expl-eenn.
    """

    engine: LayerEngine
    convention: Convention = "offramp"

    @property
    def name(self) -> str:
        return f"{self.engine.name} {self.engine.version}"

    def estimate(self, workload: Workload, accelerator: Accelerator) -> CostReport:
        """Raises UnsupportedLayerError naming all layers that the engine cannot price."""
        variants = [
            place(workload, accelerator, core, self.convention) for core in different_compute_cores(accelerator)
        ]
        costs = self._price(variants)
        reports = [self._report(workload, accelerator, placements, costs) for placements in variants]
        return min(reports, key=lambda r: r.stages[-1].energy_to_exit_pj * r.stages[-1].latency_to_exit_cycles)

    def _price(self, variants: Sequence[Sequence[Placement]]) -> "dict[tuple[LayerShape, Core], LayerCost]":
        jobs = list(dict.fromkeys((x.priced_shape, x.priced_core) for placements in variants for x in placements))
        try:
            return dict(zip(jobs, self.engine.price(jobs), strict=True))
        except UnpricedJobsError as exc:
            raise _named(exc, variants) from exc

    def _report(
        self,
        workload: Workload,
        accelerator: Accelerator,
        placements: Sequence[Placement],
        costs: "Mapping[tuple[LayerShape, Core], LayerCost]",
    ) -> CostReport:
        layer_costs = {x.layer.name: costs[x.priced_shape, x.priced_core] for x in placements}
        runtimes = {x.layer.name: runtime_cycles(layer_costs[x.layer.name], x.core.kind) for x in placements}
        schedule = plan_layer_by_layer(workload, placements, runtimes, accelerator, self.convention)
        layers = layer_reports(workload, schedule, layer_costs)
        stages = stage_costs(workload, layers)
        return CostReport(
            accelerator=accelerator.name,
            engine=self.engine.name,
            engine_version=self.engine.version,
            convention=self.convention,
            stages=stages,
            layers=layers,
            warnings=(*schedule.warnings, *_waiting(stages, schedule)),
            busy=busy_spans(schedule),
            leaves_out=left_out_layer_by_layer(accelerator, self.convention, stages, layers),
        )


def different_compute_cores(accelerator: Accelerator) -> list[Core]:
    """One compute core of each description, the first listed; AcceleratorError when there is none."""
    different = {replace(core, name="", source=""): core for core in reversed(accelerator.cores_of(CoreKind.COMPUTE))}
    if not different:
        raise AcceleratorError(
            f"Accelerator {accelerator.name!r} must have a compute core, got cores "
            f"{[core.name for core in accelerator.cores]}. Add one to its description."
        )
    order = [core.name for core in accelerator.cores]
    return sorted(different.values(), key=lambda core: order.index(core.name))


def runtime_cycles(cost: LayerCost, kind: CoreKind) -> float:
    """Cycles a core is busy: whole cycles to the last result on compute cores, with draining on the others."""
    if kind is CoreKind.COMPUTE:
        return float(int(cost.latency_without_offload_cycles))
    return cost.latency_cycles


def layer_reports(workload: Workload, schedule: Schedule, costs: Mapping[str, LayerCost]) -> tuple[LayerReport, ...]:
    """One report per layer, in order; a transfer's energy goes to the layer that is its origin."""
    travelled: dict[str, float] = {}
    for transfer in schedule.transfers:
        travelled[transfer.origin] = travelled.get(transfer.origin, 0.0) + transfer.energy_pj
    reports = []
    for layer, execution in zip(workload.layers, schedule.executions, strict=True):
        cost = costs[layer.name]
        reports.append(
            LayerReport(
                name=layer.name,
                op=layer.shape.op.value,
                core=execution.core,
                stage=layer.stage,
                role=layer.role,
                start_cycle=execution.start_cycle,
                end_cycle=execution.end_cycle,
                macs=layer.shape.macs,
                compute_energy_pj=cost.energy_pj,
                transfer_energy_pj=travelled.get(layer.name, 0.0),
                utilization=cost.utilization,
                memory_energy=cost.memory_energy,
            )
        )
    return tuple(reports)


def stage_costs(workload: Workload, layers: Sequence[LayerReport]) -> tuple[StageCost, ...]:
    """Latency and energy stage by stage, and cumulative to each exit."""
    stages: list[StageCost] = []
    latency = energy = 0.0
    for stage, (exit_name, macs) in enumerate(zip(workload.exits, workload.macs_to_exit(), strict=True)):
        members = [layer for layer in layers if layer.stage == stage]
        # Free activation functions stand where their producer ends, which may be in the stage before.
        timed = [layer for layer in members if layer.op != Op.ACTIVATION.value]
        backbone = _span([layer for layer in timed if layer.role is Role.BACKBONE])
        branch = _span([layer for layer in timed if layer.role is Role.BRANCH])
        whole = _span(timed)
        latency += whole
        stage_energy = sum(layer.energy_pj for layer in members)
        energy += stage_energy
        stages.append(
            StageCost(
                exit=exit_name,
                backbone_latency_cycles=backbone,
                gap_cycles=whole - backbone - branch,
                branch_latency_cycles=branch,
                stage_latency_cycles=whole,
                stage_energy_pj=stage_energy,
                latency_to_exit_cycles=latency,
                energy_to_exit_pj=energy,
                macs_to_exit=macs,
            )
        )
    return tuple(stages)


def _span(layers: Sequence[LayerReport]) -> float:
    if not layers:
        return 0.0
    return max(layer.end_cycle for layer in layers) - min(layer.start_cycle for layer in layers)


def _waiting(stages: Sequence[StageCost], schedule: Schedule) -> list[str]:
    computed: list[Execution] = list(schedule.executions)
    end = max((item.end_cycle for item in computed), default=0.0)
    unseen = end - stages[-1].latency_to_exit_cycles
    if end <= 0 or unseen <= NOTICEABLE_WAIT * end:
        return []
    return [
        f"{unseen:.0f} of {end:.0f} cycles pass between stages, waiting for weights, input or activations; "
        "no stage is charged for them."
    ]


def _named(exc: UnpricedJobsError, variants: Sequence[Sequence[Placement]]) -> UnsupportedLayerError:
    """The engine's error with the names of the layers that have the rejected shapes."""
    clauses = []
    for job in exc.jobs:
        names = [x.layer.name for x in variants[0] if x.priced_shape == job.shape]
        named = ", ".join(names) or "a layer"
        clauses.append(f"{named} ({describe(job.shape)}) on core {job.core!r}: {job.reason}")
    return UnsupportedLayerError(f"Engine {exc.engine!r} cannot price: {'; '.join(clauses)}.")
