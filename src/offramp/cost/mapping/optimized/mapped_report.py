"""A mapped schedule as a cost report."""

from collections.abc import Mapping, Sequence

from offramp.cost.mapping.optimized.core_groups import Chip
from offramp.cost.mapping.optimized.shared_resources import Spending
from offramp.cost.report import LayerReport, MemoryEnergy, StageCost
from offramp.cost.schedule import Execution, Schedule
from offramp.workload.graph import Layer, Role, Workload
from offramp.workload.layer import Op


def layer_reports(workload: Workload, schedule: Schedule, chip: Chip) -> tuple[LayerReport, ...]:
    """One report per layer, in order; what several cores do is summed, ``core`` names all of them."""
    pieces: dict[str, list[Execution]] = {}
    travelled: dict[str, float] = {}
    for piece in schedule.executions:
        pieces.setdefault(piece.layer, []).append(piece)
    for move in schedule.transfers:
        travelled[move.origin] = travelled.get(move.origin, 0.0) + move.energy_pj
    reports: dict[str, LayerReport] = {}
    peak = chip.team[0].peak_macs_per_cycle
    for layer in workload.layers:
        if layer.shape.op is Op.ACTIVATION:
            before = reports.get(layer.inputs[0])
            reports[layer.name] = _free(layer, before.core if before else "", before.end_cycle if before else 0.0)
            continue
        own = pieces[layer.name]
        start, end = min(x.start_cycle for x in own), max(x.end_cycle for x in own)
        cores = list(dict.fromkeys(x.core for x in own))
        reports[layer.name] = LayerReport(
            name=layer.name,
            op=layer.shape.op.value,
            core="+".join(cores),
            stage=layer.stage,
            role=layer.role,
            start_cycle=start,
            end_cycle=end,
            macs=layer.shape.macs,
            compute_energy_pj=sum(x.energy_pj for x in own),
            transfer_energy_pj=travelled.get(layer.name, 0.0),
            utilization=layer.shape.macs / (peak * len(cores) * (end - start)) if end > start else 0.0,
            memory_energy=_memory_energy(own),
        )
    return tuple(reports.values())


def _free(layer: Layer, core: str, cycle: float) -> LayerReport:
    op = layer.shape.op.value
    return LayerReport(layer.name, op, core, layer.stage, layer.role, cycle, cycle, 0, 0.0, 0.0, 0.0, ())


def _memory_energy(pieces: Sequence[Execution]) -> tuple[MemoryEnergy, ...]:
    total: dict[tuple[str, str], float] = {}
    for piece in pieces:
        for part in piece.memory_energy:
            key = (part.memory, part.operand)
            total[key] = total.get(key, 0.0) + part.energy_pj
    return tuple(MemoryEnergy(memory, operand, energy) for (memory, operand), energy in total.items())


def stage_costs(workload: Workload, schedule: Schedule, layers: Sequence[LayerReport]) -> tuple[StageCost, ...]:
    """Latency from the cycle in which input and weights start to come, to each exit's verdict, and energy until then.

    Work for later stages that began before a verdict is charged to the samples that leave with it.
    """
    stages: list[StageCost] = []
    stage_of = {layer.name: layer.stage for layer in workload.layers}
    energy = before = 0.0
    for stage, (name, macs) in enumerate(zip(workload.exits, workload.macs_to_exit(), strict=True)):
        members = [layer for layer in layers if layer.stage == stage]
        verdict = schedule.verdict_cycles[stage]
        own = sum(layer.energy_pj for layer in members)
        speculated = speculated_energy_pj(schedule, stage_of, stage)
        energy += own
        backbone = max(
            (x.end_cycle for x in members if x.role is Role.BACKBONE and x.op != Op.ACTIVATION.value), default=before
        )
        starts = [x.start_cycle for x in members if x.role is Role.BRANCH and x.op != Op.ACTIVATION.value]
        until_backbone = max(0.0, min(backbone, verdict) - before)
        branch = verdict - max(min(starts, default=verdict), before + until_backbone)
        stages.append(
            StageCost(
                exit=name,
                backbone_latency_cycles=until_backbone,
                gap_cycles=verdict - before - until_backbone - branch,
                branch_latency_cycles=branch,
                stage_latency_cycles=verdict - before,
                stage_energy_pj=own,
                latency_to_exit_cycles=verdict,
                energy_to_exit_pj=energy + speculated,
                macs_to_exit=macs,
                speculation_energy_pj=speculated,
            )
        )
        before = verdict
    return tuple(stages)


def weighted_product(
    spent: Sequence[Spending], stage_of: Mapping[str, int], verdicts: Sequence[float], rates: Sequence[float]
) -> float:
    """Mean of energy times latency over the exits, in J x cycles, without a report being written."""
    stages = [0.0] * len(verdicts)
    early = [0.0] * len(verdicts)
    for layer, start, energy in spent:
        stage = stage_of[layer]
        stages[stage] += energy
        for exit_before in range(stage):
            if start < verdicts[exit_before]:
                early[exit_before] += energy
    return sum(
        rate * (sum(stages[: index + 1]) + early[index]) * 1e-12 * verdict
        for index, (rate, verdict) in enumerate(zip(rates, verdicts, strict=True))
    )


def speculated_energy_pj(schedule: Schedule, stage_of: Mapping[str, int], stage: int) -> float:
    """Energy of later stages that was spent when ``stage`` had its verdict; what had begun is charged in full."""
    verdict = schedule.verdict_cycles[stage]
    pieces = sum(x.energy_pj for x in schedule.executions if stage_of[x.layer] > stage and x.start_cycle < verdict)
    moves = sum(x.energy_pj for x in schedule.transfers if stage_of[x.origin] > stage and x.start_cycle < verdict)
    return pieces + moves
