"""Checks a mapped schedule against its workload and accelerator without using any code of the mapper.

Regions are unpacked into plain numbers; which input rows a result needs is worked out here once more.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

from offramp.cost.schedule import Execution, Schedule, Transfer, TransferKind
from offramp.hardware.accelerator import Accelerator, CoreKind
from offramp.workload.graph import GRAPH_INPUT, Layer, Workload
from offramp.workload.layer import Op

Cells = frozenset[tuple[int, int]]
"""Channels and rows, one by one: slow, but there is nothing to get wrong."""


@dataclass(frozen=True)
class There:
    """Cells of a tensor that are on a core from a cycle on."""

    core: str
    cells: Cells
    since: float


def faults(schedule: Schedule, workload: Workload, accelerator: Accelerator) -> list[str]:
    """Every rule that the schedule breaks."""
    return [
        *_everything_is_made(schedule, workload),
        *_one_thing_at_a_time(schedule),
        *_nothing_is_read_before_it_is_there(schedule, workload, accelerator),
        *_weights_are_there(schedule, workload),
        *_moves_take_their_time(schedule, accelerator),
        *_memories_are_large_enough(schedule, accelerator),
        *_room_is_held_while_used(schedule, workload, accelerator),
        *_verdicts(schedule, workload, accelerator),
    ]


def cells_of(region: object) -> Cells:
    c0, c1 = region.first_channel, region.end_channel  # type: ignore[attr-defined]
    y0, y1 = region.first_row, region.end_row  # type: ignore[attr-defined]
    return frozenset((c, y) for c in range(c0, c1) for y in range(y0, y1))


def origins(workload: Workload) -> dict[str, str]:
    found = {GRAPH_INPUT: GRAPH_INPUT}
    for layer in workload.layers:
        found[layer.name] = found[layer.inputs[0]] if layer.shape.op is Op.ACTIVATION else layer.name
    return found


def _real(workload: Workload) -> list[Layer]:
    return [layer for layer in workload.layers if layer.shape.op is not Op.ACTIVATION]


def _everything_is_made(schedule: Schedule, workload: Workload) -> list[str]:
    made: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for piece in schedule.executions:
        made[piece.layer] |= cells_of(piece.result)
    return [
        f"{layer.name} is not made in full"
        for layer in _real(workload)
        if made[layer.name] != {(c, y) for c in range(layer.shape.g * layer.shape.k) for y in range(layer.shape.oy)}
    ]


def _one_thing_at_a_time(schedule: Schedule) -> list[str]:
    spans: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for piece in schedule.executions:
        spans[f"core {piece.core}"].append((piece.start_cycle, piece.end_cycle, piece.layer))
        for medium in set(piece.held_media):
            spans[medium].append((piece.start_cycle, piece.end_cycle, piece.layer))
    sent = {_passage(move) for move in schedule.transfers if not move.broadcast}
    found = []
    for move in schedule.transfers:
        if move.broadcast and _passage(move) not in sent:
            found.append(f"{move.receiver} listens to {move.tensor}, which nobody sends")
        for medium in () if move.broadcast else set(move.media):
            spans[medium].append((move.start_cycle, move.end_cycle, move.tensor))
    for place, busy in spans.items():
        ordered = sorted(x for x in busy if x[1] > x[0])
        found += [f"{place}: {one} overlaps {two}" for one, two in pairwise(ordered) if two[0] < one[1]]
    return found


def _passage(move: Transfer) -> tuple[object, ...]:
    return (move.tensor, move.region, move.sender, move.media, move.start_cycle, move.end_cycle, move.bits)


def _needs(layer: Layer, piece: Execution, tensor: str, size: tuple[int, int]) -> Cells:
    """Cells of ``tensor`` that ``piece`` reads; ``size``: its channels and rows."""
    shape = layer.shape
    channels, rows = size
    every = frozenset((c, y) for c in range(channels) for y in range(rows))
    if shape.op is Op.CONCAT and rows == shape.oy:
        return frozenset((c, y) for c, y in every if piece.result.first_row <= y < piece.result.end_row)
    if shape.op in (Op.DENSE, Op.CONCAT) or (channels, rows) != (shape.g * shape.c, shape.iy):
        return every
    wanted = set()
    for y in range(piece.result.first_row, piece.result.end_row):
        for f in range(shape.fy):
            row = y * shape.stride_y + f * shape.dilation_y - shape.padding[0]
            if 0 <= row < rows:
                wanted.add(row)
    groups = {c // shape.k for c in range(piece.result.first_channel, piece.result.end_channel)}
    inputs = {g * shape.c + c for g in groups for c in range(shape.c)}
    return frozenset((c, y) for c in inputs for y in wanted)


def _nothing_is_read_before_it_is_there(schedule: Schedule, workload: Workload, accelerator: Accelerator) -> list[str]:
    offchip = accelerator.cores_of(CoreKind.OFFCHIP)[0].name
    origin = origins(workload)
    sizes = {layer.name: (layer.shape.g * layer.shape.k, layer.shape.oy) for layer in _real(workload)}
    for layer in _real(workload):
        if GRAPH_INPUT in layer.inputs:
            sizes[GRAPH_INPUT] = (layer.shape.g * layer.shape.c, layer.shape.iy)
    there: dict[str, list[There]] = defaultdict(list)
    channels, rows = sizes[GRAPH_INPUT]
    there[GRAPH_INPUT].append(There(offchip, frozenset((c, y) for c in range(channels) for y in range(rows)), 0.0))
    for piece in schedule.executions:
        made_on = offchip if piece.held_media else piece.core
        there[piece.layer].append(There(made_on, cells_of(piece.result), piece.end_cycle))
    travelling = [move for move in schedule.transfers if move.kind is not TransferKind.WEIGHTS]
    for move in travelling:
        there[move.tensor].append(There(move.receiver, cells_of(move.region), move.end_cycle))

    found = [
        f"{move.sender} sends {move.tensor} before it has it"
        for move in travelling
        if _lacks(there[move.tensor], move.sender, cells_of(move.region), move.start_cycle)
    ]
    layers = {layer.name: layer for layer in workload.layers}
    for piece in schedule.executions:
        layer = layers[piece.layer]
        for tensor in {origin[name] for name in layer.inputs}:
            read_from = offchip if piece.held_media else piece.core
            if _lacks(there[tensor], read_from, _needs(layer, piece, tensor, sizes[tensor]), piece.start_cycle):
                found.append(f"{piece.layer} on {piece.core} starts before {tensor} is there")
    return found


def _lacks(there: list[There], core: str, cells: Cells, cycle: float) -> bool:
    present: set[tuple[int, int]] = set()
    for item in there:
        if item.core == core and item.since <= cycle:
            present |= item.cells
    return not cells <= present


def _weights_are_there(schedule: Schedule, workload: Workload) -> list[str]:
    arrived: dict[tuple[str, str], Transfer] = {}
    for move in schedule.transfers:
        if move.kind is TransferKind.WEIGHTS:
            arrived[move.tensor, move.receiver] = move
    found = []
    for piece in schedule.executions:
        shape = workload.layer(piece.layer).shape
        if not shape.num_weights or piece.held_media:
            continue
        move = arrived.get((piece.weights, piece.core))
        channels = range(piece.result.first_channel, piece.result.end_channel)
        if move is None or move.origin != piece.layer or move.end_cycle > piece.start_cycle:
            found.append(f"{piece.layer} on {piece.core} starts before its weights are there")
        elif not (move.region.first_channel <= channels[0] and channels[-1] < move.region.end_channel):
            found.append(f"{piece.layer} on {piece.core} has the weights of other channels")
        elif move.bits * shape.g * shape.k != shape.weight_size_bits * (
            move.region.end_channel - move.region.first_channel
        ):
            found.append(f"{move.tensor} has {move.bits} bits")
    return found


def _moves_take_their_time(schedule: Schedule, accelerator: Accelerator) -> list[str]:
    widths: dict[str, int | None] = {}
    for link in accelerator.links:
        widths[link.shared or f"{link.sender}->{link.receiver}"] = link.bandwidth_bits
    found = []
    for move in schedule.transfers:
        limits = [width for medium in move.media if (width := widths[medium]) is not None]
        cycles = -(-move.bits // min(limits)) if limits else 0
        if move.end_cycle - move.start_cycle != cycles or not move.media or move.start_cycle < 0:
            found.append(f"{move.tensor} takes {move.end_cycle - move.start_cycle} cycles, not {cycles}")
    return found


def _memories_are_large_enough(schedule: Schedule, accelerator: Accelerator) -> list[str]:
    sizes = {(core.name, memory.name): memory.size_bits for core in accelerator.cores for memory in core.memories}
    changes: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for item in schedule.holdings:
        key = (item.core, item.memory.removesuffix(" (weights)"))
        changes[key] += [(item.start_cycle, item.bits), (item.end_cycle, -item.bits)]
    found = []
    for key, moments in changes.items():
        used = 0
        # What goes in a cycle makes room for what comes in it.
        for cycle, bits in sorted(moments):
            used += bits
            if used > sizes[key]:
                found.append(f"{key} holds {used} bits at {cycle}")
                break
    return found


def _room_is_held_while_used(schedule: Schedule, workload: Workload, accelerator: Accelerator) -> list[str]:
    """Results and copies have room on their core from when they are made or come until they are read or sent."""
    held: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for item in schedule.holdings:
        held[item.core, item.tensor].append((item.start_cycle, item.end_cycle))

    origin = origins(workload)
    found = []
    for piece in schedule.executions:
        reads = {origin[x] for x in workload.layer(piece.layer).inputs}
        if piece.held_media:
            reads = set()
        for name in {piece.layer, *reads, *([piece.weights] if piece.weights else [])}:
            if not _covered(held[piece.core, name], piece.start_cycle, piece.end_cycle):
                found.append(f"{piece.layer} on {piece.core} has no room for {name}")
    offchip = accelerator.cores_of(CoreKind.OFFCHIP)[0].name
    for move in schedule.transfers:
        if move.receiver != offchip and not _covered(
            held[move.receiver, move.tensor], move.start_cycle, move.end_cycle
        ):
            found.append(f"{move.receiver} has no room for {move.tensor}")
    return found


def _covered(spans: list[tuple[float, float]], start: float, end: float) -> bool:
    """Whether the spans leave no cycle from ``start`` to ``end`` out."""
    for first, last in sorted(spans):
        if first <= start < last:
            start = last
    return start >= end and bool(spans)


def _verdicts(schedule: Schedule, workload: Workload, accelerator: Accelerator) -> list[str]:
    offchip = accelerator.cores_of(CoreKind.OFFCHIP)[0].name
    origin = origins(workload)
    found = []
    for name, verdict in zip(workload.exits, schedule.verdict_cycles, strict=True):
        shape = workload.layer(origin[name]).shape
        out = [x for x in schedule.transfers if x.tensor == origin[name] and x.receiver == offchip]
        streamed = [x for x in schedule.executions if x.layer == origin[name] and x.held_media]
        if streamed:
            found += [f"the logits of {name} are not out at the verdict" for x in streamed if x.end_cycle > verdict]
            continue
        if sum(x.bits for x in out) < shape.output_size_bits or max(x.end_cycle for x in out) > verdict:
            found.append(f"the logits of {name} are not out at the verdict")
    if list(schedule.verdict_cycles) != sorted(schedule.verdict_cycles):
        found.append("an exit leaves before the one before")
    return found


def early_work(schedule: Schedule, workload: Workload, stage: int) -> list[str]:
    """What begins for later stages before the verdict of ``stage``."""
    verdict = schedule.verdict_cycles[stage]
    later = {layer.name for layer in workload.layers if layer.stage > stage}
    pieces = [x.layer for x in schedule.executions if x.layer in later and x.start_cycle < verdict]
    return pieces + [x.tensor for x in schedule.transfers if x.origin in later and x.start_cycle < verdict]
