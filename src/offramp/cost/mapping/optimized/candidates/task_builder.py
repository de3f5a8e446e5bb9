"""The candidate tasks of a layer on a group of cores, as far as the steps that are switched on allow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from offramp.cost.mapping.optimized.candidates.block_pricer import BlockPricer
from offramp.cost.mapping.optimized.candidates.layer_blocks import Block, BlockCut, LayerBlocks, cut_into_blocks
from offramp.cost.mapping.optimized.candidates.tasks import LayerTile, SourceTensor, Task
from offramp.cost.mapping.optimized.core_groups import CoreGroup
from offramp.cost.mapping.optimized.mapping_steps import MappingStep
from offramp.cost.mapping.optimized.tensor_regions import (
    Axis,
    Layout,
    TensorShape,
    even_cuts,
    input_tensor,
    needed_region,
    output_tensor,
)
from offramp.cost.mapping.placement import OPERANDS, with_offchip_level
from offramp.cost.schedule import Region
from offramp.cost.sparsity_gain import as_priced
from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError
from offramp.hardware.accelerator import Core
from offramp.numerics.dominance import distinct_front
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from offramp.workload.layer import MATRIX_OPS, LayerShape, Op

KEEP_SPACE_FOR = 4
"""A result stays on the pooling or SIMD core if that could hold so many of it; else it goes to the compute cores."""

PIPELINE_BLOCKS = 6
"""Number of blocks of a layer, so that results are sent while more are computed."""


@dataclass(frozen=True, eq=False)
class _Template:
    """The tasks of a layer, which can be reused for an equal layer."""

    group: CoreGroup
    tasks: list[Task]


class TaskBuilder:
    """Builds the candidate tasks for the layers of one network on one group of cores.

    Attributes:
        group: The cores.
        offchip: The layout of a tensor in the off-chip memory.
        origin: By layer, the layer that computes its result; activation functions change values in place.
        tensors: Shapes of all tensors, by name.
        exits: Names of the tensors that are logits of an exit.
        layers: All layers but activation functions, in the order in which they run.
    """

    def __init__(
        self, workload: Workload, group: CoreGroup, pricer: BlockPricer, steps: frozenset[MappingStep]
    ) -> None:
        """Collect the tensors of the network.

        Args:
            workload: The network.
            group: The cores.
            pricer: Prices parts of layers; keeps candidates for the next network.
            steps: Steps of the mapping that are switched on.
        """
        self.group = group
        self._pricer = pricer
        self._steps = steps
        self._cores: dict[str, Core] = {
            core.name: core for core in (*group.compute_cores, group.pooling, group.simd) if core
        }
        self.offchip = Layout(Axis.WHOLE, (group.offchip.name,))
        self.origin: dict[str, str] = {GRAPH_INPUT: GRAPH_INPUT}
        self.tensors: dict[str, TensorShape] = {}
        timed = [layer for layer in workload.layers if self._record_tensors(layer)]
        self.exits = frozenset(self.origin[name] for name in workload.exits)
        # A branch may be listed among later layers; here it comes before them, which its inputs allow.
        self.layers = tuple(sorted(timed, key=lambda layer: (layer.stage, layer.role is Role.BRANCH)))

    def _record_tensors(self, layer: Layer) -> bool:
        """Record the tensors of ``layer``; False for activation functions, which are free."""
        free = layer.shape.op is Op.ACTIVATION
        self.origin[layer.name] = self.origin[layer.inputs[0]] if free else layer.name
        if free:
            return False
        self.tensors[layer.name] = output_tensor(layer.shape)
        if GRAPH_INPUT in layer.inputs and GRAPH_INPUT not in self.tensors:
            self.tensors[GRAPH_INPUT] = input_tensor(layer.shape)
        return True

    def sources(self, layer: Layer) -> tuple[str, ...]:
        """Name the tensors that a layer reads.

        Args:
            layer: The layer.

        Returns:
            Each name once.
        """
        return tuple(dict.fromkeys(self.origin[name] for name in layer.inputs))

    def options(self, layers: Sequence[Layer]) -> list[Task]:
        """Build all candidate tasks for a layer or a chain.

        Args:
            layers: The layer, or the layers of the chain in order.

        Returns:
            The candidates, without those that others beat in time and energy.

        Raises:
            UnpricedJobsError: No core can run it.
        """
        layer = layers[0]
        if len(layers) > 1 or layer.shape.op is Op.CONCAT:
            return self._all_options(layers)
        names = self.sources(layer)
        key = (id(self.group), self._steps, layer.shape, tuple(self.tensors[name] for name in names))
        known = self._pricer.templates.get(key)
        if known is None:
            # The template keeps its group alive, so that no other group can get the same id.
            known = self._pricer.templates[key] = _Template(self.group, self._all_options(layers))
        assert isinstance(known, _Template)
        return [task.for_layer(layer, names) for task in known.tasks]

    def _all_options(self, layers: Sequence[Layer]) -> list[Task]:
        found: list[Task] = []
        faults: list[UnpricedJob] = []
        for layout in self._layouts(layers):
            for cut in self._cuts(layers):
                task = self._task(layers, layout, cut)
                if isinstance(task, Task):
                    found.append(task)
                else:
                    faults.append(task)
        if not found and len(layers) == 1:
            return self.streamed(layers[0])
        if not found:
            raise UnpricedJobsError(self._pricer.engines[0].name, (faults[0],))
        return _without_dominated(found)

    def streamed(self, layer: Layer) -> list[Task]:
        """Build tasks that leave all operands in the off-chip memory, for a layer of which no tile fits.

        Args:
            layer: The layer.

        Returns:
            One task per engine that has a price.

        Raises:
            UnpricedJobsError: The engine has no price.
        """
        faults: list[UnpricedJob] = []
        core = self.group.core_for(layer.shape.op) or self.group.compute_cores[0]
        backed = with_offchip_level(core, self.group.offchip, OPERANDS)
        whole, nothing = self.tensors[layer.name].whole, Region(0, 0, 0, 0)
        found = []
        for variant in range(len(self._pricer.engines)):
            cost = self._pricer.price(variant, as_priced(layer.shape, core), backed)
            if isinstance(cost, UnpricedJob):
                faults.append(UnpricedJob(layer.shape, core.name, cost.reason))
                continue
            blocks = LayerBlocks((Block((whole,), (cost,), (0,), (nothing,)),), shared_weights=False)
            sources = tuple(SourceTensor(name, (nothing,)) for name in self.sources(layer))
            tile = (LayerTile(layer, sources, (whole,), blocks),)
            found.append(Task((layer,), (core.name,), (tile,), self.offchip, resident=False, streamed=True))
        if not found:
            raise UnpricedJobsError(self._pricer.engines[0].name, (faults[0],))
        return _without_dominated(found)

    def _cuts(self, layers: Sequence[Layer]) -> list[BlockCut]:
        """More blocks let results travel earlier, but a convolution then reads its input more often."""
        engines = range(len(self._pricer.engines) if MappingStep.OPTIMUM in self._steps else 1)
        if MappingStep.PREFETCH not in self._steps or len(layers) > 1:
            return [BlockCut(engine) for engine in engines]
        if _channels_apart(layers[0]):
            return [BlockCut(engine, PIPELINE_BLOCKS) for engine in engines]
        counts = (1, PIPELINE_BLOCKS) if MappingStep.OPTIMUM in self._steps else (1,)
        return [BlockCut(engine, least) for engine in engines for least in counts]

    def _layouts(self, layers: Sequence[Layer]) -> Iterator[Layout]:
        """How the work may be divided among cores."""
        shape = layers[-1].shape
        fixed = self.group.core_for(shape.op)
        compute_cores = tuple(core.name for core in self.group.compute_cores)
        if fixed is not None:
            yield Layout(Axis.WHOLE, (fixed.name,))
            return
        yield Layout(Axis.WHOLE, compute_cores[:1])
        if MappingStep.SPLIT not in self._steps or len(compute_cores) < 2:
            return
        rows = min(len(compute_cores), shape.oy)
        if rows > 1:
            yield Layout(Axis.ROWS, compute_cores[:rows])
        steps = shape.g if shape.g > 1 else shape.k
        if len(layers) == 1 and steps > 1:
            yield Layout(Axis.CHANNELS, compute_cores[: min(len(compute_cores), steps)], shape.k if shape.g > 1 else 1)

    def _task(self, layers: Sequence[Layer], layout: Layout, cut: BlockCut) -> Task | UnpricedJob:
        """Whole if it fits the cores, else in as few tiles as do, with the result off chip where it must."""
        fault = UnpricedJob(layers[0].shape, layout.cores[0], "what it needs at once exceeds the core's memory")
        for result_layout in self._result_layouts(layers[-1], layout):
            for count in self._tile_counts(layers, layout):
                tiles = self._tile_regions(layers, layout, count)
                if not self._fits(layers, tiles, layout, result_layout):
                    continue
                task = self._priced(layers, tiles, layout, result_layout, cut)
                if isinstance(task, Task):
                    return task
                fault = task
        return fault

    def _result_layouts(self, layer: Layer, layout: Layout) -> list[Layout]:
        """Where the result may be kept afterwards, the best first."""
        if MappingStep.ON_CHIP not in self._steps:
            return [self.offchip]
        tensor = self.tensors[layer.name]
        compute_cores = tuple(core.name for core in self.group.compute_cores)
        elsewhere = layout.cores[0] not in compute_cores
        if not elsewhere:
            return [layout, self.offchip]
        spread = (
            Layout(Axis.ROWS, compute_cores[: min(len(compute_cores), tensor.rows)])
            if tensor.rows > 1
            else Layout(Axis.WHOLE, compute_cores[:1])
        )
        if KEEP_SPACE_FOR * tensor.size_bits <= self.group.activation_memories[layout.cores[0]].size_bits:
            return [layout, spread, self.offchip]
        return [spread, self.offchip]

    def _tile_counts(self, layers: Sequence[Layer], layout: Layout) -> list[int]:
        most = max(
            region.channels if _tiles_channels(layers) else region.rows
            for region in layout.regions(self.tensors[layers[-1].name])
        )
        counts = []
        count = 1
        while count < most:
            counts.append(count)
            count *= 2
        return [*counts, most]

    def _tile_regions(self, layers: Sequence[Layer], layout: Layout, count: int) -> list[tuple[Region, ...]]:
        """Per tile and core, the part of the last result."""
        parts = layout.regions(self.tensors[layers[-1].name])
        if count == 1:
            return [parts]
        step = layers[-1].shape.k if layers[-1].shape.g > 1 else 1
        along_channels = _tiles_channels(layers)
        return [tuple(_tile_of(part, index, count, along_channels, step) for part in parts) for index in range(count)]

    def _fits(
        self, layers: Sequence[Layer], tiles: Sequence[tuple[Region, ...]], layout: Layout, result_layout: Layout
    ) -> bool:
        last = self.tensors[layers[-1].name]
        if result_layout not in (layout, self.offchip):
            kept = zip(result_layout.cores, result_layout.regions(last), strict=True)
            if any(last.bits(part) > self.group.activation_memories[core].size_bits for core, part in kept):
                return False
        residencies = [last.bits(part) if result_layout == layout else 0 for part in layout.regions(last)]
        for finals in tiles:
            steps = self._backwards(layers, finals)
            for index, (layer, results) in enumerate(zip(layers, steps, strict=True)):
                own = self.tensors[layer.name]
                final = index == len(layers) - 1
                for core, result in enumerate(results):
                    needs = sum(
                        self.tensors[name].bits(self._need(layer, name, result)) for name in self.sources(layer)
                    )
                    made = 0 if final and result_layout == layout else own.bits(result)
                    if needs + made + residencies[core] > self.group.activation_memories[layout.cores[core]].size_bits:
                        return False
        return True

    def _need(self, layer: Layer, source: str, result: Region) -> Region:
        tensor = self.tensors[source]
        if layer.shape.op is Op.CONCAT and not result.empty:
            # Only where rows of the result are rows of every source: channels or columns are joined.
            rows = (result.first_row, result.end_row) if tensor.rows == layer.shape.oy else (0, tensor.rows)
            return Region(0, tensor.channels, *rows)
        return needed_region(layer.shape, result, tensor)

    def _needs_of_blocks(self, layer: Layer, source: str, blocks: LayerBlocks) -> tuple[tuple[Region, ...], ...]:
        """Per block and core; empty where every block needs the same."""
        if len(blocks.blocks) == 1 or not _channels_apart(layer):
            return ()
        return tuple(tuple(self._need(layer, source, result) for result in block.results) for block in blocks.blocks)

    def _backwards(self, layers: Sequence[Layer], finals: tuple[Region, ...]) -> list[tuple[Region, ...]]:
        """What each layer of a chain has to compute for the last one to compute ``finals``."""
        steps = [finals]
        for before, layer in zip(reversed(layers[:-1]), reversed(layers[1:]), strict=True):
            steps.append(tuple(self._need(layer, before.name, result) for result in steps[-1]))
        return steps[::-1]

    def _priced(
        self,
        layers: Sequence[Layer],
        tiles: Sequence[tuple[Region, ...]],
        layout: Layout,
        result_layout: Layout,
        cut: BlockCut,
    ) -> Task | UnpricedJob:
        cores = [self._cores[name] for name in layout.cores]
        done: list[tuple[LayerTile, ...]] = []
        for finals in tiles:
            layer_tiles = []
            for layer, results in zip(layers, self._backwards(layers, finals), strict=True):
                blocks = cut_into_blocks(layer.shape, results, cores, self.group, self._pricer, cut)
                if isinstance(blocks, UnpricedJob):
                    return blocks
                sources = tuple(
                    SourceTensor(
                        name,
                        tuple(self._need(layer, name, result) for result in results),
                        self._needs_of_blocks(layer, name, blocks),
                    )
                    for name in self.sources(layer)
                )
                layer_tiles.append(LayerTile(layer, sources, results, blocks))
            done.append(tuple(layer_tiles))
        memory_bits = min(self.group.weight_memories[name].size_bits for name in layout.cores)
        loaded = sum(layer_tile.blocks.resident_bits for layer_tile in done[0])
        # Tiles along channels need other weights each.
        resident = len(done) > 1 and loaded <= memory_bits and not _tiles_channels(layers)
        return Task(tuple(layers), layout.cores, tuple(done), result_layout, resident)


def _tiles_channels(layers: Sequence[Layer]) -> bool:
    """Whether tiles divide channels, which needs no halo: for one layer that treats channels apart; else rows."""
    shape: LayerShape = layers[0].shape
    if len(layers) > 1 or shape.op is Op.CONCAT:
        return False
    return shape.op not in MATRIX_OPS or shape.g > 1 or shape.op is Op.DENSE


def _channels_apart(layer: Layer) -> bool:
    """Whether each channel of the result needs the same channel of the inputs only."""
    shape = layer.shape
    return shape.op is not Op.CONCAT and (shape.op not in MATRIX_OPS or (shape.g > 1 and shape.op is Op.CONV))


def _tile_of(part: Region, index: int, count: int, along_channels: bool, step: int) -> Region:
    if along_channels:
        cuts = even_cuts(part.channels // step, count)
        first = part.first_channel
        return Region(first + cuts[index] * step, first + cuts[index + 1] * step, part.first_row, part.end_row)
    cuts = even_cuts(part.rows, count)
    first = part.first_row
    return Region(part.first_channel, part.end_channel, first + cuts[index], first + cuts[index + 1])


def _without_dominated(tasks: list[Task]) -> list[Task]:
    """Of tasks with the same results on the same cores, those that no other beats in time and energy."""
    ordered = sorted(tasks, key=lambda item: (item.duration, item.energy_pj))
    alike: dict[tuple[object, ...], list[int]] = {}
    for place, task in enumerate(ordered):
        alike.setdefault((task.cores, task.layout, _division(task)), []).append(place)
    kept: list[int] = []
    for places in alike.values():
        points = np.array([(ordered[place].duration, ordered[place].energy_pj) for place in places])
        kept += [places[row] for row in distinct_front(points)]
    return [ordered[place] for place in sorted(kept)]


def _division(task: Task) -> tuple[int, tuple[Region, ...]]:
    return task.num_blocks, task.tiles[0][-1].results
