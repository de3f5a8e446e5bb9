"""The layer-by-layer schedule: layers in order, each on its core, tensors in the earliest idle window of their links.

Layers run one after the other in workload order. A layer starts when its core is idle, its inputs are made and all it
needs has arrived. Weights and the graph input wait in the off-chip memory from cycle 0; their transfers are planned
when the layer that needs them is, in the earliest idle window, so weights stream ahead of the computation in layer
order. Results leave the accelerator over the off-chip link.

Source: the scheduler of asyms/stream, branch expl-eenn, in its layer-by-layer mode. The convention ``published`` keeps
two of its liberties, which change figures only where a memory overflows: inputs that do not fit a core are in the
off-chip memory without having been sent there, and a transfer that has to evict others may begin before its tensor is
made.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from offramp.cost.mapping.layer_by_layer.memory_contents import MemoryContents, StoredTensor
from offramp.cost.mapping.placement import Placement
from offramp.cost.mapping.resource_timeline import Timeline
from offramp.cost.mapping.topology import Topology, read_energy_pj, write_energy_pj
from offramp.cost.report import Convention, LayerCost
from offramp.cost.schedule import Execution, Schedule, Transfer, TransferKind
from offramp.cost.sparsity_gain import stored_weight_bits
from offramp.cost.unmodelled import ON_THE_CORE
from offramp.hardware.accelerator import Accelerator, Core, CoreKind, MemoryOperand
from offramp.workload.graph import GRAPH_INPUT, Layer, Workload
from offramp.workload.layer import MATRIX_OPS, POOL_OPS, Op

_NEVER = float("inf")


def plan_layer_by_layer(
    workload: Workload,
    placements: Sequence[Placement],
    costs: Mapping[str, LayerCost],
    accelerator: Accelerator,
    convention: Convention = "offramp",
) -> Schedule:
    """Schedule layers that are already placed on cores.

    Args:
        workload: The network.
        placements: Where each layer runs, in order.
        costs: What each layer costs there, by name.
        accelerator: What it runs on.
        convention: ``published`` keeps the liberties of the reference.

    Returns:
        Executions in the order of the layers, and all transfers.

    Raises:
        AcceleratorError: Links that a tensor needs are missing.
    """
    planner = _Planner(workload, placements, accelerator, convention)
    for placement in placements:
        planner.plan(placement, costs[placement.layer.name])
    return planner.schedule()


def runtime_cycles(cost: LayerCost, kind: CoreKind) -> float:
    """Cycles that a core is busy with a layer.

    Args:
        cost: What the layer costs on the core.
        kind: Kind of the core.

    Returns:
        Whole cycles to the last result on compute cores; on others also the cycles that draining the result takes.
    """
    if kind is CoreKind.COMPUTE:
        return float(int(cost.latency_without_offload_cycles))
    return cost.latency_cycles


@dataclass(frozen=True)
class _RequiredTensor:
    """A tensor that a layer reads, as which operand, and the layer that is charged for its transfer."""

    tensor: str
    operand: MemoryOperand
    kind: TransferKind
    origin: str


class _Planner:
    def __init__(
        self, workload: Workload, placements: Sequence[Placement], accelerator: Accelerator, convention: Convention
    ) -> None:
        self.executions: list[Execution] = []
        self.transfers: list[Transfer] = []
        self.warnings: list[str] = []
        self._published = convention == "published"
        self._exits = workload.exits
        self._verdicts = dict.fromkeys(workload.exits, 0.0)
        self._cores = accelerator.cores
        self._offchip = next(iter(accelerator.cores_of(CoreKind.OFFCHIP)), None)
        self._topology = Topology(accelerator)
        self._media: dict[str, Timeline] = {}
        self._stores: dict[str, dict[str, MemoryContents]] = {core.name: {} for core in accelerator.cores}
        self._idle: dict[str, float] = {core.name: 0.0 for core in accelerator.cores}
        self._ends: dict[str, float] = {GRAPH_INPUT: 0.0}
        self._source: dict[str, str] = {GRAPH_INPUT: GRAPH_INPUT}
        self._bits: dict[str, int] = {}
        self._maker: dict[str, str] = {}
        self._uses: dict[str, dict[str, int]] = {}
        self._last_use: dict[tuple[str, str], float] = {}
        self._record_tensors(placements)

    def _record_tensors(self, placements: Sequence[Placement]) -> None:
        """Record sizes of all tensors and how often each core needs them; what is off chip from the start."""
        for placement in placements:
            layer = placement.layer
            free = layer.shape.op is Op.ACTIVATION
            self._source[layer.name] = self._source[layer.inputs[0]] if free else layer.name
            if free:
                continue
            self._bits[layer.name] = layer.shape.output_size_bits
            if GRAPH_INPUT in layer.inputs:
                padded = layer.shape.num_padded_inputs * layer.shape.bits_of_input(layer.inputs.index(GRAPH_INPUT))
                self._bits[GRAPH_INPUT] = max(padded, self._bits.get(GRAPH_INPUT, 0))
            self._bits[_weights_of(layer)] = stored_weight_bits(layer.shape, placement.core)
            for need in self._needs(layer):
                uses = self._uses.setdefault(need.tensor, {})
                uses[placement.core.name] = uses.get(placement.core.name, 0) + 1
        if self._offchip is None:
            self.warnings.append(ON_THE_CORE)
            return
        store = self._store(self._offchip, "I1")
        for tensor, bits in self._bits.items():
            if tensor == GRAPH_INPUT or tensor not in self._source:
                store.put(StoredTensor(tensor, bits, 0.0, 0.0))

    def _needs(self, layer: Layer) -> list[_RequiredTensor]:
        """Weights first, then inputs in the order in which they were made."""
        needs = []
        if layer.shape.op in MATRIX_OPS:
            needs.append(_RequiredTensor(_weights_of(layer), "I2", TransferKind.WEIGHTS, layer.name))
        single = layer.shape.op in MATRIX_OPS | POOL_OPS
        tensors = dict.fromkeys(self._source[name] for name in layer.inputs)
        for index, tensor in enumerate(tensors):
            operand: MemoryOperand = "I1" if single or index == 0 else "I2"
            given = tensor == GRAPH_INPUT
            kind = TransferKind.INPUT if given else TransferKind.ACTIVATION
            needs.append(_RequiredTensor(tensor, operand, kind, layer.name if given else tensor))
        return needs

    def schedule(self) -> Schedule:
        """All that has been planned."""
        verdicts = tuple(self._verdicts[name] for name in self._exits)
        return Schedule(tuple(self.executions), tuple(self.transfers), tuple(self.warnings), verdict_cycles=verdicts)

    def plan(self, placement: Placement, cost: LayerCost) -> None:
        layer, core = placement.layer, placement.core
        runtime = runtime_cycles(cost, core.kind)
        made = max(self._ends[name] for name in layer.inputs)
        if layer.shape.op is Op.ACTIVATION:
            maker = self._maker.get(self._source[layer.name], core.name)
            self._record(layer.name, maker, made, made, cost)
            return
        needs = self._needs(layer)
        keep = {need.tensor for need in needs} | {layer.name}
        start = max(self._idle[core.name], made)
        if placement.streamed:
            self.warnings.append(
                f"Layer {layer.name!r} does not fit the memory of core {core.name!r}; "
                f"operands {', '.join(placement.streamed)} stay off chip."
            )
            start = self._clear(core, placement.streamed, start, keep)
        for need in needs:
            start = max(start, self._supply(need, placement, keep))
        result_core = self._offchip if self._offchip is not None and "O" in placement.streamed else core
        start = self._make_space(result_core, "O", self._bits[layer.name], start, keep)
        media = self._held_media(placement)
        start = self._common_window(media, start, runtime)
        for medium in media:
            self._media[medium].take(start, runtime, keep)
        end = start + runtime
        self._store(result_core, "O").put(StoredTensor(layer.name, self._bits[layer.name], start, end))
        self._maker[layer.name] = result_core.name
        self._idle[core.name] = end
        self._record(layer.name, core.name, start, end, cost, media)
        for need in needs:
            if not (self._published and need.operand in placement.streamed):
                self._used(need.tensor, core.name, end)

    def _record(
        self, layer: str, core: str, start: float, end: float, cost: LayerCost, media: tuple[str, ...] = ()
    ) -> None:
        self.executions.append(
            Execution(
                layer=layer,
                core=core,
                start_cycle=start,
                end_cycle=end,
                held_media=media,
                mac_energy_pj=cost.mac_energy_pj,
                memory_energy=cost.memory_energy,
                utilization=cost.utilization,
            )
        )
        self._ends[layer] = end
        if layer in self._verdicts:
            self._verdicts[layer] = self._send_result(self._source[layer])

    def _supply(self, need: _RequiredTensor, placement: Placement, keep: Collection[str]) -> float:
        """Cycle at which ``need`` can be read."""
        if self._bits[need.tensor] == 0:
            return 0.0
        if need.operand not in placement.streamed:
            return self._bring(need, placement.core, keep)
        if self._published or self._offchip is None or need.kind is TransferKind.WEIGHTS:
            return 0.0
        return self._bring(need, self._offchip, keep)

    def _held_media(self, placement: Placement) -> tuple[str, ...]:
        if self._offchip is None or not placement.streamed:
            return ()
        names: list[str] = []
        if "O" in placement.streamed:
            names += self._topology.route(placement.core.name, self._offchip.name).media
        if any(operand != "O" for operand in placement.streamed):
            names += self._topology.route(self._offchip.name, placement.core.name).media
        return tuple(dict.fromkeys(names))

    def _bring(self, need: _RequiredTensor, receiver: Core, keep: Collection[str]) -> float:
        """Send a tensor to ``receiver`` unless it is there; the core that has had it longest sends it."""
        present = self._find(need.tensor, receiver)
        if present is not None:
            return present.available
        holders = [(core, self._find(need.tensor, core)) for core in self._cores]
        found = [(core, stored) for core, stored in holders if stored is not None]
        if not found:
            return 0.0  # Without an off-chip core: taken to be on the core.
        sender, stored = min(found, key=lambda pair: pair[1].available)
        space = self._make_space(receiver, need.operand, stored.bits, stored.available, keep)
        sent = self._send(need, sender, receiver, stored.bits, space)
        self._store(receiver, need.operand).put(
            StoredTensor(need.tensor, stored.bits, sent.start_cycle, sent.end_cycle)
        )
        makes = self._maker.get(need.tensor)
        passed_on = sender is not self._offchip and sender.name != makes
        if passed_on and not self._uses.get(need.tensor, {}).get(sender.name):
            self._drop(need.tensor, sender, sent.end_cycle)
        return sent.end_cycle

    def _send(self, need: _RequiredTensor, sender: Core, receiver: Core, bits: int, ready: float) -> Transfer:
        route = self._topology.route(sender.name, receiver.name)
        duration = route.duration(bits)
        timelines = [self._media.setdefault(medium, Timeline()) for medium in route.media]
        starts = {timeline.broadcast_start(need.tensor, ready, duration) for timeline in timelines}
        broadcast = starts.pop() if len(starts) == 1 and duration > 0 else None
        start = self._common_window(route.media, ready, duration) if broadcast is None else broadcast
        if broadcast is None:
            for timeline in timelines:
                timeline.take(start, duration, (need.tensor,))
        energy = (
            read_energy_pj(sender.outermost_memory("O"), bits)
            + write_energy_pj(receiver.outermost_memory(need.operand), bits)
            + route.energy_pj(bits)
        )
        transfer = Transfer(
            tensor=need.tensor,
            kind=need.kind,
            origin=need.origin,
            sender=sender.name,
            receiver=receiver.name,
            media=route.media,
            start_cycle=start,
            end_cycle=start + duration,
            bits=bits,
            energy_pj=energy,
            broadcast=broadcast is not None,
        )
        self.transfers.append(transfer)
        return transfer

    def _common_window(self, media: Sequence[str], ready: float, duration: float) -> float:
        timelines = [self._media.setdefault(medium, Timeline()) for medium in media]
        start = ready
        while True:
            later = max((timeline.earliest(start, duration) for timeline in timelines), default=start)
            if later == start:
                return start
            start = later

    def _send_result(self, tensor: str) -> float:
        """Send an exit's logits to the off-chip memory as soon as they are made; returns when they are there."""
        if self._offchip is None:
            return self._ends[tensor]
        present = self._find(tensor, self._offchip)
        if present is not None:
            return present.available
        need = _RequiredTensor(tensor, "O", TransferKind.LOGITS, tensor)
        sender = next(core for core in self._cores if core.name == self._maker[tensor])
        sent = self._send(need, sender, self._offchip, self._bits[tensor], self._ends[tensor])
        self._store(self._offchip, "O").put(StoredTensor(tensor, sent.bits, sent.start_cycle, sent.end_cycle))
        if not any(self._uses.get(tensor, {}).values()):
            self._drop(tensor, sender, sent.end_cycle)
        return sent.end_cycle

    def _make_space(self, core: Core, operand: MemoryOperand, bits: int, ready: float, keep: Collection[str]) -> float:
        """First cycle from which ``bits`` more fit, after evictions where they never would."""
        store = self._store(core, operand)
        time = store.fits_from(ready, bits)
        if time != _NEVER or store.capacity_bits is None:
            return time
        # The reference lets a transfer that evicts begin when the memory last changed, whatever it waits for.
        earliest = 0.0 if self._published else max(ready, self._idle[core.name])
        time = done = max(earliest, store.last_change)
        excess = store.final_bits + bits - store.capacity_bits
        uses = {item.tensor: self._uses.get(item.tensor, {}).get(core.name, 0) for item in store.content}
        for victim in sorted(store.content, key=lambda item: uses[item.tensor] * item.bits):
            if excess > 0 and victim.tensor not in keep:
                excess -= victim.bits
                done = max(done, self._evict(victim, core, time))
        if excess > 0:
            self.warnings.append(f"The memory of core {core.name!r} is {excess} bits too small at cycle {time:.0f}.")
        return done

    def _clear(self, core: Core, operands: Sequence[MemoryOperand], ready: float, keep: Collection[str]) -> float:
        """Empty the memories of streamed operands, so that the layer has all of them to itself."""
        done = ready
        for name in dict.fromkeys(core.outermost_memory(operand).name for operand in operands):
            for item in self._stores[core.name][name].content if name in self._stores[core.name] else ():
                if item.tensor not in keep:
                    done = max(done, self._evict(item, core, max(ready, item.available)))
        return done

    def _evict(self, item: StoredTensor, core: Core, time: float) -> float:
        """Take ``item`` out of a memory of ``core``, to the off-chip memory if its content would be lost."""
        elsewhere = [other for other in self._cores if other is not core and self._find(item.tensor, other) is not None]
        # The reference asks only whether the off-chip memory has it.
        saved = self._offchip in elsewhere if self._published else bool(elsewhere) or not self._wanted(item.tensor)
        if saved or self._offchip is None:
            self._drop(item.tensor, core, time)
            return time
        need = _RequiredTensor(item.tensor, "O", TransferKind.EVICTION, item.tensor)
        sent = self._send(need, core, self._offchip, item.bits, max(time, 0.0 if self._published else item.available))
        self._store(self._offchip, "O").put(StoredTensor(item.tensor, item.bits, sent.start_cycle, sent.end_cycle))
        self._drop(item.tensor, core, sent.end_cycle)
        return sent.end_cycle

    def _wanted(self, tensor: str) -> bool:
        return any(self._uses.get(tensor, {}).values())

    def _used(self, tensor: str, core: str, end: float) -> None:
        """Count a use down; after the last one the tensor leaves every core's memory."""
        self._uses[tensor][core] -= 1
        self._last_use[tensor, core] = end
        if self._wanted(tensor):
            return
        for other in self._cores:
            if other is not self._offchip:
                self._drop(tensor, other, self._last_use.get((tensor, other.name), end))

    def _find(self, tensor: str, core: Core) -> StoredTensor | None:
        for store in self._stores[core.name].values():
            if tensor in store:
                return store.get(tensor)
        return None

    def _drop(self, tensor: str, core: Core, time: float) -> None:
        for store in self._stores[core.name].values():
            store.drop(tensor, time)

    def _store(self, core: Core, operand: MemoryOperand) -> MemoryContents:
        memory = core.outermost_memory(operand)
        stores = self._stores[core.name]
        if memory.name not in stores:
            # Without an off-chip core nothing could be evicted; the off-chip memory itself is taken as large enough.
            limited = self._offchip is not None and core is not self._offchip
            stores[memory.name] = MemoryContents(memory.size_bits if limited else None)
        return stores[memory.name]


def _weights_of(layer: Layer) -> str:
    return f"weights of {layer.name}"
