"""Links and cores over time: what is sent when, what is made when; one thing at a time on each."""

from collections.abc import Sequence

from offramp.cost.base import LayerCost
from offramp.cost.mapper.passages import Passage
from offramp.cost.mapper.rooms import Stay
from offramp.cost.mapper.tasks import Stretch
from offramp.cost.mapper.works import Block
from offramp.cost.schedule import Execution, Region, Transfer, TransferKind
from offramp.cost.timeline import Timeline


class Fabric:
    """Books the first common idle span of all links of a passage, or of all cores of a block."""

    def __init__(self) -> None:
        self.executions: list[Execution] = []
        self.transfers: list[Transfer] = []
        self._media: dict[str, Timeline] = {}
        self._cores: dict[str, Timeline] = {}

    def send(self, passage: Passage, tensor: str, kind: TransferKind, origin: str, ready: float) -> float:
        """Book a passage, not before ``ready``; returns when it is through."""
        media = [self._media.setdefault(medium, Timeline()) for medium in passage.media]
        start = _common_window(media, ready, passage.duration)
        for timeline in media:
            timeline.take(start, passage.duration, ())
        for index, (receiver, energy) in enumerate(zip(passage.receivers, passage.energies_pj, strict=True)):
            self.transfers.append(
                Transfer(
                    tensor=tensor,
                    region=passage.region,
                    kind=kind,
                    origin=origin,
                    sender=passage.sender,
                    receiver=receiver,
                    media=passage.media,
                    start_cycle=start,
                    end_cycle=start + passage.duration,
                    bits=passage.bits,
                    energy_pj=energy,
                    broadcast=index > 0,
                )
            )
        return start + passage.duration

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
        timelines = [self._cores.setdefault(core, Timeline()) for core in working]
        start = _common_window(timelines, ready, block.duration)
        for core, result, cost, bits in zip(cores, block.results, block.costs, block.weight_bits, strict=True):
            if cost is None:
                continue
            duration = block.durations[cores.index(core)]
            self._cores.setdefault(core, Timeline()).take(start, duration, ())
            weights = next((stay.tensor for name, stay in stays if name == core), "") if bits else ""
            self.executions.append(_piece(stretch, core, result, start, duration, cost, weights))
        return start + block.duration


def _common_window(timelines: Sequence[Timeline], ready: float, duration: float) -> float:
    start = ready
    while True:
        later = max((timeline.earliest(start, duration) for timeline in timelines), default=start)
        if later == start:
            return start
        start = later


def _piece(
    stretch: Stretch, core: str, result: Region, start: float, duration: int, cost: LayerCost, weights: str
) -> Execution:
    shape = stretch.layer.shape
    share = shape.macs * result.channels * result.rows
    whole = shape.g * shape.k * shape.oy
    return Execution(
        layer=stretch.layer.name,
        core=core,
        result=result,
        start_cycle=start,
        end_cycle=start + duration,
        macs=share // whole,
        mac_energy_pj=cost.mac_energy_pj,
        memory_energy=cost.memory_energy,
        weights=weights,
    )
