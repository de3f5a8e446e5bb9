"""The schedule that follows from where each layer runs: in order on every core, cores side by side where they may."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from offramp.cost.engines.formula.engine import FormulaEngine, formulas_of
from offramp.cost.mapping.channel_split.core_options import Option, Part
from offramp.cost.mapping.channel_split.split_schedule import ChipSchedule, Fetch, Piece, operand_bits
from offramp.cost.schedule import TransferKind
from offramp.workload.graph import GRAPH_INPUT, Layer, Workload
from offramp.workload.layer import Op


@dataclass
class _WeightMemory:
    """Blocks of weights in the order in which they came: their bits, and until when they are needed."""

    size_bits: int
    blocks: list[tuple[int, float]] = field(default_factory=list)

    def room_from(self, bits: int) -> float:
        """First cycle from which ``bits`` more fit; those that fit never wait for an empty memory."""
        used, cycle = sum(block for block, _ in self.blocks), 0.0
        for block, until in sorted(self.blocks, key=lambda item: item[1]):
            if used + bits <= self.size_bits:
                break
            used, cycle = used - block, max(cycle, until)
        return cycle

    def put(self, bits: int, until: float) -> None:
        self.blocks.append((min(bits, self.size_bits), until))


class ChipSimulator:
    """Plans one workload again and again, under different choices.

    Weights are fetched as soon as the one transfer unit and their memory are free, also before an exit's verdict;
    layers of a stage wait for the verdict before. ``overlapping`` False: no layer starts before all before it ended.
    What a layer needs at hand and does not fit the shared memory passes through the transfer unit while it runs.
    """

    def __init__(self, workload: Workload, engine: FormulaEngine, *, overlapping: bool) -> None:
        self._workload, self._overlapping = workload, overlapping
        self._accelerator = engine.accelerator
        self._chip = formulas_of(engine.accelerator)
        self._sizes = {m.name: m.size_bits for core in engine.accelerator.cores for m in core.memories}
        self._streamed = _streamed_bits(workload, self._sizes[self._chip.shared_memory])
        self._exits = {name: stage for stage, name in enumerate(workload.exits)}

    def run(self, choice: Mapping[str, Option]) -> ChipSchedule:
        """``choice`` has an option for every layer but activations."""
        return _Run(self, choice).schedule()


class _Run:
    def __init__(self, plan: ChipSimulator, choice: Mapping[str, Option]) -> None:
        self.plan, self.choice = plan, choice
        self.pieces: list[Piece] = []
        self.fetches: list[Fetch] = []
        self.ends: dict[str, float] = {}
        self.core_free = {item.core: 0.0 for item in plan._chip.cores}
        self.transfer_free = 0.0
        self.all_done = 0.0
        self.memories = {
            item.weights: _WeightMemory(plan._sizes[item.weights]) for item in plan._chip.cores if item.weights
        }

    def schedule(self) -> ChipSchedule:
        plan = self.plan
        verdicts = [0.0] * plan._workload.num_stages
        warnings = []
        for layer in plan._workload.layers:
            if GRAPH_INPUT in layer.inputs and GRAPH_INPUT not in self.ends:
                bits = layer.shape.num_inputs * max(layer.shape.activation_bits, 8)
                self.ends[GRAPH_INPUT] = self._fetch(layer, TransferKind.INPUT, plan._chip.shared_memory, bits, 0.0)
            ready = max(self.ends[name] for name in layer.inputs)
            if layer.stage:
                ready = max(ready, verdicts[layer.stage - 1])
            if layer.shape.op is Op.ACTIVATION:
                self.ends[layer.name] = ready
            else:
                if not plan._overlapping:
                    ready = max(ready, self.all_done)
                self.ends[layer.name] = max(self._run_part(layer, part, ready) for part in self._parts(layer))
                self.all_done = max(self.all_done, self.ends[layer.name])
            if layer.name in plan._exits:
                verdicts[plan._exits[layer.name]] = self.ends[layer.name]
        if plan._streamed:
            warnings.append(
                f"{len(plan._streamed)} layer(s) need more than memory {plan._chip.shared_memory} holds, the first is "
                f"{next(iter(plan._streamed))}; what does not fit is moved while they run."
            )
        return ChipSchedule(tuple(self.pieces), tuple(self.fetches), tuple(verdicts), tuple(warnings))

    def _parts(self, layer: Layer) -> tuple[Part, ...]:
        return self.choice[layer.name].parts

    def _run_part(self, layer: Layer, part: Part, ready: float) -> float:
        start = max(ready, self.core_free[part.core])
        end = start + part.cycles
        memory = self.plan._chip.core(part.core).weights
        if memory and part.weight_bits:
            room = self.memories[memory]
            loaded = self._fetch(
                layer, TransferKind.WEIGHTS, memory, part.weight_bits, room.room_from(part.weight_bits)
            )
            # Weights that are more than the memory holds come while the layer runs, the rest before.
            start = max(start, loaded) if part.weight_bits <= room.size_bits else start
            end = max(start + part.cycles, loaded)
            room.put(part.weight_bits, end)
            self.fetches[-1] = _until(self.fetches[-1], end)
        streamed = self.plan._streamed.get(layer.name, 0)
        if streamed:
            share = -(-streamed * part.channels // (layer.shape.g * layer.shape.k))
            end = max(end, self._fetch(layer, TransferKind.EVICTION, self.plan._chip.shared_memory, share, start))
        self.core_free[part.core] = end
        self.pieces.append(Piece(layer.name, part, start, end))
        return end

    def _fetch(self, layer: Layer, kind: TransferKind, memory: str, bits: int, ready: float) -> float:
        start = max(ready, self.transfer_free)
        end = start + -(-bits // self.plan._chip.transfer_bits_per_cycle)
        self.transfer_free = end
        self.fetches.append(Fetch(layer.name, kind, memory, bits, start, end, end))
        return end


def _until(fetch: Fetch, cycle: float) -> Fetch:
    return Fetch(fetch.layer, fetch.kind, fetch.memory, fetch.bits, fetch.start_cycle, fetch.end_cycle, cycle)


def _streamed_bits(workload: Workload, capacity_bits: int) -> dict[str, int]:
    """Bits of each layer that do not fit beside what later layers still need; layers that fit are left out.

    They are written to the off-chip memory and read again, so they count twice.
    """
    made_by: dict[str, str] = {}
    last_use: dict[str, int] = {}
    for index, layer in enumerate(workload.layers):
        # An activation function changes values where they lie.
        free = layer.shape.op is Op.ACTIVATION
        made_by[layer.name] = made_by.get(layer.inputs[0], layer.inputs[0]) if free else layer.name
        last_use |= {made_by.get(name, name): index for name in layer.inputs}
    sizes: dict[str, int] = {}
    found: dict[str, int] = {}
    for index, layer in enumerate(workload.layers):
        if layer.shape.op is Op.ACTIVATION:
            continue
        own = {made_by.get(name, name) for name in layer.inputs}
        waiting = sum(bits for name, bits in sizes.items() if last_use.get(name, -1) > index and name not in own)
        excess = waiting + operand_bits(layer.shape, len(layer.inputs)) - capacity_bits
        if excess > 0:
            found[layer.name] = 2 * excess
        sizes[layer.name] = layer.shape.num_outputs * max(layer.shape.activation_bits, 8)
    return found
