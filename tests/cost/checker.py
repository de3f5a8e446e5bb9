"""Checks a schedule against its workload and accelerator without using any code of the scheduler."""

from dataclasses import dataclass
from itertools import combinations, pairwise

from offramp.cost.schedule import Execution, Schedule, TransferKind
from offramp.hardware.accelerator import Accelerator, CoreKind
from offramp.workload.graph import GRAPH_INPUT, Workload
from offramp.workload.layer import Op


def faults(schedule: Schedule, workload: Workload, accelerator: Accelerator) -> list[str]:
    """Every rule that the schedule breaks."""
    return [
        *_layers_run_once(schedule, workload),
        *_dependencies(schedule, workload),
        *_one_thing_at_a_time(schedule),
        *_tensors_travel(schedule, workload, accelerator),
        *_transfers_take_their_time(schedule, accelerator),
        *_memories_hold_what_is_used(schedule, workload, accelerator),
        *_verdicts(schedule, workload),
    ]


def execution_of(schedule: Schedule, layer: str) -> Execution:
    """The only execution of a layer."""
    (found,) = [x for x in schedule.executions if x.layer == layer]
    return found


def _layers_run_once(schedule: Schedule, workload: Workload) -> list[str]:
    if [x.layer for x in schedule.executions] == [x.name for x in workload.layers]:
        return []
    return ["layers and executions differ"]


def _dependencies(schedule: Schedule, workload: Workload) -> list[str]:
    found = []
    for layer in workload.layers:
        mine = execution_of(schedule, layer.name)
        for name in layer.inputs:
            if name != GRAPH_INPUT and execution_of(schedule, name).end_cycle > mine.start_cycle:
                found.append(f"{layer.name} starts before {name} ends")
    return found


def _one_thing_at_a_time(schedule: Schedule) -> list[str]:
    found = []
    spans: dict[str, list[tuple[float, float, str]]] = {}
    for execution in schedule.executions:
        span = (execution.start_cycle, execution.end_cycle, execution.layer)
        for place in (f"core {execution.core}", *execution.held_media):
            spans.setdefault(place, []).append(span)
    for transfer in schedule.transfers:
        if not transfer.broadcast:
            for medium in transfer.media:
                spans.setdefault(medium, []).append((transfer.start_cycle, transfer.end_cycle, transfer.tensor))
    for place, busy in spans.items():
        ordered = sorted(x for x in busy if x[1] > x[0])
        found += [f"{place}: {one} overlaps {two}" for one, two in pairwise(ordered) if two[0] < one[1]]
    return found


def _tensors_travel(schedule: Schedule, workload: Workload, accelerator: Accelerator) -> list[str]:
    """A layer reads what its core made or got in time; a sender sends what it made, got, or had from the start."""
    offchip = [core.name for core in accelerator.cores_of(CoreKind.OFFCHIP)]
    if not offchip:
        return []
    source = _sources(workload)
    has = _arrivals(schedule, workload, offchip[0])
    found = [
        f"{x.sender} sends {x.tensor} before it has it"
        for x in schedule.transfers
        if not any(time <= x.start_cycle for time in has.get((x.tensor, x.sender), []))
    ]
    for layer in workload.layers:
        if layer.shape.op is Op.ACTIVATION:
            continue
        run = execution_of(schedule, layer.name)
        needed = [source[name] for name in layer.inputs]
        needed += [f"weights of {layer.name}"] if layer.shape.num_weights else []
        for tensor in needed:
            times = [time for core in _places(run, offchip[0]) for time in has.get((tensor, core), [])]
            if not any(time <= run.start_cycle for time in times):
                found.append(f"{layer.name} starts before {tensor} is there")
    sent = {x.tensor for x in schedule.transfers if x.receiver == offchip[0]}
    lost = [x for x in workload.exits if source[x] not in sent and not execution_of(schedule, source[x]).held_media]
    return found + [f"the result of {name} never leaves" for name in lost]


def _sources(workload: Workload) -> dict[str, str]:
    """The layer that really makes what a layer yields: activation functions pass on."""
    source = {GRAPH_INPUT: GRAPH_INPUT}
    for layer in workload.layers:
        source[layer.name] = source[layer.inputs[0]] if layer.shape.op is Op.ACTIVATION else layer.name
    return source


def _places(run: Execution, offchip: str) -> set[str]:
    """Where a layer may find its inputs and leave its result; one that does not fit its core works off chip."""
    return {run.core, offchip} if run.held_media else {run.core}


def _arrivals(schedule: Schedule, workload: Workload, offchip: str) -> dict[tuple[str, str], list[float]]:
    """Cycles at which a tensor is at a core, by tensor and core."""
    has: dict[tuple[str, str], list[float]] = {(GRAPH_INPUT, offchip): [0.0]}
    for layer in workload.layers:
        has[f"weights of {layer.name}", offchip] = [0.0]
        run = execution_of(schedule, layer.name)
        for core in _places(run, offchip):
            has[layer.name, core] = [run.end_cycle]
    for transfer in schedule.transfers:
        has.setdefault((transfer.tensor, transfer.receiver), []).append(transfer.end_cycle)
    return has


@dataclass
class _Stay:
    """A tensor in a core's memory: from its arrival to its last use there before it arrives again."""

    since: float
    until: float
    bits: int


def _memories_hold_what_is_used(schedule: Schedule, workload: Workload, accelerator: Accelerator) -> list[str]:
    """What a core must be holding at any time, because it is used there without coming anew, fits its memory."""
    found = []
    for core in accelerator.cores:
        if core.kind is CoreKind.OFFCHIP:
            continue
        stays = _stays(core.name, schedule, workload)
        for moment in {stay.since for stay in stays}:
            held = sum(stay.bits for stay in stays if stay.since <= moment < stay.until)
            if held > core.top_memory.size_bits:
                found.append(f"{core.name} holds {held} of {core.top_memory.size_bits} bits at cycle {moment}")
    return found


def _stays(core: str, schedule: Schedule, workload: Workload) -> list[_Stay]:
    source = _sources(workload)
    stays: dict[str, list[_Stay]] = {}
    for layer in workload.layers:
        run = execution_of(schedule, layer.name)
        if run.core == core and source[layer.name] == layer.name and not run.held_media:
            stay = _Stay(run.start_cycle, run.end_cycle, layer.shape.output_size_bits)
            stays.setdefault(layer.name, []).append(stay)
    for transfer in schedule.transfers:
        if transfer.receiver == core:
            stay = _Stay(transfer.start_cycle, transfer.end_cycle, transfer.bits)
            stays.setdefault(transfer.tensor, []).append(stay)
    uses: list[tuple[str, float, float]] = [
        (x.tensor, x.start_cycle, x.end_cycle) for x in schedule.transfers if x.sender == core
    ]
    for layer in workload.layers:
        run = execution_of(schedule, layer.name)
        if run.core == core and not run.held_media:
            read = {source[name] for name in layer.inputs} | {f"weights of {layer.name}"}
            uses += [(tensor, run.start_cycle, run.end_cycle) for tensor in read]
    for tensor, start, end in uses:
        before = [stay for stay in stays.get(tensor, []) if stay.since <= start]
        if before:
            latest = max(before, key=lambda stay: stay.since)
            latest.until = max(latest.until, end)
    return [stay for several in stays.values() for stay in several]


def _transfers_take_their_time(schedule: Schedule, accelerator: Accelerator) -> list[str]:
    widths: dict[tuple[str, str], int | None] = {}
    for link in accelerator.links:
        widths[link.sender, link.receiver] = link.bandwidth_bits
    found = []
    for transfer in schedule.transfers:
        width = widths.get((transfer.sender, transfer.receiver))
        if (transfer.sender, transfer.receiver) in widths:
            cycles = 0 if width is None else -(-transfer.bits // width)
            if transfer.end_cycle - transfer.start_cycle != cycles:
                found.append(f"{transfer.tensor} takes {transfer.end_cycle - transfer.start_cycle}, not {cycles}")
        if transfer.broadcast and not _repeats(transfer.tensor, transfer.start_cycle, schedule):
            found.append(f"broadcast of {transfer.tensor} has nothing to listen to")
    return found


def _repeats(tensor: str, start: float, schedule: Schedule) -> bool:
    sent = [x for x in schedule.transfers if x.tensor == tensor and x.start_cycle == start and not x.broadcast]
    held = [x for x in schedule.executions if x.held_media and x.start_cycle == start]
    return bool(sent or held)


def _verdicts(schedule: Schedule, workload: Workload) -> list[str]:
    """An exit's verdict is not before its layer ends and its logits have arrived."""
    source = _sources(workload)
    found = []
    for name, verdict in zip(workload.exits, schedule.verdict_cycles, strict=True):
        sent = [x.end_cycle for x in schedule.transfers if x.tensor == source[name] and x.kind is TransferKind.LOGITS]
        if verdict < max([execution_of(schedule, name).end_cycle, *sent]):
            found.append(f"the verdict of {name} comes before its logits")
    return found


def kinds(schedule: Schedule) -> list[TransferKind]:
    return [transfer.kind for transfer in schedule.transfers]


def overlapping(spans: list[tuple[float, float]]) -> bool:
    """Whether any two of the spans share a cycle."""
    return any(a[0] < b[1] and b[0] < a[1] for a, b in combinations([x for x in spans if x[1] > x[0]], 2))
