"""Links and cores over time: what is sent and what is computed when, one thing at a time on each."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from offramp.cost.mapping.exit_energy import EnergyCharge
from offramp.cost.mapping.optimized.candidates.layer_blocks import Block
from offramp.cost.mapping.optimized.candidates.tasks import LayerTile
from offramp.cost.mapping.optimized.router import RoutedTransfer
from offramp.cost.mapping.optimized.simulation.memory_occupancy import Residency
from offramp.cost.mapping.resource_timeline import Timeline
from offramp.cost.schedule import Execution, Transfer, TransferKind


class _Sent(NamedTuple):
    routed: RoutedTransfer
    tensor: str
    kind: TransferKind
    origin: str
    start: float


class _ComputedBlock(NamedTuple):
    layer_tile: LayerTile
    block: Block
    cores: Sequence[str]
    start: float
    weights: Mapping[str, str]
    media: tuple[str, ...]


class SharedResources:
    """Reserves the first common idle interval of all links of a transfer, or of all cores of a block.

    Most schedules are only compared with others, so plain values are made only on request.

    Attributes:
        charges: Energy of all executions and transfers.
        last_cycle: End of the last execution.
    """

    def __init__(self) -> None:
        """Start with everything idle."""
        self.charges: list[EnergyCharge] = []
        self.last_cycle = 0.0
        self._sent: list[_Sent] = []
        self._computed: list[_ComputedBlock] = []
        self._media: dict[str, Timeline] = {}
        self._cores: dict[str, Timeline] = {}

    def send(self, routed: RoutedTransfer, tensor: str, kind: TransferKind, origin: str, ready: float) -> float:
        """Reserve the links of a transfer.

        Args:
            routed: The transfer.
            tensor: Name of the tensor.
            kind: Why it is transferred.
            origin: The layer that is charged.
            ready: First cycle in which it may start.

        Returns:
            The cycle in which it has arrived.
        """
        duration = routed.duration
        start = _reserve_links(self._media, routed.media, ready, duration)
        self._sent.append(_Sent(routed, tensor, kind, origin, start))
        self.charges.append(EnergyCharge(origin, start, routed.energy_pj))
        return start + duration

    def compute(
        self,
        layer_tile: LayerTile,
        block: Block,
        cores: Sequence[str],
        ready: float,
        residencies: list[tuple[str, Residency]],
        media: tuple[str, ...] = (),
    ) -> float:
        """Reserve the cores of a block; all start together.

        Args:
            layer_tile: The layer.
            block: The block.
            cores: Names of the cores, in the order of the block's parts.
            ready: First cycle in which it may start.
            residencies: Space of the weights, by core.
            media: Links that are busy all the time, because the operands stay in the off-chip memory.

        Returns:
            The cycle in which the slowest core is done.
        """
        working = [core for core, duration in zip(cores, block.durations, strict=True) if duration]
        start = _window(self._cores, working, ready, block.duration)
        while media and (later := _window(self._media, media, start, block.duration)) > start:
            start = _window(self._cores, working, later, block.duration)
        for name in media:
            self._media[name].take(start, block.duration, ())
        for core, duration in zip(cores, block.durations, strict=True):
            if duration:
                self._cores[core].take(start, duration, ())
        self._computed.append(
            _ComputedBlock(
                layer_tile,
                block,
                cores,
                start,
                {core: residency.tensor for core, residency in reversed(residencies)},
                media,
            )
        )
        self.charges.append(EnergyCharge(layer_tile.layer.name, start, block.energy_pj))
        end = start + block.duration
        self.last_cycle = max(self.last_cycle, end)
        return end

    def executions(self) -> tuple[Execution, ...]:
        """What every core computes, in the order in which it was planned."""
        return tuple(execution for computed in self._computed for execution in _executions(computed))

    def transfers(self) -> tuple[Transfer, ...]:
        """What every link carries, in the order in which it was planned."""
        return tuple(transfer for sent in self._sent for transfer in _transfers(sent))


def _reserve_links(timelines: dict[str, Timeline], names: Sequence[str], ready: float, duration: float) -> float:
    start = _window(timelines, names, ready, duration)
    for name in names:
        timelines[name].take(start, duration, ())
    return start


def _window(timelines: dict[str, Timeline], names: Sequence[str], ready: float, duration: float) -> float:
    """First cycle from which everything that is named is idle for ``duration``."""
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
    routed = sent.routed
    for index, (receiver, energy) in enumerate(zip(routed.receivers, routed.energies_pj, strict=True)):
        yield Transfer(
            tensor=sent.tensor,
            kind=sent.kind,
            origin=sent.origin,
            sender=routed.sender,
            receiver=receiver,
            media=routed.media,
            start_cycle=sent.start,
            end_cycle=sent.start + routed.duration,
            bits=routed.bits,
            energy_pj=energy,
            broadcast=index > 0,
            region=routed.region,
        )


def _executions(computed: _ComputedBlock) -> Iterable[Execution]:
    block = computed.block
    parts = zip(computed.cores, block.results, block.costs, block.durations, block.weight_bits, strict=True)
    for core, result, cost, duration, bits in parts:
        if cost is not None:
            weights = computed.weights.get(core, "") if bits else ""
            yield Execution(
                layer=computed.layer_tile.layer.name,
                core=core,
                result=result,
                start_cycle=computed.start,
                end_cycle=computed.start + duration,
                mac_energy_pj=cost.mac_energy_pj,
                memory_energy=cost.memory_energy,
                weights=weights,
                held_media=computed.media,
            )
