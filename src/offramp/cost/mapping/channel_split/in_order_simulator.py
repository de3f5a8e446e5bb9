"""Schedule of a given assignment of layers: in order on every core, cores in parallel where allowed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from offramp.cost.engines.formula.engine import REST, FormulaEngine, formulas_of, power_pj_per_cycle
from offramp.cost.mapping.channel_split.core_options import CoreOption, CorePart
from offramp.cost.mapping.exit_energy import EnergyCharge
from offramp.cost.report import MemoryEnergy
from offramp.cost.schedule import Execution, Holding, IdlePower, Region, Schedule, Transfer, TransferKind
from offramp.workload.graph import GRAPH_INPUT, Layer, Workload
from offramp.workload.layer import LayerShape, Op

OFFCHIP = "offchip"
"""The off-chip memory, and the one link to it, which carries one transfer at a time."""


class InOrderSimulator:
    """Schedules one workload again and again, under different choices of cores.

    Weights are transferred as soon as the one link and their memory are free, also before an exit's verdict; layers of
    a stage wait for the verdict before. What a layer needs at once and does not fit the shared memory passes over the
    link while the layer runs.
    """

    def __init__(self, workload: Workload, engine: FormulaEngine, *, overlapping: bool) -> None:
        """Collect what all schedules have in common.

        Args:
            workload: The network.
            engine: Prices layers on the cores of one accelerator.
            overlapping: Whether layers that do not depend on each other may run at the same time.

        Raises:
            AcceleratorError: The accelerator has no formulas.
        """
        self.workload, self.engine, self.overlapping = workload, engine, overlapping
        self.chip = formulas_of(engine.accelerator)
        self.memory_bits = {m.name: m.size_bits for core in engine.accelerator.cores for m in core.memories}
        self.streamed_bits = _streamed_bits(workload, self.memory_bits[self.chip.shared_memory])
        self.idle_pj_per_cycle = power_pj_per_cycle(self.chip.idle_power_mw, engine.clock_hz)
        self.active_pj_per_cycle = {
            formula.core: power_pj_per_cycle(formula.power_mw, engine.clock_hz) for formula in self.chip.cores
        }

    def run(self, choice: Mapping[str, CoreOption]) -> "InOrderRun":
        """Schedule the workload.

        Args:
            choice: One option for every layer but activation functions, by name.

        Returns:
            What runs when.
        """
        return InOrderRun(self, choice)


class _PartRun(NamedTuple):
    layer: Layer
    part: CorePart
    start_cycle: float
    end_cycle: float


class _Fetch(NamedTuple):
    """Bits moved over the link; weights need space in ``memory`` until ``free_cycle``."""

    layer: Layer
    part: CorePart | None
    kind: TransferKind
    memory: str
    bits: int
    start_cycle: float
    end_cycle: float
    free_cycle: float


@dataclass
class _WeightMemory:
    """Blocks of weights in the order in which they came: their bits, and until when they are needed."""

    size_bits: int
    blocks: list[tuple[int, float]] = field(default_factory=list)

    def fits_from(self, bits: int) -> float:
        """First cycle from which ``bits`` more fit; blocks larger than the memory wait until it is empty."""
        used, cycle = sum(block for block, _ in self.blocks), 0.0
        for block, until in sorted(self.blocks, key=lambda item: item[1]):
            if used + bits <= self.size_bits:
                break
            used, cycle = used - block, max(cycle, until)
        return cycle

    def put(self, bits: int, until: float) -> None:
        self.blocks.append((min(bits, self.size_bits), until))


class InOrderRun:
    """One workload under one choice of cores. Plain values are made only on request: most runs are only compared.

    Attributes:
        verdict_cycles: Per exit, the cycle in which its logits are available.
        charges: Energy of all executions, without idle power.
    """

    def __init__(self, simulator: InOrderSimulator, choice: Mapping[str, CoreOption]) -> None:
        """Run all layers in order.

        Args:
            simulator: What all runs of the workload have in common.
            choice: One option for every layer but activation functions, by name.
        """
        self._simulator, self._choice = simulator, choice
        self._runs: list[_PartRun] = []
        self._fetches: list[_Fetch] = []
        self._ends: dict[str, float] = {}
        self._core_free = {item.core: 0.0 for item in simulator.chip.cores}
        self._link_free = 0.0
        self._all_done = 0.0
        self._memories = {
            item.weights: _WeightMemory(simulator.memory_bits[item.weights])
            for item in simulator.chip.cores
            if item.weights
        }
        self.verdict_cycles: Sequence[float] = self._run()

    @property
    def charges(self) -> list[EnergyCharge]:
        """Energy of all executions, in the order of the layers."""
        return [EnergyCharge(run.layer.name, run.start_cycle, self._energy_pj(run)) for run in self._runs]

    def schedule(self) -> Schedule:
        """The run in plain values, with idle power."""
        simulator = self._simulator
        warnings = []
        if simulator.streamed_bits:
            warnings.append(
                f"{len(simulator.streamed_bits)} layer(s) need more than memory {simulator.chip.shared_memory} holds, "
                f"the first is {next(iter(simulator.streamed_bits))}; what does not fit is moved while they run."
            )
        return Schedule(
            executions=tuple(self._execution(run) for run in self._runs),
            transfers=tuple(_transfer(fetch) for fetch in self._fetches),
            warnings=tuple(warnings),
            holdings=tuple(self._holding(x, x.part) for x in self._fetches if x.part is not None),
            verdict_cycles=tuple(self.verdict_cycles),
            idle_power=IdlePower(simulator.idle_pj_per_cycle, REST),
        )

    def _run(self) -> list[float]:
        simulator = self._simulator
        exits = {name: stage for stage, name in enumerate(simulator.workload.exits)}
        verdicts = [0.0] * simulator.workload.num_stages
        for layer in simulator.workload.layers:
            if GRAPH_INPUT in layer.inputs and GRAPH_INPUT not in self._ends:
                bits = layer.shape.num_inputs * max(layer.shape.activation_bits, 8)
                memory = simulator.chip.shared_memory
                self._ends[GRAPH_INPUT] = self._fetch(layer, None, TransferKind.INPUT, memory, bits, 0.0)
            ready = max(self._ends[name] for name in layer.inputs)
            if layer.stage:
                ready = max(ready, verdicts[layer.stage - 1])
            if layer.shape.op is Op.ACTIVATION:
                self._ends[layer.name] = ready
            else:
                if not simulator.overlapping:
                    ready = max(ready, self._all_done)
                parts = self._choice[layer.name].parts
                self._ends[layer.name] = max(self._run_part(layer, part, ready) for part in parts)
                self._all_done = max(self._all_done, self._ends[layer.name])
            if layer.name in exits:
                verdicts[exits[layer.name]] = self._ends[layer.name]
        return verdicts

    def _run_part(self, layer: Layer, part: CorePart, ready: float) -> float:
        start = max(ready, self._core_free[part.core])
        end = start + part.cycles
        memory = self._simulator.chip.core(part.core).weights
        if memory and part.weight_bits:
            held = self._memories[memory]
            fits = held.fits_from(part.weight_bits)
            loaded = self._fetch(layer, part, TransferKind.WEIGHTS, memory, part.weight_bits, fits)
            # Weights that exceed the memory are loaded while the layer runs, others before it starts.
            start = max(start, loaded) if part.weight_bits <= held.size_bits else start
            end = max(start + part.cycles, loaded)
            held.put(part.weight_bits, end)
            self._fetches[-1] = self._fetches[-1]._replace(free_cycle=end)
        streamed = self._simulator.streamed_bits.get(layer.name, 0)
        if streamed:
            share = -(-streamed * part.channels // (layer.shape.g * layer.shape.k))
            shared_memory = self._simulator.chip.shared_memory
            end = max(end, self._fetch(layer, None, TransferKind.EVICTION, shared_memory, share, start))
        self._core_free[part.core] = end
        self._runs.append(_PartRun(layer, part, start, end))
        return end

    def _fetch(
        self, layer: Layer, part: CorePart | None, kind: TransferKind, memory: str, bits: int, ready: float
    ) -> float:
        start = max(ready, self._link_free)
        end = start + -(-bits // self._simulator.chip.transfer_bits_per_cycle)
        self._link_free = end
        self._fetches.append(_Fetch(layer, part, kind, memory, bits, start, end, end))
        return end

    def _energy_pj(self, run: _PartRun) -> float:
        return self._simulator.active_pj_per_cycle[run.part.core] * (run.end_cycle - run.start_cycle)

    def _execution(self, run: _PartRun) -> Execution:
        energy = self._energy_pj(run)
        array = min(energy, self._simulator.engine.array_energy_pj(run.part.shape, run.part.core))
        return Execution(
            layer=run.layer.name,
            core=run.part.core,
            start_cycle=run.start_cycle,
            end_cycle=run.end_cycle,
            result=_region(run.part),
            mac_energy_pj=array,
            memory_energy=(MemoryEnergy(REST, "I", energy - array),),
        )

    def _holding(self, fetch: _Fetch, part: CorePart) -> Holding:
        bits = min(fetch.bits, self._simulator.memory_bits[fetch.memory])
        name, start = _tensor_name(fetch), fetch.start_cycle
        return Holding(part.core, fetch.memory, name, _region(part), bits, start, fetch.free_cycle)


def _region(part: CorePart) -> Region:
    return Region(part.first_channel, part.first_channel + part.channels, 0, part.shape.oy)


def _tensor_name(fetch: _Fetch) -> str:
    if fetch.kind is TransferKind.INPUT:
        return GRAPH_INPUT
    return f"weights of {fetch.layer.name}" if fetch.kind is TransferKind.WEIGHTS else fetch.layer.name


def _transfer(fetch: _Fetch) -> Transfer:
    """Its energy is part of the powers of the chip."""
    return Transfer(
        tensor=_tensor_name(fetch),
        kind=fetch.kind,
        origin=fetch.layer.name,
        sender=OFFCHIP,
        receiver=fetch.memory,
        media=(OFFCHIP,),
        start_cycle=fetch.start_cycle,
        end_cycle=fetch.end_cycle,
        bits=fetch.bits,
        energy_pj=0.0,
        region=None if fetch.part is None else _region(fetch.part),
    )


def _streamed_bits(workload: Workload, capacity_bits: int) -> dict[str, int]:
    """Bits of each layer that do not fit beside what later layers still need; layers that fit are left out.

    They are written to the off-chip memory and read again, so they count twice.
    """
    made_by: dict[str, str] = {}
    last_use: dict[str, int] = {}
    for index, layer in enumerate(workload.layers):
        # An activation function changes values in place.
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
        excess = waiting + _operand_bits(layer.shape, len(layer.inputs)) - capacity_bits
        if excess > 0:
            found[layer.name] = 2 * excess
        sizes[layer.name] = layer.shape.num_outputs * max(layer.shape.activation_bits, 8)
    return found


def _operand_bits(shape: LayerShape, num_inputs: int) -> int:
    """Bits of all inputs and the result of a layer, which it needs at the same time, at 8 bits and more each."""
    width = max(shape.activation_bits, 8)
    return (num_inputs * shape.num_inputs + shape.num_outputs) * width
