"""From tasks to a schedule: every piece and every move gets its cycle; nothing runs twice on a link or core at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count

from offramp.cost.base import LayerCost
from offramp.cost.mapper.build import TaskBuilder
from offramp.cost.mapper.chip import Chip
from offramp.cost.mapper.passages import Passage, Router
from offramp.cost.mapper.regions import Layout, Region
from offramp.cost.mapper.rooms import FOREVER, RoomUse, Stay, WeightRing
from offramp.cost.mapper.schedule import Holding, MappedSchedule, Move, Piece
from offramp.cost.mapper.steps import Step
from offramp.cost.mapper.tasks import Stretch, Task
from offramp.cost.mapper.works import Block
from offramp.cost.schedule import TransferKind
from offramp.cost.timeline import Timeline
from offramp.errors import UnsupportedLayerError
from offramp.workload.graph import GRAPH_INPUT, Workload


class Speculation(StrEnum):
    """What may happen for the next stage before the verdict of an exit."""

    WAIT = "wait"
    LOAD = "load"
    """Weights are fetched."""
    START = "start"
    """Weights are fetched and the next stage computes."""


@dataclass(frozen=True)
class _Part:
    """A region that is on a core from a cycle on."""

    core: str
    region: Region
    ready: float


@dataclass
class _Tensor:
    """Where a tensor lies, complete since ``ready``; ``stays``: the room that it takes on each core of its layout."""

    layout: Layout
    ready: float
    uses: list[int]
    parts: list[_Part] = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)
    last_use: float = 0.0


class Simulator:
    """Runs the tasks of one plan, in order; use once."""

    def __init__(
        self,
        workload: Workload,
        chip: Chip,
        builder: TaskBuilder,
        router: Router,
        steps: frozenset[Step],
        speculation: Sequence[Speculation],
    ) -> None:
        self._workload, self._chip, self._builder, self._router, self._steps = workload, chip, builder, router, steps
        self._speculation = speculation
        self._exits = builder.exits
        self._media: dict[str, Timeline] = {}
        self._cores: dict[str, Timeline] = {}
        self._rooms = {name: RoomUse(room.size_bits) for name, room in chip.rooms.items()}
        self._rings = {name: WeightRing(room.size_bits) for name, room in chip.weight_rooms.items()}
        self._weight_stays: list[tuple[str, Stay]] = []
        self._pieces: list[Piece] = []
        self._moves: list[Move] = []
        self._verdicts: list[float] = []
        self._warnings: list[str] = []
        self._numbers = count()
        self._compute_gate = self._link_gate = self._clock = 0.0
        self._stage = 0
        self._tensors: dict[str, _Tensor] = {}

    def run(self, tasks: Sequence[Task]) -> MappedSchedule:
        """Raises UnsupportedLayerError for a layer that fits no memory even with all else off chip."""
        uses: dict[str, list[int]] = {}
        for index, task in enumerate(tasks):
            for source in task.tiles[0][0].sources:
                uses.setdefault(source.tensor, []).append(index)
            for stretch in task.tiles[0][1:]:
                for source in stretch.sources:
                    if source.tensor not in {layer.name for layer in task.layers}:
                        uses.setdefault(source.tensor, []).append(index)
        given = _Part(self._chip.offchip.name, self._builder.tensors[GRAPH_INPUT].whole, 0.0)
        self._tensors[GRAPH_INPUT] = _Tensor(self._builder.offchip, 0.0, uses.get(GRAPH_INPUT, []), [given])
        for index, task in enumerate(tasks):
            self._enter(task.layers[0].stage)
            self._run_task(index, task, uses.get(task.result, []))
            if task.result in self._exits:
                self._leave(task.result)
        return MappedSchedule(
            tuple(self._pieces), tuple(self._moves), self._holdings(), tuple(self._verdicts), tuple(self._warnings)
        )

    def _enter(self, stage: int) -> None:
        """Let the next stage wait for the verdict, or not."""
        while self._stage < stage:
            verdict = self._verdicts[self._stage] if self._stage < len(self._verdicts) else self._clock
            mode = self._speculation[self._stage]
            if mode is not Speculation.START:
                self._compute_gate = max(self._compute_gate, verdict)
            if mode is Speculation.WAIT:
                self._link_gate = max(self._link_gate, verdict)
                for room in self._rooms.values():
                    room.forget_before(verdict)
            self._stage += 1

    def _leave(self, tensor: str) -> None:
        """Logits go to the off-chip memory: the verdict."""
        held = self._tensors[tensor]
        if held.layout != self._builder.offchip:
            self._move_out(tensor, held, TransferKind.LOGITS)
        self._verdicts.append(held.ready)

    def _run_task(self, index: int, task: Task, uses: list[int]) -> None:
        made = _Tensor(task.layout, 0.0, uses)
        loaded: dict[tuple[str, int], list[tuple[str, Stay]]] = {}
        own = task.layout.cores == task.cores
        done = 0.0
        for number, tile in enumerate(task.tiles):
            previous: tuple[str, float] | None = None
            inside: list[Stay] = []
            for stretch in tile:
                final = stretch.layer.name == task.result
                done = self._run_stretch(index, task, stretch, number, previous, made, final and own, loaded, inside)
                previous = (stretch.layer.name, done)
            if not own:
                done = self._hand_over(task, tile[-1], made, done)
            for stay in inside:
                stay.end = done
        for blocks in loaded.values():
            for _, stay in blocks:
                stay.end = max(stay.end if stay.end != FOREVER else 0.0, done)
        made.ready = max(done, made.ready)
        self._tensors[task.result] = made
        self._clock = max(self._clock, made.ready)
        names = {source.tensor for tile in task.tiles[:1] for stretch in tile for source in stretch.sources}
        for name in names - {layer.name for layer in task.layers}:
            self._count_use(name, index, done)

    def _run_stretch(
        self,
        index: int,
        task: Task,
        stretch: Stretch,
        tile: int,
        previous: tuple[str, float] | None,
        made: _Tensor,
        keeps: bool,
        loaded: dict[tuple[str, int], list[tuple[str, Stay]]],
        inside: list[Stay],
    ) -> float:
        """Fetch, compute; returns when the last block is done."""
        reserves = not keeps or not made.stays
        regions = task.layout.regions(self._builder.tensors[stretch.layer.name]) if keeps else stretch.results
        room = self._room_for(index, task, stretch, previous, regions if reserves else None)
        arrivals, copies = self._fetch(task, stretch, previous, room)
        ready = max(room, self._inputs_ready(stretch, arrivals, 0, task.cores, previous))
        serial = Step.PREFETCH not in self._steps
        if reserves:
            (made.stays if keeps else inside).extend(self._reserve(task, stretch, regions, ready))
        done = ready
        for number, block in enumerate(stretch.blocks.blocks):
            key = (stretch.layer.name, number)
            if key not in loaded:
                loaded[key] = []
                start = max(self._clock, done) if serial else self._link_gate
                arrived, stays = self._load(stretch, number, block, tile, task.cores, start)
                loaded[key] = stays
            else:
                arrived, stays = 0.0, loaded[key]
            there = self._inputs_ready(stretch, arrivals, number, task.cores, previous)
            done = self._compute(stretch, block, task.cores, max(there, arrived, done), stays, task.resident)
            if keeps:
                made.parts += [
                    _Part(core, result, done) for core, result in zip(task.cores, block.results, strict=True)
                ]
            if not task.resident:
                del loaded[key]
        self._clock = max(self._clock, done)
        for stay in copies:
            stay.end = done
        return done

    def _room_for(
        self,
        index: int,
        task: Task,
        stretch: Stretch,
        previous: tuple[str, float] | None,
        results: Sequence[Region] | None,
    ) -> float:
        """Cycle from which copies of inputs, and ``results`` if given, have room, all at once.

        To make it, even a tensor that is about to be read may go off chip: it is then fetched from there.
        """
        shape = self._builder.tensors[stretch.layer.name]
        made = [shape.bits(region) for region in results] if results is not None else [0] * len(task.cores)
        names = [x for x in stretch.sources if previous is None or x.tensor != previous[0]]
        begin = self._compute_gate if previous is None else max(self._compute_gate, previous[1])
        while True:
            parts = [part.ready for x in names for part in self._tensors[x.tensor].parts]
            sizes = [
                sum(column)
                for column in zip(
                    made, *(self._missing_bits(x.tensor, x.needs, task.cores) for x in names), strict=True
                )
            ]
            layouts = [self._tensors[x.tensor].layout for x in names]
            start = max(begin, min(parts, default=0.0), 0.0 if Step.PREFETCH in self._steps else self._clock)
            room = self._make_room(index, task.cores, sizes, start)
            if layouts == [self._tensors[x.tensor].layout for x in names]:
                return room

    def _reserve(self, task: Task, stretch: Stretch, regions: Sequence[Region], start: float) -> list[Stay]:
        """Take room for what a stretch makes: for all tiles when it stays, else for this tile."""
        shape = self._builder.tensors[stretch.layer.name]
        return [
            self._rooms[core].take(Stay(stretch.layer.name, region, shape.bits(region), start))
            for core, region in zip(task.cores, regions, strict=True)
        ]

    def _fetch(
        self, task: Task, stretch: Stretch, previous: tuple[str, float] | None, room: float
    ) -> tuple[dict[str, list[_Part]], list[Stay]]:
        """Bring what the stretch reads; returns by tensor what is where from when on, and the room that copies take."""
        arrivals: dict[str, list[_Part]] = {}
        copies: list[Stay] = []
        for source in stretch.sources:
            if previous is not None and source.tensor == previous[0]:
                continue
            held = self._tensors[source.tensor]
            sizes = self._missing_bits(source.tensor, source.needs, task.cores)
            copies += [
                self._rooms[core].take(Stay(source.tensor, need, size, room))
                for core, need, size in zip(task.cores, source.needs, sizes, strict=True)
                if size
            ]
            traffic = self._router.traffic(
                self._builder.tensors[source.tensor], held.layout, source.needs, task.cores
            )
            kind = TransferKind.INPUT if source.tensor == GRAPH_INPUT else TransferKind.ACTIVATION
            found = [part for part in held.parts if part.core in task.cores]
            for ready, passage in self._by_part(source.tensor, held, traffic.passages):
                end = self._send(passage, source.tensor, kind, stretch.layer.name, max(ready, room))
                found += [_Part(core, passage.region, end) for core in passage.receivers]
            arrivals[source.tensor] = found
        return arrivals, copies

    def _by_part(self, name: str, held: _Tensor, passages: Sequence[Passage]) -> list[tuple[float, Passage]]:
        """Passages cut so that each part leaves when it is made; the earliest first."""
        shape = self._builder.tensors[name]
        cut: list[tuple[float, Passage]] = []
        for passage in passages:
            for part in held.parts:
                common = part.region.overlap(passage.region)
                if part.core != passage.sender or common.empty:
                    continue
                if common != passage.region:
                    bits = shape.bits(common)
                    piece = self._router.passage(passage.sender, passage.receivers, common, bits, weights=False)
                    cut.append((part.ready, piece))
                else:
                    cut.append((part.ready, passage))
        return sorted(cut, key=lambda item: item[0])

    def _inputs_ready(
        self,
        stretch: Stretch,
        arrivals: dict[str, list[_Part]],
        block: int,
        cores: Sequence[str],
        previous: tuple[str, float] | None,
    ) -> float:
        """Cycle from which one block has all that it reads."""
        ready = self._compute_gate if previous is None else max(self._compute_gate, previous[1])
        for source in stretch.sources:
            needs = source.block_needs[block] if source.block_needs else source.needs
            wanted = dict(zip(cores, needs, strict=True))
            for part in arrivals.get(source.tensor, ()):
                if part.ready > ready and not part.region.overlap(wanted[part.core]).empty:
                    ready = part.ready
        return ready

    def _missing_bits(self, tensor: str, needs: Sequence[Region], cores: Sequence[str]) -> list[int]:
        """Per core, the bits of its need that do not lie there."""
        shape, layout = self._builder.tensors[tensor], self._tensors[tensor].layout
        here = dict(zip(layout.cores, layout.regions(shape), strict=True))
        sizes = []
        for core, need in zip(cores, needs, strict=True):
            common = here[core].overlap(need) if core in here else None
            sizes.append(shape.bits(need) - (shape.bits(common) if common is not None else 0))
        return sizes

    def _load(
        self, stretch: Stretch, number: int, block: Block, tile: int, cores: Sequence[str], begin: float
    ) -> tuple[float, list[tuple[str, Stay]]]:
        """Weights of one block into the weight memories of the cores that use it."""
        users = [(core, bits, unit) for core, bits, unit in zip(cores, block.weight_bits, block.units, strict=True) if bits]
        name = f"weights of {stretch.layer.name}/{tile}.{number}"
        arrived, stays = 0.0, list[tuple[str, Stay]]()
        groups = [users] if stretch.blocks.shared_weights and users else [[user] for user in users]
        for group in groups:
            bits, unit = group[0][1], group[0][2]
            receivers = tuple(core for core, _, _ in group)
            room = max([begin, *(self._rings[core].room_from(bits) for core in receivers)])
            passage = self._router.passage(self._chip.offchip.name, receivers, unit, bits, weights=True)
            end = self._send(passage, name, TransferKind.WEIGHTS, stretch.layer.name, room)
            for core in receivers:
                stay = self._rings[core].take(Stay(name, unit, bits, end - passage.duration))
                stays.append((core, stay))
                self._weight_stays.append((core, stay))
            arrived = max(arrived, end)
        return arrived, stays

    def _compute(
        self,
        stretch: Stretch,
        block: Block,
        cores: Sequence[str],
        ready: float,
        stays: list[tuple[str, Stay]],
        resident: bool,
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
            self._pieces.append(_piece(stretch, core, result, start, duration, cost, weights))
        end = start + block.duration
        if not resident:
            for _, stay in stays:
                stay.end = end
        return end

    def _hand_over(self, task: Task, stretch: Stretch, made: _Tensor, ready: float) -> float:
        """Send a tile of the result from where it was made to where it is to lie."""
        shape = self._builder.tensors[task.result]
        targets = made.layout.regions(shape)
        off = made.layout == self._builder.offchip
        if not made.stays and not off:
            made.stays = [
                self._rooms[core].take(Stay(task.result, region, shape.bits(region), ready))
                for core, region in zip(made.layout.cores, targets, strict=True)
            ]
        done = ready
        kind = TransferKind.EVICTION if off else TransferKind.ACTIVATION
        if off and task.result in self._exits:
            kind = TransferKind.LOGITS
        for passage in self._router.delivery(shape, stretch.results, task.cores, made.layout).passages:
            end = self._send(passage, task.result, kind, task.result, ready)
            made.parts.append(_Part(passage.receivers[0], passage.region, end))
            done = max(done, end)
        return done

    def _make_room(self, index: int, cores: Sequence[str], bits: Sequence[int], ready: float) -> float:
        """First cycle from which all the room is there; tensors whose next use is farthest go off chip if need be."""
        start = ready
        for core, size in zip(cores, bits, strict=True):
            if not size:
                continue
            fits = self._rooms[core].fits_from(start, size)
            while fits == FOREVER:
                victim = self._victim(core, index)
                if victim is None:
                    raise UnsupportedLayerError(
                        f"A part of {size} bits must fit the memory of core {core!r} "
                        f"({self._rooms[core].size_bits} bits) beside what is in use. Use a larger memory."
                    )
                self._move_out(victim, self._tensors[victim], TransferKind.EVICTION)
                fits = self._rooms[core].fits_from(start, size)
            start = max(start, fits)
        return start

    def _victim(self, core: str, index: int) -> str | None:
        held = [name for name, tensor in self._tensors.items() if core in tensor.layout.cores and tensor.stays]
        usable = [name for name in held if any(stay.end == FOREVER for stay in self._tensors[name].stays)]
        next_use: Callable[[str], float] = lambda name: min(
            (use for use in self._tensors[name].uses if use >= index), default=FOREVER
        )
        return max(usable, key=next_use, default=None)

    def _move_out(self, name: str, held: _Tensor, kind: TransferKind) -> None:
        """A tensor to the off-chip memory; its room comes back."""
        shape, off = self._builder.tensors[name], self._builder.offchip
        done = held.ready
        for core, region, stay in zip(held.layout.cores, held.layout.regions(shape), held.stays, strict=True):
            bits = shape.bits(region)
            passage = self._router.passage(core, off.cores, region, bits, weights=False)
            end = self._send(passage, name, kind, name, held.ready)
            stay.end = max(end, held.last_use)
            done = max(done, end)
        if kind is TransferKind.EVICTION:
            self._warnings.append(f"{name!r} goes off chip for lack of room.")
        held.layout, held.ready, held.stays = off, done, []
        held.parts = [_Part(self._chip.offchip.name, shape.whole, done)]

    def _count_use(self, name: str, index: int, end: float) -> None:
        held = self._tensors[name]
        held.last_use = max(held.last_use, end)
        if not any(use > index for use in held.uses):
            for stay in held.stays:
                stay.end = held.last_use
            held.stays = held.stays if held.layout == self._builder.offchip else []

    def _send(self, passage: Passage, tensor: str, kind: TransferKind, origin: str, ready: float) -> float:
        media = [self._media.setdefault(medium, Timeline()) for medium in passage.media]
        start = _common_window(media, ready, passage.duration)
        for timeline in media:
            timeline.take(start, passage.duration, ())
        number = next(self._numbers)
        for receiver, energy in zip(passage.receivers, passage.energies_pj, strict=True):
            self._moves.append(
                Move(
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
                    multicast=number,
                )
            )
        return start + passage.duration

    def _holdings(self) -> tuple[Holding, ...]:
        end = max((piece.end_cycle for piece in self._pieces), default=0.0)
        found = []
        for core, use in self._rooms.items():
            memory = self._chip.rooms[core].memory
            found += [_holding(core, memory, stay, end) for stay in (*use.done, *use.stays)]
        found += [_holding(c, self._chip.weight_rooms[c].memory + " (weights)", s, end) for c, s in self._weight_stays]
        return tuple(found)


def _holding(core: str, memory: str, stay: Stay, last: float) -> Holding:
    end = last if stay.end == FOREVER else stay.end
    return Holding(core, memory, stay.tensor, stay.region, stay.bits, stay.start, end)


def _common_window(timelines: Sequence[Timeline], ready: float, duration: float) -> float:
    start = ready
    while True:
        later = max((timeline.earliest(start, duration) for timeline in timelines), default=start)
        if later == start:
            return start
        start = later


def _piece(
    stretch: Stretch, core: str, result: Region, start: float, duration: int, cost: LayerCost, weights: str
) -> Piece:
    shape = stretch.layer.shape
    share = shape.macs * result.channels * result.rows
    whole = shape.g * shape.k * shape.oy
    return Piece(
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
