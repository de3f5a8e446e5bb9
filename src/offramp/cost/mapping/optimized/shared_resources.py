"""Links and cores over time: what is sent when, what is made when; one thing at a time on each."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from offramp.cost.mapping.exit_energy import EnergyCharge
from offramp.cost.mapping.optimized.layer_blocks import Block
from offramp.cost.mapping.optimized.memory_occupancy import Stay
from offramp.cost.mapping.optimized.tasks import Stretch
from offramp.cost.mapping.optimized.transfers import Passage
from offramp.cost.mapping.resource_timeline import Timeline
from offramp.cost.report import LayerCost
from offramp.cost.schedule import Execution, Region, Transfer, TransferKind


class _Sent(NamedTuple):
    passage: Passage
    tensor: str
    kind: TransferKind
    origin: str
    start: float


class _Made(NamedTuple):
    stretch: Stretch
    block: Block
    cores: Sequence[str]
    start: float
    weights: Mapping[str, str]


class Fabric:
    """Books the first common idle span of all links of a passage, or of all cores of a block.

    Most schedules are only compared with others, so their parts are put into words when somebody asks for them.
    """

    def __init__(self) -> None:
        self.charges: list[EnergyCharge] = []
        self.last_cycle = 0.0
        self._sent: list[_Sent] = []
        self._made: list[_Made] = []
        self._media: dict[str, Timeline] = {}
        self._cores: dict[str, Timeline] = {}

    def fork(self) -> "Fabric":
        """The same in a world of its own."""
        other = Fabric()
        other.charges, other._sent, other._made = self.charges.copy(), self._sent.copy(), self._made.copy()
        other.last_cycle = self.last_cycle
        other._media = {name: timeline.fork() for name, timeline in self._media.items()}
        other._cores = {name: timeline.fork() for name, timeline in self._cores.items()}
        return other

    def send(self, passage: Passage, tensor: str, kind: TransferKind, origin: str, ready: float) -> float:
        """Book a passage, not before ``ready``; returns when it is through."""
        duration = passage.duration
        start = _book(self._media, passage.media, ready, duration)
        self._sent.append(_Sent(passage, tensor, kind, origin, start))
        self.charges.append(EnergyCharge(origin, start, passage.energy_pj))
        return start + duration

    def compute(
        self,
        stretch: Stretch,
        block: Block,
        cores: Sequence[str],
        ready: float,
        stays: list[tuple[str, Stay]],
    ) -> float:
        """All cores start together, in the first span that is free on each of them."""
        working = [core for core, duration in zip(cores, block.durations, strict=True) if duration]
        start = _window(self._cores, working, ready, block.duration)
        for core, duration in zip(cores, block.durations, strict=True):
            if duration:
                self._cores[core].take(start, duration, ())
        self._made.append(_Made(stretch, block, cores, start, {core: stay.tensor for core, stay in reversed(stays)}))
        self.charges.append(EnergyCharge(stretch.layer.name, start, block.energy_pj))
        end = start + block.duration
        self.last_cycle = max(self.last_cycle, end)
        return end

    def executions(self) -> tuple[Execution, ...]:
        """What every core makes, in the order in which it was planned."""
        return tuple(execution for made in self._made for execution in _executions(made))

    def transfers(self) -> tuple[Transfer, ...]:
        """What every link carries, in the order in which it was planned."""
        return tuple(transfer for sent in self._sent for transfer in _transfers(sent))


def _book(timelines: dict[str, Timeline], names: Sequence[str], ready: float, duration: float) -> float:
    start = _window(timelines, names, ready, duration)
    for name in names:
        timelines[name].take(start, duration, ())
    return start


def _window(timelines: dict[str, Timeline], names: Sequence[str], ready: float, duration: float) -> float:
    """First cycle from which all that is named is idle for ``duration``."""
    found = []
    for name in names:
        timeline = timelines.get(name)
        if timeline is None:
            timeline = timelines[name] = Timeline()
        found.append(timeline)
    if len(found) == 1:
        return found[0].earliest(ready, duration)
    start = ready
    while True:
        later = start
        for timeline in found:
            later = timeline.earliest(later, duration)
        if later == start:
            return start
        start = later


def _transfers(sent: _Sent) -> Iterable[Transfer]:
    passage = sent.passage
    for index, (receiver, energy) in enumerate(zip(passage.receivers, passage.energies_pj, strict=True)):
        yield Transfer(
            tensor=sent.tensor,
            kind=sent.kind,
            origin=sent.origin,
            sender=passage.sender,
            receiver=receiver,
            media=passage.media,
            start_cycle=sent.start,
            end_cycle=sent.start + passage.duration,
            bits=passage.bits,
            energy_pj=energy,
            broadcast=index > 0,
            region=passage.region,
        )


def _executions(made: _Made) -> Iterable[Execution]:
    block = made.block
    parts = zip(made.cores, block.results, block.costs, block.durations, block.weight_bits, strict=True)
    for core, result, cost, duration, bits in parts:
        if cost is not None:
            weights = made.weights.get(core, "") if bits else ""
            yield _execution(made.stretch, core, result, made.start, duration, cost, weights)


def _execution(
    stretch: Stretch, core: str, result: Region, start: float, duration: int, cost: LayerCost, weights: str
) -> Execution:
    return Execution(
        layer=stretch.layer.name,
        core=core,
        result=result,
        start_cycle=start,
        end_cycle=start + duration,
        mac_energy_pj=cost.mac_energy_pj,
        memory_energy=cost.memory_energy,
        weights=weights,
    )
