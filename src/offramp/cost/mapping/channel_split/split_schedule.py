"""When every part of a layer runs and what it needs is fetched: plain values, and a check of the rules they obey."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from offramp.cost.engines.formula.core_limits import why_not
from offramp.cost.engines.formula.engine import FormulaEngine, formulas_of
from offramp.cost.mapping.channel_split.core_options import Part
from offramp.cost.schedule import TransferKind
from offramp.workload.graph import GRAPH_INPUT, Workload
from offramp.workload.layer import LayerShape, Op

_SLACK = 1e-6


@dataclass(frozen=True)
class Piece:
    """A part of a layer on its core."""

    layer: str
    part: Part
    start_cycle: float
    end_cycle: float


@dataclass(frozen=True)
class Fetch:
    """Bits moved between the off-chip memory and the chip's own ones, one fetch at a time.

    ``memory`` is a weight memory, or the shared one; weights take room there until ``free_cycle``.
    """

    layer: str
    kind: TransferKind
    memory: str
    bits: int
    start_cycle: float
    end_cycle: float
    free_cycle: float


@dataclass(frozen=True)
class ChipSchedule:
    """``verdict_cycles``: when each exit's logits are there. Pieces in the order in which they were planned."""

    pieces: tuple[Piece, ...]
    fetches: tuple[Fetch, ...]
    verdict_cycles: tuple[float, ...]
    warnings: tuple[str, ...] = ()

    @property
    def end_cycle(self) -> float:
        return max((piece.end_cycle for piece in self.pieces), default=0.0)


def schedule_faults(schedule: ChipSchedule, workload: Workload, engine: FormulaEngine) -> list[str]:
    """Every rule that a schedule breaks, in words; nothing of the planner is used."""
    chip = formulas_of(engine.accelerator)
    faults = _overlaps(schedule)
    ends = _layer_ends(schedule, workload)
    for layer in workload.layers:
        if layer.shape.op is Op.ACTIVATION:
            continue
        mine = [piece for piece in schedule.pieces if piece.layer == layer.name]
        covered = sorted((x.part.first_channel, x.part.first_channel + x.part.channels) for x in mine)
        whole = bool(covered) and covered[0][0] == 0 and covered[-1][1] == layer.shape.g * layer.shape.k
        if not whole or any(a[1] != b[0] for a, b in pairwise(covered)):
            faults.append(f"{layer.name}: its channels are not made once each, but {covered}")
        ready = max((ends.get(name, 0.0) for name in layer.inputs), default=0.0)
        if layer.stage:
            ready = max(ready, schedule.verdict_cycles[layer.stage - 1])
        for piece in mine:
            formula = chip.core(piece.part.core)
            if piece.start_cycle < ready - _SLACK:
                faults.append(f"{layer.name}: starts at {piece.start_cycle:g}, its inputs are there at {ready:g}")
            if reason := why_not(formula, piece.part.shape, first=GRAPH_INPUT in layer.inputs):
                faults.append(f"{layer.name}: runs on {formula.core}, but {reason}")
            if piece.end_cycle - piece.start_cycle < engine.cycles(piece.part.shape, formula).total - _SLACK:
                faults.append(f"{layer.name}: is faster on {formula.core} than the core")
            faults += _weight_faults(schedule, piece, formula.weights)
    return faults + _room_faults(schedule, engine)


def _layer_ends(schedule: ChipSchedule, workload: Workload) -> dict[str, float]:
    ends: dict[str, float] = {
        GRAPH_INPUT: max((x.end_cycle for x in schedule.fetches if x.kind is TransferKind.INPUT), default=0.0)
    }
    for layer in workload.layers:
        own = [piece.end_cycle for piece in schedule.pieces if piece.layer == layer.name]
        ends[layer.name] = max(own) if own else max((ends[name] for name in layer.inputs), default=0.0)
    return ends


def _overlaps(schedule: ChipSchedule) -> list[str]:
    spans: dict[str, list[tuple[float, float, str]]] = {}
    for piece in schedule.pieces:
        spans.setdefault(piece.part.core, []).append((piece.start_cycle, piece.end_cycle, piece.layer))
    for fetch in schedule.fetches:
        spans.setdefault("transfers", []).append((fetch.start_cycle, fetch.end_cycle, fetch.layer))
    faults = []
    for where, items in spans.items():
        for before, after in pairwise(sorted(items)):
            if after[0] < before[1] - _SLACK:
                faults.append(f"{where}: {before[2]} and {after[2]} at the same time")
    return faults


def _weight_faults(schedule: ChipSchedule, piece: Piece, memory: str) -> list[str]:
    if not memory or not piece.part.weight_bits:
        return []
    fetched = [
        x
        for x in schedule.fetches
        if x.layer == piece.layer and x.kind is TransferKind.WEIGHTS and x.start_cycle <= piece.end_cycle
    ]
    if sum(x.bits for x in fetched) < piece.part.weight_bits:
        return [f"{piece.layer}: its weights were never fetched"]
    late = [x for x in fetched if x.end_cycle > piece.end_cycle + _SLACK]
    return [f"{piece.layer}: ends before its weights have come"] if late else []


def _room_faults(schedule: ChipSchedule, engine: FormulaEngine) -> list[str]:
    faults = []
    sizes: Mapping[str, int] = {m.name: m.size_bits for core in engine.accelerator.cores for m in core.memories}
    weights = [x for x in schedule.fetches if x.kind is TransferKind.WEIGHTS]
    for fetch in weights:
        held = [
            x
            for x in weights
            if x.memory == fetch.memory and x.start_cycle <= fetch.start_cycle < x.free_cycle - _SLACK
        ]
        total = sum(min(x.bits, sizes[x.memory]) for x in held)
        if total > sizes[fetch.memory]:
            faults.append(f"{fetch.memory}: {total} bits of {sizes[fetch.memory]} at cycle {fetch.start_cycle:g}")
    return faults


def operand_bits(shape: LayerShape, num_inputs: int) -> int:
    """Activations that a layer needs at hand at 8 bits and more: all inputs and its result."""
    width = max(shape.activation_bits, 8)
    return (num_inputs * shape.num_inputs + shape.num_outputs) * width
