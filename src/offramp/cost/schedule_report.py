"""The one builder of cost reports: layers, stages and busy times of a schedule, whichever mapping planned it.

Mappings differ in two ways, and both are values given to the builder. `StageBoundary` says which cycles and which work
a stage is charged for; ``Schedule.idle_power`` is power that is spent in every cycle and belongs to no execution.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from offramp.cost.busy_times import busy_spans
from offramp.cost.capacity import memory_needs
from offramp.cost.report import Convention, CostReport, LayerReport, MappingKind, MemoryEnergy, StageCost
from offramp.cost.schedule import Execution, Schedule
from offramp.hardware.accelerator import Accelerator
from offramp.workload.graph import Layer, Role, Workload
from offramp.workload.layer import Op


class StageBoundary(StrEnum):
    """Where the cycles of a stage begin and end, and who is charged for work ahead of an exit's verdict."""

    LAYERS = "layers"
    """From the start of the stage's first layer to the end of its branch, as in the reference. Waits between stages
    are charged to no stage. A later stage's weights that are loaded early are charged to that stage alone."""
    VERDICTS = "verdicts"
    """From the verdict before (cycle 0 for the first stage) to the stage's own verdict, so all waits are charged. Work
    for later stages that began before a verdict is charged to the samples that leave there as well."""


@dataclass(frozen=True)
class ReportOrigin:
    """What a report says of how it was made.

    Attributes:
        engine: Name of the engine that priced the layers.
        engine_version: Version of that engine, as reports show it.
        mapping: Name of the mapping.
        convention: What is charged.
        mapping_steps: Steps of the optimized mapping; None where the mapping has none.
    """

    engine: str
    engine_version: str
    mapping: MappingKind
    convention: Convention = "offramp"
    mapping_steps: tuple[str, ...] | None = None


def build_report(
    workload: Workload, accelerator: Accelerator, schedule: Schedule, boundary: StageBoundary, origin: ReportOrigin
) -> CostReport:
    """Turn a schedule into a cost report.

    Args:
        workload: The network.
        accelerator: What it runs on.
        schedule: What the mapping planned.
        boundary: Which cycles and which work a stage is charged for.
        origin: How the figures were made.

    Returns:
        The report, with the schedule's warnings and what does not fit, and without anything in ``leaves_out``.
    """
    layers = layer_reports(workload, accelerator, schedule)
    memory = memory_needs(workload, accelerator)
    return CostReport(
        accelerator=accelerator.name,
        engine=origin.engine,
        engine_version=origin.engine_version,
        convention=origin.convention,
        stages=stage_costs(workload, schedule, layers, boundary),
        layers=layers,
        warnings=(*schedule.warnings, *(need.sentence for need in memory if not need.fits)),
        mapping=origin.mapping,
        mapping_steps=origin.mapping_steps,
        busy=busy_spans(schedule),
        memory=memory,
    )


def layer_reports(workload: Workload, accelerator: Accelerator, schedule: Schedule) -> tuple[LayerReport, ...]:
    """Sum up what all executions and transfers of each layer take.

    The energy of a transfer goes to the layer that is its origin. Idle power goes to the layers that run in a cycle, in
    equal parts; while none runs, to the next one.

    Args:
        workload: The network.
        accelerator: What it runs on.
        schedule: What the mapping planned. Only activation functions may have no execution.

    Returns:
        One report per layer, in order; ``core`` names all cores that compute a part of it.
    """
    executions = _executions_by_layer(schedule)
    transferred = _transfer_energy_by_layer(schedule)
    idle = _idle_energy_by_layer(schedule)
    reports: dict[str, LayerReport] = {}
    for layer in workload.layers:
        if layer.shape.op is Op.ACTIVATION and layer.name not in executions:
            reports[layer.name] = _in_place(layer, reports.get(layer.inputs[0]))
            continue
        own = executions[layer.name]
        compute = sum(item.energy_pj for item in own)
        idle_energy = idle.get(layer.name, 0.0)
        start, end = min(item.start_cycle for item in own), max(item.end_cycle for item in own)
        cores = tuple(dict.fromkeys(item.core for item in own))
        reports[layer.name] = LayerReport(
            name=layer.name,
            op=layer.shape.op.value,
            core="+".join(cores),
            stage=layer.stage,
            role=layer.role,
            start_cycle=start,
            end_cycle=end,
            macs=layer.shape.macs,
            compute_energy_pj=compute + idle_energy,
            transfer_energy_pj=transferred.get(layer.name, 0.0),
            utilization=_utilization(layer, own, cores, accelerator, end - start),
            memory_energy=_memory_energy(own, schedule, idle_energy),
        )
    return tuple(reports.values())


def stage_costs(
    workload: Workload, schedule: Schedule, layers: Sequence[LayerReport], boundary: StageBoundary
) -> tuple[StageCost, ...]:
    """Latency and energy of each stage, and cumulative to each exit.

    Args:
        workload: The network.
        schedule: What the mapping planned; with ``StageBoundary.VERDICTS`` it must state the verdict of every exit.
        layers: The reports of its layers.
        boundary: Which cycles and which work a stage is charged for.

    Returns:
        One cost per stage, in order.
    """
    stage_of = {layer.name: layer.stage for layer in workload.layers}
    active = _active_energy_by_layer(schedule)
    idle = schedule.idle_power.pj_per_cycle if schedule.idle_power else 0.0
    stages: list[StageCost] = []
    energy = latency = 0.0
    for stage, (name, macs) in enumerate(zip(workload.exits, workload.macs_to_exit(), strict=True)):
        members = [layer for layer in layers if layer.stage == stage]
        # Activation functions that take no time are listed where their input ends, which may be a stage earlier.
        timed = [layer for layer in members if layer.op != Op.ACTIVATION.value]
        if boundary is StageBoundary.VERDICTS:
            cycles = _between_verdicts(timed, latency, schedule.verdict_cycles[stage])
            speculated = _speculated_energy_pj(schedule, stage_of, stage)
        else:
            cycles, speculated = _over_layers(timed, latency), 0.0
        own = sum(active.get(layer.name, 0.0) for layer in members)
        energy += own
        latency = cycles.end
        stages.append(
            StageCost(
                exit=name,
                backbone_latency_cycles=cycles.backbone,
                gap_cycles=cycles.whole - cycles.backbone - cycles.branch,
                branch_latency_cycles=cycles.branch,
                stage_latency_cycles=cycles.whole,
                stage_energy_pj=own + idle * cycles.whole,
                latency_to_exit_cycles=latency,
                energy_to_exit_pj=energy + speculated + idle * latency,
                macs_to_exit=macs,
                speculation_energy_pj=speculated,
            )
        )
    return tuple(stages)


@dataclass(frozen=True)
class _StageCycles:
    """Cycles of the backbone, the branch and the whole stage; ``end``: cycles from the input to the exit."""

    backbone: float
    branch: float
    whole: float
    end: float


def _over_layers(timed: Sequence[LayerReport], before: float) -> _StageCycles:
    """`StageBoundary.LAYERS`: spans of the layers alone, added up."""
    backbone = _span([layer for layer in timed if layer.role is Role.BACKBONE])
    branch = _span([layer for layer in timed if layer.role is Role.BRANCH])
    whole = _span(timed)
    return _StageCycles(backbone, branch, whole, before + whole)


def _span(layers: Sequence[LayerReport]) -> float:
    if not layers:
        return 0.0
    return max(layer.end_cycle for layer in layers) - min(layer.start_cycle for layer in layers)


def _between_verdicts(timed: Sequence[LayerReport], before: float, verdict: float) -> _StageCycles:
    """`StageBoundary.VERDICTS`: everything between two verdicts; a part that began before does not count twice."""
    backbone_end = max((layer.end_cycle for layer in timed if layer.role is Role.BACKBONE), default=before)
    branch_start = min((layer.start_cycle for layer in timed if layer.role is Role.BRANCH), default=verdict)
    backbone = max(0.0, min(backbone_end, verdict) - before)
    branch = verdict - max(branch_start, before + backbone)
    return _StageCycles(backbone, branch, verdict - before, verdict)


def _speculated_energy_pj(schedule: Schedule, stage_of: Mapping[str, int], stage: int) -> float:
    """Energy of later stages that was spent when ``stage`` had its verdict; what had begun is charged in full."""
    verdict = schedule.verdict_cycles[stage]
    computed = sum(x.energy_pj for x in schedule.executions if stage_of[x.layer] > stage and x.start_cycle < verdict)
    moved = sum(x.energy_pj for x in schedule.transfers if stage_of[x.origin] > stage and x.start_cycle < verdict)
    return float(computed + moved)


def _executions_by_layer(schedule: Schedule) -> dict[str, list[Execution]]:
    found: dict[str, list[Execution]] = {}
    for item in schedule.executions:
        found.setdefault(item.layer, []).append(item)
    return found


def _transfer_energy_by_layer(schedule: Schedule) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in schedule.transfers:
        found[item.origin] = found.get(item.origin, 0.0) + item.energy_pj
    return found


def _active_energy_by_layer(schedule: Schedule) -> dict[str, float]:
    """Energy of executions and transfers, without idle power."""
    found = _transfer_energy_by_layer(schedule)
    for name, own in _executions_by_layer(schedule).items():
        found[name] = sum(item.energy_pj for item in own) + found.get(name, 0.0)
    return found


def _idle_energy_by_layer(schedule: Schedule) -> dict[str, float]:
    """Idle energy from cycle 0 to the end of the last execution; empty without idle power."""
    if schedule.idle_power is None:
        return {}
    spans = {
        name: (min(item.start_cycle for item in own), max(item.end_cycle for item in own))
        for name, own in _executions_by_layer(schedule).items()
    }
    shares = dict.fromkeys(spans, 0.0)
    cycles = sorted({0.0, *(cycle for span in spans.values() for cycle in span)})
    for begin, end in pairwise(cycles):
        running = [name for name, span in spans.items() if span[0] <= begin and span[1] >= end]
        if not running:
            running = [min(spans, key=lambda name: spans[name][0] if spans[name][0] >= end else float("inf"))]
        for name in running:
            shares[name] += schedule.idle_power.pj_per_cycle * (end - begin) / len(running)
    return shares


def _in_place(layer: Layer, producer: LayerReport | None) -> LayerReport:
    """An activation function without an execution: free, where and when its input is computed."""
    core, cycle = (producer.core, producer.end_cycle) if producer else ("", 0.0)
    op = layer.shape.op.value
    return LayerReport(layer.name, op, core, layer.stage, layer.role, cycle, cycle, 0, 0.0, 0.0, 0.0, ())


def _utilization(
    layer: Layer, own: Sequence[Execution], cores: Sequence[str], accelerator: Accelerator, cycles: float
) -> float:
    """The engine's figure where there is one, else MACs over what the cores could do in all the cycles."""
    if own[0].utilization is not None:
        return own[0].utilization
    if cycles <= 0 or not layer.shape.macs:
        return 0.0
    return layer.shape.macs / (sum(accelerator.core(name).peak_macs_per_cycle for name in cores) * cycles)


def _memory_energy(own: Sequence[Execution], schedule: Schedule, idle_energy: float) -> tuple[MemoryEnergy, ...]:
    total: dict[tuple[str, str], float] = {}
    for item in own:
        for part in item.memory_energy:
            key = (part.memory, part.operand)
            total[key] = total.get(key, 0.0) + part.energy_pj
    if schedule.idle_power is not None:
        key = (schedule.idle_power.memory, "I")
        total[key] = total.get(key, 0.0) + idle_energy
    return tuple(MemoryEnergy(memory, operand, energy) for (memory, operand), energy in total.items())
