"""From the tasks of a plan to a schedule that keeps all rules of the hardware."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from offramp.cost.mapping.exit_energy import EnergyCharge
from offramp.cost.mapping.optimized.candidates.task_builder import TaskBuilder
from offramp.cost.mapping.optimized.candidates.tasks import LayerTile, SourceTensor, Task
from offramp.cost.mapping.optimized.core_groups import CoreGroup
from offramp.cost.mapping.optimized.mapping_steps import MappingStep
from offramp.cost.mapping.optimized.router import RoutedTransfer, Router
from offramp.cost.mapping.optimized.simulation.memory_occupancy import Residency
from offramp.cost.mapping.optimized.simulation.shared_resources import SharedResources
from offramp.cost.mapping.optimized.simulation.tensor_placement import PlacedTensor, TensorPart, TensorPlacement
from offramp.cost.schedule import Region, Schedule, TransferKind
from offramp.workload.graph import GRAPH_INPUT


class Speculation(StrEnum):
    """What may happen for the next stage before the verdict of an exit."""

    WAIT = "wait"
    """Nothing."""
    LOAD = "load"
    """Weights are loaded."""
    START = "start"
    """Weights are loaded and the next stage computes."""


@dataclass
class _TaskRun:
    """State of a task while it runs.

    ``made`` is its result, ``loaded`` its weights by layer and block, ``inside`` the space of the tensor that passes
    from one layer of a tile to the next; ``previous`` is the layer before in the same tile.
    """

    index: int
    task: Task
    made: PlacedTensor
    loaded: dict[tuple[str, int], list[tuple[str, Residency]]] = field(default_factory=dict)
    inside: list[Residency] = field(default_factory=list)
    previous: str = ""
    previous_end: float = 0.0

    @property
    def result_stays_in_place(self) -> bool:
        """Whether the result stays on the cores that compute it."""
        return self.task.layout.cores == self.task.cores

    def outer(self, layer_tile: LayerTile) -> list[SourceTensor]:
        """Sources that are not the result of the layer before in the same tile."""
        return [source for source in layer_tile.sources if source.tensor != self.previous]


class PlanSimulator:
    """Runs the tasks of one plan, in order."""

    def __init__(
        self,
        group: CoreGroup,
        builder: TaskBuilder,
        router: Router,
        steps: frozenset[MappingStep],
        speculation: Sequence[Speculation],
        tasks: Sequence[Task],
    ) -> None:
        """Start at cycle 0, with all weights and the graph input in the off-chip memory.

        Args:
            group: The cores.
            builder: What built the tasks; it knows the tensors of the network.
            router: Plans transfers between the cores.
            steps: Steps of the mapping that are switched on.
            speculation: One mode per exit; that of the last has no meaning.
            tasks: The plan.
        """
        self._tasks = tasks
        self._group, self._builder, self._router = group, builder, router
        self._steps = steps
        self._prefetch = MappingStep.PREFETCH in steps
        self._speculation = speculation
        self._resources = SharedResources()
        self._placement = TensorPlacement(group, builder, router, self._resources)
        self._verdicts: list[float] = []
        self._compute_gate = self._link_gate = self._clock = 0.0
        self._stage = 0
        self._uses: dict[str, list[int]] = {}
        for index, task in enumerate(tasks):
            for name in task.reads:
                self._uses.setdefault(name, []).append(index)
        given = TensorPart(group.offchip.name, builder.tensors[GRAPH_INPUT].whole, 0.0)
        held = PlacedTensor(builder.offchip, 0.0, self._uses.get(GRAPH_INPUT, []), [given])
        self._placement.tensors[GRAPH_INPUT] = held

    @property
    def verdict_cycles(self) -> tuple[float, ...]:
        """Verdicts of the exits that have been passed."""
        return tuple(self._verdicts)

    @property
    def charges(self) -> Sequence[EnergyCharge]:
        """Energy of all executions and transfers so far."""
        return self._resources.charges

    def schedule(self) -> Schedule:
        """All that has been run, in plain values."""
        return Schedule(
            executions=self._resources.executions(),
            transfers=self._resources.transfers(),
            warnings=tuple(self._placement.warnings),
            holdings=self._placement.holdings(),
            verdict_cycles=self.verdict_cycles,
        )

    def run(self) -> None:
        """Run the whole plan.

        Raises:
            UnsupportedLayerError: A layer does not fit a memory, even with everything else off chip.
        """
        for index, task in enumerate(self._tasks):
            self._enter_stage(task.layers[0].stage)
            self._run_task(_TaskRun(index, task, PlacedTensor(task.layout, 0.0, self._uses.get(task.result, []))))
            if task.result in self._builder.exits:
                self._reach_verdict(task.result)

    def _enter_stage(self, stage: int) -> None:
        """Let the next stage wait for the verdict where the mode of speculation says so."""
        while self._stage < stage:
            verdict = self._verdicts[self._stage]
            mode = self._speculation[self._stage]
            if mode is not Speculation.START:
                self._compute_gate = max(self._compute_gate, verdict)
            if mode is Speculation.WAIT:
                self._link_gate = max(self._link_gate, verdict)
                self._placement.forget_before(verdict)
            self._stage += 1

    def _reach_verdict(self, tensor: str) -> None:
        """Send logits to the off-chip memory; their arrival is the verdict."""
        held = self._placement.tensors[tensor]
        if held.layout != self._builder.offchip:
            self._placement.move_off_chip(tensor, held, TransferKind.LOGITS)
        self._verdicts.append(max([held.ready, *self._verdicts[-1:]]))

    def _run_task(self, run: _TaskRun) -> None:
        task, made, done = run.task, run.made, 0.0
        if task.streamed:
            done = self._run_streamed(run)
        for number, tile in enumerate(() if task.streamed else task.tiles):
            run.previous, run.previous_end, run.inside = "", 0.0, []
            for layer_tile in tile:
                read, run.inside = run.inside, []
                done = self._run_layer_tile(run, layer_tile, number)
                for residency in read:
                    residency.end = done
                run.previous, run.previous_end = layer_tile.layer.name, done
            if not run.result_stays_in_place:
                done = self._deliver_result(run, tile[-1], done)
            for residency in run.inside:
                residency.end = done
        for blocks in run.loaded.values():
            for _, residency in blocks:
                residency.end = done
        made.ready = max(done, made.ready)
        self._placement.tensors[task.result] = made
        self._clock = max(self._clock, made.ready)
        for name in task.reads:
            self._placement.count_use(name, run.index, done)

    def _run_streamed(self, run: _TaskRun) -> float:
        """Compute with all operands off chip; the core, its memories and the way to the off-chip memory are busy."""
        (core,), placement = run.task.cores, self._placement
        placement.clear(core)
        ready = max(self._clock, self._compute_gate, self._link_gate)
        for name in run.task.reads:
            held = placement.tensors[name]
            if held.layout != self._builder.offchip:
                placement.move_off_chip(name, held, TransferKind.EVICTION)
            ready = max(ready, held.ready)
        ready = max(ready, placement.empty_from(core))
        layer_tile, offchip = run.task.tiles[0][0], self._group.offchip.name
        (block,) = layer_tile.blocks.blocks
        media = (*self._group.route(offchip, core).media, *self._group.route(core, offchip).media)
        done = self._resources.compute(layer_tile, block, run.task.cores, ready, [], tuple(dict.fromkeys(media)))
        placement.occupy(core, Residency(run.task.result, block.results[0], 0, done - block.duration, done))
        run.made.parts = [TensorPart(offchip, block.results[0], done)]
        return done

    def _run_layer_tile(self, run: _TaskRun, layer_tile: LayerTile, tile: int) -> float:
        """Bring inputs and weights and compute; returns when the last block is done."""
        task, made = run.task, run.made
        keeps = run.result_stays_in_place and layer_tile.layer.name == task.result
        reserves = not keeps or not made.residencies
        regions = task.layout.regions(self._builder.tensors[layer_tile.layer.name]) if keeps else layer_tile.results
        space_from = self._space_for(run, layer_tile, regions if reserves else None)
        copies: list[Residency] = []
        arrivals = self._fetch(run, layer_tile, space_from, copies)
        ready = max(space_from, self._inputs_ready(run, layer_tile, arrivals, 0))
        if reserves:
            (made.residencies if keeps else run.inside).extend(self._reserve(task, layer_tile, regions, ready))
        done = ready
        for number, block in enumerate(layer_tile.blocks.blocks):
            key = (layer_tile.layer.name, number)
            arrived = 0.0
            if key not in run.loaded:
                begin = self._link_gate if self._prefetch else max(self._clock, done)
                arrived, run.loaded[key] = self._load(run, layer_tile, number, tile, begin)
            start = max(self._inputs_ready(run, layer_tile, arrivals, number), arrived, done)
            done = self._resources.compute(layer_tile, block, task.cores, start, run.loaded[key])
            if not task.resident:
                for _, residency in run.loaded.pop(key):
                    residency.end = done
            if keeps:
                made.parts += [TensorPart(core, x, done) for core, x in zip(task.cores, block.results, strict=True)]
        self._clock = max(self._clock, done)
        for residency in copies:
            residency.end = done
        return done

    def _space_for(self, run: _TaskRun, layer_tile: LayerTile, results: Sequence[Region] | None) -> float:
        """Cycle from which copies of inputs, and ``results`` if given, fit the memories, all at the same time.

        To make space, even a tensor that is about to be read may go off chip; it is then read from there.
        """
        task, tensors = run.task, self._placement.tensors
        shape = self._builder.tensors[layer_tile.layer.name]
        made = [shape.bits(region) for region in results] if results is not None else [0] * len(task.cores)
        outer = run.outer(layer_tile)
        begin = max(self._compute_gate, run.previous_end)
        while True:
            parts = [part.ready for source in outer for part in tensors[source.tensor].parts]
            missing = [self._placement.missing_bits(x.tensor, x.needs, task.cores) for x in outer]
            sizes = [sum(column) for column in zip(made, *missing, strict=True)]
            layouts = [tensors[source.tensor].layout for source in outer]
            start = max(begin, min(parts, default=0.0), 0.0 if self._prefetch else self._clock)
            space_from = self._placement.make_space(run.index, task.cores, sizes, start)
            if layouts == [tensors[source.tensor].layout for source in outer]:
                return space_from

    def _reserve(self, task: Task, layer_tile: LayerTile, regions: Sequence[Region], start: float) -> list[Residency]:
        """Reserve space for the result of a layer: for all tiles where it stays in place, else for this tile."""
        shape = self._builder.tensors[layer_tile.layer.name]
        return [
            self._placement.activation_memories[core].take(
                Residency(layer_tile.layer.name, region, shape.bits(region), start)
            )
            for core, region in zip(task.cores, regions, strict=True)
        ]

    def _fetch(
        self, run: _TaskRun, layer_tile: LayerTile, space_from: float, copies: list[Residency]
    ) -> dict[str, list[TensorPart]]:
        """Bring the inputs of a layer.

        Returns where the parts of each tensor are and from when on. ``copies`` gets the space that they take.
        """
        arrivals: dict[str, list[TensorPart]] = {}
        cores = run.task.cores
        for source in run.outer(layer_tile):
            held = self._placement.tensors[source.tensor]
            sizes = self._placement.missing_bits(source.tensor, source.needs, cores)
            copies += [
                self._placement.activation_memories[core].take(Residency(source.tensor, need, size, space_from))
                for core, need, size in zip(cores, source.needs, sizes, strict=True)
                if size
            ]
            shape = self._builder.tensors[source.tensor]
            traffic = self._router.traffic(shape, held.layout, source.needs, cores)
            kind = TransferKind.INPUT if source.tensor == GRAPH_INPUT else TransferKind.ACTIVATION
            found = [part for part in held.parts if part.core in cores]
            for ready, routed in self._by_part(source.tensor, held, traffic.transfers):
                end = self._resources.send(routed, source.tensor, kind, layer_tile.layer.name, max(ready, space_from))
                found += [TensorPart(core, routed.region, end) for core in routed.receivers]
            arrivals[source.tensor] = found
        return arrivals

    def _by_part(
        self, name: str, held: PlacedTensor, transfers: Sequence[RoutedTransfer]
    ) -> list[tuple[float, RoutedTransfer]]:
        """Transfers divided so that each part leaves as soon as it is computed; the earliest first."""
        shape = self._builder.tensors[name]
        cut: list[tuple[float, RoutedTransfer]] = []
        for routed in transfers:
            for part in held.parts:
                if part.core != routed.sender or not part.region.meets(routed.region):
                    continue
                common = part.region.overlap(routed.region)
                if common != routed.region:
                    bits = shape.bits(common)
                    divided = self._router.route_transfer(routed.sender, routed.receivers, common, bits, weights=False)
                    cut.append((part.ready, divided))
                else:
                    cut.append((part.ready, routed))
        return sorted(cut, key=lambda item: item[0])

    def _inputs_ready(
        self, run: _TaskRun, layer_tile: LayerTile, arrivals: dict[str, list[TensorPart]], block: int
    ) -> float:
        """Cycle from which all inputs of one block are available."""
        ready = max(self._compute_gate, run.previous_end)
        for source in layer_tile.sources:
            needs = source.block_needs[block] if source.block_needs else source.needs
            wanted = dict(zip(run.task.cores, needs, strict=True))
            for part in arrivals.get(source.tensor, ()):
                if part.ready > ready and part.region.meets(wanted[part.core]):
                    ready = part.ready
        return ready

    def _load(
        self, run: _TaskRun, layer_tile: LayerTile, number: int, tile: int, begin: float
    ) -> tuple[float, list[tuple[str, Residency]]]:
        """Load the weights of one block into the weight memories of the cores that use it.

        Returns when they are there, and the space that they take by core.
        """
        block = layer_tile.blocks.blocks[number]
        name = f"weights of {layer_tile.layer.name}/{tile}.{number}"
        arrived, residencies = 0.0, list[tuple[str, Residency]]()
        weight_buffers = self._placement.weight_buffers
        for routed in self._router.weight_loads(block, run.task.cores, shared=layer_tile.blocks.shared_weights):
            bits, unit = routed.bits, routed.region
            space_from = max([begin, *(weight_buffers[core].fits_from(bits) for core in routed.receivers)])
            end = self._resources.send(routed, name, TransferKind.WEIGHTS, layer_tile.layer.name, space_from)
            residencies += [
                (core, weight_buffers[core].take(Residency(name, unit, bits, end - routed.duration)))
                for core in routed.receivers
            ]
            arrived = max(arrived, end)
        self._placement.weight_residencies += residencies
        return arrived, residencies

    def _deliver_result(self, run: _TaskRun, layer_tile: LayerTile, ready: float) -> float:
        """Send a tile of the result from where it was computed to where it is kept."""
        task, made = run.task, run.made
        shape = self._builder.tensors[task.result]
        off = made.layout == self._builder.offchip
        if not made.residencies and not off:
            regions = made.layout.regions(shape)
            sizes = [shape.bits(region) for region in regions]
            space_from = self._placement.make_space(run.index, made.layout.cores, sizes, ready)
            ready = max(ready, space_from)
            made.residencies = [
                self._placement.activation_memories[core].take(Residency(task.result, region, size, space_from))
                for core, region, size in zip(made.layout.cores, regions, sizes, strict=True)
            ]
        kind = TransferKind.EVICTION if off else TransferKind.ACTIVATION
        if off and task.result in self._builder.exits:
            kind = TransferKind.LOGITS
        done = ready
        for routed in self._router.delivery(shape, layer_tile.results, task.cores, made.layout).transfers:
            end = self._resources.send(routed, task.result, kind, task.result, ready)
            made.parts.append(TensorPart(routed.receivers[0], routed.region, end))
            done = max(done, end)
        return done
