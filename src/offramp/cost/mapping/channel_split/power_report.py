"""A chip's schedule as a cost report: energy is the idle power over all the time plus each core's while it works."""

from collections.abc import Sequence
from itertools import pairwise

from offramp.cost.busy_times import join_spans
from offramp.cost.engines.formula.engine import REST, FormulaEngine, formulas_of, power_pj_per_cycle
from offramp.cost.mapping.channel_split.split_schedule import ChipSchedule, Piece
from offramp.cost.report import BusySpan, LayerReport, MemoryEnergy, StageCost
from offramp.workload.graph import Role, Workload
from offramp.workload.layer import Op


def busy_spans(schedule: ChipSchedule) -> tuple[BusySpan, ...]:
    """What every core and the way to the off-chip memory do when."""
    cores = [BusySpan(x.part.core, x.layer, x.start_cycle, x.end_cycle) for x in schedule.pieces]
    fetches = [BusySpan("offchip", x.layer, x.start_cycle, x.end_cycle, x.kind.value) for x in schedule.fetches]
    return join_spans(x for x in (*cores, *fetches) if x.end_cycle > x.start_cycle)


def energies_to_exit(workload: Workload, schedule: ChipSchedule, engine: FormulaEngine) -> list[float]:
    """pJ from the input to each exit's verdict."""
    stage_of = {layer.name: layer.stage for layer in workload.layers}
    working = [0.0] * workload.num_stages
    for piece in schedule.pieces:
        working[stage_of[piece.layer]] += _working_pj(piece, engine)
    idle = _idle_pj_per_cycle(engine)
    energies, spent = [], 0.0
    for energy, verdict in zip(working, schedule.verdict_cycles, strict=True):
        spent += energy
        energies.append(spent + idle * verdict)
    return energies


def layer_reports(workload: Workload, schedule: ChipSchedule, engine: FormulaEngine) -> tuple[LayerReport, ...]:
    """One report per layer, in order.

    Idle power in any cycle is shared by the layers that run then; while none does, it goes to the next one.
    """
    idle = _idle_shares(schedule, engine)
    by_layer: dict[str, list[Piece]] = {}
    for piece in schedule.pieces:
        by_layer.setdefault(piece.layer, []).append(piece)
    reports: dict[str, LayerReport] = {}
    for layer in workload.layers:
        op = layer.shape.op
        if op is Op.ACTIVATION:
            before = reports.get(layer.inputs[0])
            core, cycle = (before.core, before.end_cycle) if before else ("", 0.0)
            reports[layer.name] = LayerReport(
                layer.name, op.value, core, layer.stage, layer.role, cycle, cycle, 0, 0.0, 0.0, 0.0, ()
            )
            continue
        own = by_layer[layer.name]
        start, end = min(x.start_cycle for x in own), max(x.end_cycle for x in own)
        energy = sum(_working_pj(piece, engine) for piece in own) + idle[layer.name]
        array = min(energy, sum(engine.array_energy_pj(x.part.shape, x.part.core) for x in own))
        peak = sum(engine.accelerator.core(x.part.core).peak_macs_per_cycle for x in own)
        reports[layer.name] = LayerReport(
            name=layer.name,
            op=op.value,
            core="+".join(piece.part.core for piece in own),
            stage=layer.stage,
            role=layer.role,
            start_cycle=start,
            end_cycle=end,
            macs=layer.shape.macs,
            compute_energy_pj=energy,
            transfer_energy_pj=0.0,
            utilization=layer.shape.macs / (peak * (end - start)) if end > start else 0.0,
            memory_energy=(MemoryEnergy(REST, "I", energy - array),),
        )
    return tuple(reports.values())


def stage_costs(
    workload: Workload, schedule: ChipSchedule, layers: Sequence[LayerReport], engine: FormulaEngine
) -> tuple[StageCost, ...]:
    """Latency from the cycle in which the input starts to come to each exit's verdict, and energy until then."""
    stages: list[StageCost] = []
    energies = energies_to_exit(workload, schedule, engine)
    before = spent = 0.0
    for stage, (name, macs) in enumerate(zip(workload.exits, workload.macs_to_exit(), strict=True)):
        timed = [layer for layer in layers if layer.stage == stage and layer.op != Op.ACTIVATION.value]
        verdict = schedule.verdict_cycles[stage]
        backbone = max((x.end_cycle for x in timed if x.role is Role.BACKBONE), default=before)
        starts = [x.start_cycle for x in timed if x.role is Role.BRANCH]
        until_backbone = max(0.0, min(backbone, verdict) - before)
        branch = verdict - max(min(starts, default=verdict), before + until_backbone)
        stages.append(
            StageCost(
                exit=name,
                backbone_latency_cycles=until_backbone,
                gap_cycles=verdict - before - until_backbone - branch,
                branch_latency_cycles=branch,
                stage_latency_cycles=verdict - before,
                stage_energy_pj=energies[stage] - spent,
                latency_to_exit_cycles=verdict,
                energy_to_exit_pj=energies[stage],
                macs_to_exit=macs,
            )
        )
        before, spent = verdict, energies[stage]
    return tuple(stages)


def _working_pj(piece: Piece, engine: FormulaEngine) -> float:
    formula = formulas_of(engine.accelerator).core(piece.part.core)
    return power_pj_per_cycle(formula.power_mw, engine.clock_hz) * (piece.end_cycle - piece.start_cycle)


def _idle_pj_per_cycle(engine: FormulaEngine) -> float:
    return power_pj_per_cycle(formulas_of(engine.accelerator).idle_power_mw, engine.clock_hz)


def _idle_shares(schedule: ChipSchedule, engine: FormulaEngine) -> dict[str, float]:
    """Idle energy by layer, from cycle 0 to the end."""
    shares = {piece.layer: 0.0 for piece in schedule.pieces}
    spans = {name: (float("inf"), 0.0) for name in shares}
    for piece in schedule.pieces:
        start, end = spans[piece.layer]
        spans[piece.layer] = min(start, piece.start_cycle), max(end, piece.end_cycle)
    cycles = sorted({0.0, *(x for span in spans.values() for x in span)})
    for begin, end in pairwise(cycles):
        running = [name for name, span in spans.items() if span[0] <= begin and span[1] >= end]
        if not running:
            running = [min(spans, key=lambda name: spans[name][0] if spans[name][0] >= end else float("inf"))]
        for name in running:
            shares[name] += _idle_pj_per_cycle(engine) * (end - begin) / len(running)
    return shares
