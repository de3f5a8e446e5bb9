"""Checks a schedule of a chip with formulas against its workload without using any code of the scheduler."""

from dataclasses import replace
from itertools import pairwise

from offramp.cost.engines.formula.core_limits import why_not
from offramp.cost.engines.formula.engine import FormulaEngine, formulas_of
from offramp.cost.schedule import Execution, Schedule, TransferKind
from offramp.workload.graph import GRAPH_INPUT, Workload
from offramp.workload.layer import LayerShape, Op

SLACK = 1e-6


def faults(schedule: Schedule, workload: Workload, engine: FormulaEngine) -> list[str]:
    """Every rule that the schedule breaks."""
    chip = formulas_of(engine.accelerator)
    found = _overlaps(schedule)
    ends = _layer_ends(schedule, workload)
    for layer in workload.layers:
        if layer.shape.op is Op.ACTIVATION:
            continue
        own = [x for x in schedule.executions if x.layer == layer.name]
        covered = sorted((x.result.first_channel, x.result.end_channel) for x in own if x.result is not None)
        whole = bool(covered) and covered[0][0] == 0 and covered[-1][1] == layer.shape.g * layer.shape.k
        if not whole or any(a[1] != b[0] for a, b in pairwise(covered)):
            found.append(f"{layer.name}: its channels are not computed once each, but {covered}")
        ready = max((ends.get(name, 0.0) for name in layer.inputs), default=0.0)
        if layer.stage:
            ready = max(ready, schedule.verdict_cycles[layer.stage - 1])
        for execution in own:
            formula, shape = chip.core(execution.core), _shape_of(layer.shape, execution)
            if execution.start_cycle < ready - SLACK:
                found.append(f"{layer.name}: starts at {execution.start_cycle:g}, its inputs are there at {ready:g}")
            if reason := why_not(formula, shape, first=GRAPH_INPUT in layer.inputs):
                found.append(f"{layer.name}: runs on {formula.core}, but {reason}")
            if execution.end_cycle - execution.start_cycle < engine.cycles(shape, formula).total - SLACK:
                found.append(f"{layer.name}: is faster on {formula.core} than the core")
            if formula.weights and shape.num_weights:
                copies = formula.depthwise_weight_copies if shape.g > 1 else 1
                bits = shape.num_weights * max(shape.weight_bits, 8) * copies
                found += _weight_faults(schedule, execution, bits)
    found += [f"{name}: its verdict is not the end of its layer" for name in _wrong_verdicts(schedule, workload, ends)]
    return found + _memory_faults(schedule, engine)


def _shape_of(shape: LayerShape, execution: Execution) -> LayerShape:
    assert execution.result is not None
    return shape if shape.g > 1 else replace(shape, k=execution.result.channels)


def _wrong_verdicts(schedule: Schedule, workload: Workload, ends: dict[str, float]) -> list[str]:
    verdicts = zip(workload.exits, schedule.verdict_cycles, strict=True)
    return [name for name, verdict in verdicts if verdict < ends[name]]


def _layer_ends(schedule: Schedule, workload: Workload) -> dict[str, float]:
    inputs = (x.end_cycle for x in schedule.transfers if x.kind is TransferKind.INPUT)
    ends: dict[str, float] = {GRAPH_INPUT: max(inputs, default=0.0)}
    for layer in workload.layers:
        own = [x.end_cycle for x in schedule.executions if x.layer == layer.name]
        ends[layer.name] = max(own) if own else max((ends[name] for name in layer.inputs), default=0.0)
    return ends


def _overlaps(schedule: Schedule) -> list[str]:
    spans: dict[str, list[tuple[float, float, str]]] = {}
    for execution in schedule.executions:
        span = (execution.start_cycle, execution.end_cycle, execution.layer)
        spans.setdefault(execution.core, []).append(span)
    for transfer in schedule.transfers:
        for medium in transfer.media:
            spans.setdefault(medium, []).append((transfer.start_cycle, transfer.end_cycle, transfer.origin))
    found = []
    for place, items in spans.items():
        for before, after in pairwise(sorted(items)):
            if after[0] < before[1] - SLACK:
                found.append(f"{place}: {before[2]} and {after[2]} at the same time")
    return found


def _weight_faults(schedule: Schedule, execution: Execution, bits: int) -> list[str]:
    loaded = [
        x
        for x in schedule.transfers
        if x.origin == execution.layer and x.kind is TransferKind.WEIGHTS and x.start_cycle <= execution.end_cycle
    ]
    if sum(x.bits for x in loaded) < bits:
        return [f"{execution.layer}: its weights were never loaded"]
    late = [x for x in loaded if x.end_cycle > execution.end_cycle + SLACK]
    return [f"{execution.layer}: ends before its weights are loaded"] if late else []


def _memory_faults(schedule: Schedule, engine: FormulaEngine) -> list[str]:
    sizes = {m.name: m.size_bits for core in engine.accelerator.cores for m in core.memories}
    found = []
    for item in schedule.holdings:
        held = [
            x.bits
            for x in schedule.holdings
            if x.memory == item.memory and x.start_cycle <= item.start_cycle < x.end_cycle - SLACK
        ]
        if sum(held) > sizes[item.memory]:
            found.append(f"{item.memory}: {sum(held)} bits of {sizes[item.memory]} at cycle {item.start_cycle:g}")
    weights = {x.tensor for x in schedule.transfers if x.kind is TransferKind.WEIGHTS}
    missing = weights - {x.tensor for x in schedule.holdings}
    return found + [f"{tensor}: takes no space anywhere" for tensor in sorted(missing)]
