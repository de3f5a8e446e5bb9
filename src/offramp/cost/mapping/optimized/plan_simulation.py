"""From tasks to a schedule: when each piece is made and each part travels, all rules of the chip kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from offramp.cost.mapping.exit_energy import EnergyCharge
from offramp.cost.mapping.optimized.core_groups import Chip
from offramp.cost.mapping.optimized.mapping_steps import MappingStep
from offramp.cost.mapping.optimized.memory_occupancy import Stay
from offramp.cost.mapping.optimized.shared_resources import Fabric
from offramp.cost.mapping.optimized.task_candidates import TaskBuilder
from offramp.cost.mapping.optimized.tasks import Source, Stretch, Task
from offramp.cost.mapping.optimized.tensor_placement import HeldTensor, Memories, Part
from offramp.cost.mapping.optimized.transfers import Passage, Router
from offramp.cost.schedule import Region, Schedule, TransferKind
from offramp.workload.graph import GRAPH_INPUT


class Speculation(StrEnum):
    """What may happen for the next stage before the verdict of an exit."""

    WAIT = "wait"
    LOAD = "load"
    """Weights are fetched."""
    START = "start"
    """Weights are fetched and the next stage computes."""


@dataclass
class _Run:
    """A task while it runs: what it makes, its weights by layer and block, and what the tile before holds."""

    index: int
    task: Task
    made: HeldTensor
    loaded: dict[tuple[str, int], list[tuple[str, Stay]]] = field(default_factory=dict)
    inside: list[Stay] = field(default_factory=list)
    previous: str = ""
    previous_end: float = 0.0

    @property
    def stays_put(self) -> bool:
        """The result remains on the cores that make it."""
        return self.task.layout.cores == self.task.cores

    def outer(self, stretch: Stretch) -> list[Source]:
        """Sources that do not come from the stretch before in the same tile."""
        return [source for source in stretch.sources if source.tensor != self.previous]


class Simulator:
    """Runs the tasks of one plan, in order, stage by stage.

    ``speculation``: one mode per exit, the last without meaning. ``fork`` gives a second one that goes on from the same
    point with other modes, so that what they have in common is run once.
    """

    def __init__(
        self,
        chip: Chip,
        builder: TaskBuilder,
        router: Router,
        steps: frozenset[MappingStep],
        speculation: Sequence[Speculation],
        tasks: Sequence[Task],
    ) -> None:
        self._tasks = tasks
        self._chip, self._builder, self._router = chip, builder, router
        self._steps = steps
        self._prefetch = MappingStep.PREFETCH in steps
        self._speculation = speculation
        self._fabric = Fabric()
        self._memories = Memories(chip, builder, router, self._fabric)
        self._verdicts: list[float] = []
        self._compute_gate = self._link_gate = self._clock = 0.0
        self._stage = self._next = 0
        self._uses: dict[str, list[int]] = {}
        for index, task in enumerate(tasks):
            for name in task.reads:
                self._uses.setdefault(name, []).append(index)
        given = Part(chip.offchip.name, builder.tensors[GRAPH_INPUT].whole, 0.0)
        held = HeldTensor(builder.offchip, 0.0, self._uses.get(GRAPH_INPUT, []), [given])
        self._memories.tensors[GRAPH_INPUT] = held

    def fork(self, speculation: Sequence[Speculation]) -> "Simulator":
        """Another one at the same point, between two stages, with other modes from here on."""
        other = Simulator(self._chip, self._builder, self._router, self._steps, speculation, self._tasks)
        other._fabric = self._fabric.fork()
        other._memories = self._memories.fork(other._fabric)
        other._verdicts = list(self._verdicts)
        other._compute_gate, other._link_gate, other._clock = self._compute_gate, self._link_gate, self._clock
        other._stage, other._next = self._stage, self._next
        return other

    @property
    def verdict_cycles(self) -> tuple[float, ...]:
        return tuple(self._verdicts)

    @property
    def charges(self) -> Sequence[EnergyCharge]:
        return self._fabric.charges

    def schedule(self) -> Schedule:
        """What has been run, in full."""
        return Schedule(
            executions=self._fabric.executions(),
            transfers=self._fabric.transfers(),
            warnings=tuple(self._memories.warnings),
            holdings=self._memories.holdings(),
            verdict_cycles=self.verdict_cycles,
        )

    @property
    def finished(self) -> bool:
        return self._next == len(self._tasks)

    @property
    def next_stage(self) -> int:
        return self._tasks[self._next].layers[0].stage

    def run(self) -> None:
        """All stages that are left."""
        while not self.finished:
            self.run_stage()

    def run_stage(self) -> None:
        """The next stage; UnsupportedLayerError for a layer that fits no memory even with all else off chip."""
        stage = self._tasks[self._next].layers[0].stage
        self._enter(stage)
        while not self.finished and self._tasks[self._next].layers[0].stage == stage:
            index, task = self._next, self._tasks[self._next]
            self._next += 1
            run = _Run(index, task, HeldTensor(task.layout, 0.0, self._uses.get(task.result, [])))
            self._run_task(run)
            if task.result in self._builder.exits:
                self._leave(task.result)

    def _enter(self, stage: int) -> None:
        """Let the next stage wait for the verdict, or not."""
        while self._stage < stage:
            verdict = self._verdicts[self._stage]
            mode = self._speculation[self._stage]
            if mode is not Speculation.START:
                self._compute_gate = max(self._compute_gate, verdict)
            if mode is Speculation.WAIT:
                self._link_gate = max(self._link_gate, verdict)
                self._memories.forget_before(verdict)
            self._stage += 1

    def _leave(self, tensor: str) -> None:
        """Logits go to the off-chip memory: the verdict."""
        held = self._memories.tensors[tensor]
        if held.layout != self._builder.offchip:
            self._memories.move_out(tensor, held, TransferKind.LOGITS)
        self._verdicts.append(max([held.ready, *self._verdicts[-1:]]))

    def _run_task(self, run: _Run) -> None:
        task, made, done = run.task, run.made, 0.0
        for number, tile in enumerate(task.tiles):
            run.previous, run.previous_end, run.inside = "", 0.0, []
            for stretch in tile:
                read, run.inside = run.inside, []
                done = self._run_stretch(run, stretch, number)
                for stay in read:
                    stay.end = done
                run.previous, run.previous_end = stretch.layer.name, done
            if not run.stays_put:
                done = self._hand_over(run, tile[-1], done)
            for stay in run.inside:
                stay.end = done
        for blocks in run.loaded.values():
            for _, stay in blocks:
                stay.end = done
        made.ready = max(done, made.ready)
        self._memories.tensors[task.result] = made
        self._clock = max(self._clock, made.ready)
        for name in task.reads:
            self._memories.count_use(name, run.index, done)

    def _run_stretch(self, run: _Run, stretch: Stretch, tile: int) -> float:
        """Fetch, compute; returns when the last block is done."""
        task, made = run.task, run.made
        keeps = run.stays_put and stretch.layer.name == task.result
        reserves = not keeps or not made.stays
        regions = task.layout.regions(self._builder.tensors[stretch.layer.name]) if keeps else stretch.results
        room = self._room_for(run, stretch, regions if reserves else None)
        copies: list[Stay] = []
        arrivals = self._fetch(run, stretch, room, copies)
        ready = max(room, self._inputs_ready(run, stretch, arrivals, 0))
        if reserves:
            (made.stays if keeps else run.inside).extend(self._reserve(task, stretch, regions, ready))
        done = ready
        for number, block in enumerate(stretch.blocks.blocks):
            key = (stretch.layer.name, number)
            arrived = 0.0
            if key not in run.loaded:
                begin = self._link_gate if self._prefetch else max(self._clock, done)
                arrived, run.loaded[key] = self._load(run, stretch, number, tile, begin)
            start = max(self._inputs_ready(run, stretch, arrivals, number), arrived, done)
            done = self._fabric.compute(stretch, block, task.cores, start, run.loaded[key])
            if not task.resident:
                for _, stay in run.loaded.pop(key):
                    stay.end = done
            if keeps:
                made.parts += [Part(core, x, done) for core, x in zip(task.cores, block.results, strict=True)]
        self._clock = max(self._clock, done)
        for stay in copies:
            stay.end = done
        return done

    def _room_for(self, run: _Run, stretch: Stretch, results: Sequence[Region] | None) -> float:
        """Cycle from which copies of inputs, and ``results`` if given, have room, all at once.

        To make it, even a tensor that is about to be read may go off chip: it is then fetched from there.
        """
        task, tensors = run.task, self._memories.tensors
        shape = self._builder.tensors[stretch.layer.name]
        made = [shape.bits(region) for region in results] if results is not None else [0] * len(task.cores)
        outer = run.outer(stretch)
        begin = max(self._compute_gate, run.previous_end)
        while True:
            parts = [part.ready for source in outer for part in tensors[source.tensor].parts]
            missing = [self._memories.missing_bits(x.tensor, x.needs, task.cores) for x in outer]
            sizes = [sum(column) for column in zip(made, *missing, strict=True)]
            layouts = [tensors[source.tensor].layout for source in outer]
            start = max(begin, min(parts, default=0.0), 0.0 if self._prefetch else self._clock)
            room = self._memories.make_room(run.index, task.cores, sizes, start)
            if layouts == [tensors[source.tensor].layout for source in outer]:
                return room

    def _reserve(self, task: Task, stretch: Stretch, regions: Sequence[Region], start: float) -> list[Stay]:
        """Take room for what a stretch makes: for all tiles when it stays, else for this tile."""
        shape = self._builder.tensors[stretch.layer.name]
        return [
            self._memories.rooms[core].take(Stay(stretch.layer.name, region, shape.bits(region), start))
            for core, region in zip(task.cores, regions, strict=True)
        ]

    def _fetch(self, run: _Run, stretch: Stretch, room: float, copies: list[Stay]) -> dict[str, list[Part]]:
        """Bring what the stretch reads: by tensor, what is where from when on. ``copies`` gets the room it takes."""
        arrivals: dict[str, list[Part]] = {}
        cores = run.task.cores
        for source in run.outer(stretch):
            held = self._memories.tensors[source.tensor]
            sizes = self._memories.missing_bits(source.tensor, source.needs, cores)
            copies += [
                self._memories.rooms[core].take(Stay(source.tensor, need, size, room))
                for core, need, size in zip(cores, source.needs, sizes, strict=True)
                if size
            ]
            shape = self._builder.tensors[source.tensor]
            traffic = self._router.traffic(shape, held.layout, source.needs, cores)
            kind = TransferKind.INPUT if source.tensor == GRAPH_INPUT else TransferKind.ACTIVATION
            found = [part for part in held.parts if part.core in cores]
            for ready, passage in self._by_part(source.tensor, held, traffic.passages):
                end = self._fabric.send(passage, source.tensor, kind, stretch.layer.name, max(ready, room))
                found += [Part(core, passage.region, end) for core in passage.receivers]
            arrivals[source.tensor] = found
        return arrivals

    def _by_part(self, name: str, held: HeldTensor, passages: Sequence[Passage]) -> list[tuple[float, Passage]]:
        """Passages cut so that each part leaves when it is made; the earliest first."""
        shape = self._builder.tensors[name]
        cut: list[tuple[float, Passage]] = []
        for passage in passages:
            for part in held.parts:
                if part.core != passage.sender or not part.region.meets(passage.region):
                    continue
                common = part.region.overlap(passage.region)
                if common != passage.region:
                    bits = shape.bits(common)
                    piece = self._router.passage(passage.sender, passage.receivers, common, bits, weights=False)
                    cut.append((part.ready, piece))
                else:
                    cut.append((part.ready, passage))
        return sorted(cut, key=lambda item: item[0])

    def _inputs_ready(self, run: _Run, stretch: Stretch, arrivals: dict[str, list[Part]], block: int) -> float:
        """Cycle from which one block has all that it reads."""
        ready = max(self._compute_gate, run.previous_end)
        for source in stretch.sources:
            needs = source.block_needs[block] if source.block_needs else source.needs
            wanted = dict(zip(run.task.cores, needs, strict=True))
            for part in arrivals.get(source.tensor, ()):
                if part.ready > ready and part.region.meets(wanted[part.core]):
                    ready = part.ready
        return ready

    def _load(
        self, run: _Run, stretch: Stretch, number: int, tile: int, begin: float
    ) -> tuple[float, list[tuple[str, Stay]]]:
        """Weights of one block into the weight memories of the cores that use it."""
        block = stretch.blocks.blocks[number]
        name = f"weights of {stretch.layer.name}/{tile}.{number}"
        arrived, stays = 0.0, list[tuple[str, Stay]]()
        rings = self._memories.rings
        for passage in self._router.weight_loads(block, run.task.cores, shared=stretch.blocks.shared_weights):
            bits, unit = passage.bits, passage.region
            room = max([begin, *(rings[core].room_from(bits) for core in passage.receivers)])
            end = self._fabric.send(passage, name, TransferKind.WEIGHTS, stretch.layer.name, room)
            stays += [
                (core, rings[core].take(Stay(name, unit, bits, end - passage.duration))) for core in passage.receivers
            ]
            arrived = max(arrived, end)
        self._memories.weight_stays += stays
        return arrived, stays

    def _hand_over(self, run: _Run, stretch: Stretch, ready: float) -> float:
        """Send a tile of the result from where it was made to where it is to lie."""
        task, made = run.task, run.made
        shape = self._builder.tensors[task.result]
        off = made.layout == self._builder.offchip
        if not made.stays and not off:
            regions = made.layout.regions(shape)
            sizes = [shape.bits(region) for region in regions]
            room = self._memories.make_room(run.index, made.layout.cores, sizes, ready)
            ready = max(ready, room)
            made.stays = [
                self._memories.rooms[core].take(Stay(task.result, region, size, room))
                for core, region, size in zip(made.layout.cores, regions, sizes, strict=True)
            ]
        kind = TransferKind.EVICTION if off else TransferKind.ACTIVATION
        if off and task.result in self._builder.exits:
            kind = TransferKind.LOGITS
        done = ready
        for passage in self._router.delivery(shape, stretch.results, task.cores, made.layout).passages:
            end = self._fabric.send(passage, task.result, kind, task.result, ready)
            made.parts.append(Part(passage.receivers[0], passage.region, end))
            done = max(done, end)
        return done
