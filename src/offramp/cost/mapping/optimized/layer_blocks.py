"""A layer cut into blocks: what each core makes between two loads of weights, and what that costs."""

import math
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

from offramp.cost.mapping.optimized.core_groups import Chip
from offramp.cost.price_cache import CachedEngine
from offramp.cost.report import LayerCost, LayerEngine
from offramp.cost.schedule import Region
from offramp.cost.sparsity_gain import as_priced, stored_weight_bits
from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError
from offramp.hardware.accelerator import Core
from offramp.workload.layer import MATRIX_OPS, LayerShape

LANES = 16
"""Blocks of output channels are multiples of this where they can be: arrays are filled by powers of two."""


class Pricer:
    """Prices of parts of layers, each asked of the engine once; ``variant`` numbers the engines."""

    def __init__(self, engines: Sequence[LayerEngine]) -> None:
        self.engines = tuple(engines)
        self._costs: dict[tuple[int, LayerShape, str, int], LayerCost | UnpricedJob] = {}
        self.templates: dict[Hashable, object] = {}
        """What a builder of tasks wants to find again with the next network."""
        self._cores: dict[Core, int] = {}
        self._numbers: dict[int, tuple[Core, int]] = {}

    @contextmanager
    def together(self) -> Iterator[None]:
        """Inside, engines that keep their prices in a file leave it open."""
        with ExitStack() as stack:
            for engine in self.engines:
                if isinstance(engine, CachedEngine):
                    stack.enter_context(engine.together())
            yield

    def price(self, variant: int, shape: LayerShape, core: Core) -> LayerCost | UnpricedJob:
        """A cost, or why the engine has none."""
        key = (variant, shape, core.kind.value, self._number(core))
        found = self._costs.get(key)
        if found is None:
            try:
                found = self.engines[variant].price([(shape, core)])[0]
            except UnpricedJobsError as exc:
                found = exc.jobs[0]
            self._costs[key] = found
        return found

    def _number(self, core: Core) -> int:
        """Cores that differ in name only are one; hashing a whole core takes long, so by identity first."""
        known = self._numbers.get(id(core))
        if known is None or known[0] is not core:
            plain = replace(core, name="", source="")
            known = self._numbers[id(core)] = (core, self._cores.setdefault(plain, len(self._cores)))
        return known[1]


@dataclass(frozen=True, eq=False)
class Block:
    """Made on all cores of a layout at once: per core the region, its cost and the weights that it needs there."""

    results: tuple[Region, ...]
    costs: tuple[LayerCost | None, ...]
    weight_bits: tuple[int, ...]
    units: tuple[Region, ...]

    @cached_property
    def durations(self) -> tuple[int, ...]:
        return tuple(0 if cost is None else math.ceil(cost.latency_cycles) for cost in self.costs)

    @cached_property
    def duration(self) -> int:
        return max(self.durations)

    @cached_property
    def energy_pj(self) -> float:
        return sum(cost.energy_pj for cost in self.costs if cost is not None)


@dataclass(frozen=True, eq=False)
class Blocks:
    """All blocks of (a row tile of) a layer. ``shared_weights``: every core needs the same weights."""

    blocks: tuple[Block, ...]
    shared_weights: bool

    @cached_property
    def duration(self) -> int:
        return sum(block.duration for block in self.blocks)

    @cached_property
    def energy_pj(self) -> float:
        return sum(block.energy_pj for block in self.blocks)

    @cached_property
    def weight_bits(self) -> int:
        """Bits that leave the DRAM once."""
        sizes = (max(b.weight_bits) if self.shared_weights else sum(b.weight_bits) for b in self.blocks)
        return sum(sizes)

    @cached_property
    def resident_bits(self) -> int:
        """Bits on the fullest core with all blocks loaded."""
        cores = range(len(self.blocks[0].weight_bits))
        return max(sum(block.weight_bits[core] for block in self.blocks) for core in cores)


def part_of(shape: LayerShape, rows: int, channels: int) -> LayerShape:
    """``shape`` with fewer output rows and channels; a cut-off side reads real rows instead of padding."""
    changes: dict[str, int | tuple[int, int, int, int]] = {}
    if rows != shape.oy:
        _, left, _, right = shape.padding
        reach = (rows - 1) * shape.stride_y + shape.dilation_y * (shape.fy - 1) + 1
        changes |= {"oy": rows, "iy": reach, "padding": (0, left, 0, right)}
    if channels != shape.g * shape.k:
        changes |= {"k": channels} if shape.g == 1 else {"g": channels // shape.k}
    return replace(shape, **changes) if changes else shape  # type: ignore[arg-type]


@dataclass(frozen=True)
class Cut:
    """How a layer is cut: at least so many blocks, priced by engine number ``variant``."""

    variant: int = 0
    least_blocks: int = 1


def cut_into_blocks(
    shape: LayerShape, results: Sequence[Region], cores: Sequence[Core], chip: Chip, pricer: Pricer, cut: Cut
) -> Blocks | UnpricedJob:
    """Blocks whose weights fill at most half of the weight memory, so that the next ones can come meanwhile.

    What a block makes can travel while the next one is made. ``results``: what each of ``cores`` is to make.
    An UnpricedJob where a single channel's weights exceed the memory or the engine finds no mapping.
    """
    shape = as_priced(shape, cores[0])
    widths = [
        _block_channels(shape, core, region, chip.weight_rooms[core.name].size_bits, cut.least_blocks)
        for region, core in _pair(results, cores)
    ]
    if min(widths) == 0:
        reason = "the weights of one output channel exceed its weight memory"
        return UnpricedJob(shape, cores[0].name, reason)
    same = {(region.first_channel, region.end_channel) for region in results if not region.empty}
    count = max(math.ceil(region.channels / width) for region, width in zip(results, widths, strict=True))
    blocks = []
    for index in range(max(1, count)):
        parts = [_part(region, index, width) for region, width in zip(results, widths, strict=True)]
        costs: list[LayerCost | None] = []
        for part, core in _pair(parts, cores):
            if part.empty:
                costs.append(None)
                continue
            cost = pricer.price(cut.variant, part_of(shape, part.rows, part.channels), core)
            if isinstance(cost, UnpricedJob):
                return cost
            costs.append(cost)
        bits = tuple(
            0 if part.empty else _weight_bits(shape, core, part.channels) for part, core in _pair(parts, cores)
        )
        units = tuple(Region(part.first_channel, part.end_channel, 0, 1) for part in parts)
        blocks.append(Block(tuple(parts), tuple(costs), bits, units))
    return Blocks(tuple(blocks), shared_weights=len(same) == 1)


def _pair(regions: Sequence[Region], cores: Sequence[Core]) -> list[tuple[Region, Core]]:
    return list(zip(regions, cores, strict=True))


def _weight_bits(shape: LayerShape, core: Core, channels: int) -> int:
    return stored_weight_bits(shape, core) * channels // (shape.g * shape.k)


def _block_channels(shape: LayerShape, core: Core, region: Region, room_bits: int, least_blocks: int) -> int:
    """Output channels per block; 0 when not even one channel's weights (one group's) fit."""
    step = 1 if shape.g == 1 else shape.k
    bits = _weight_bits(shape, core, step)
    steps = most = max(1, region.channels // step)
    if shape.op in MATRIX_OPS and bits * steps > room_bits // 2:
        if bits > room_bits:
            return 0
        most = max(1, room_bits // 2 // bits)
    lanes = max(1, LANES // step)
    wanted = -(-steps // least_blocks)
    # Up to whole lanes where the memory allows it, else down.
    width = min(-(-wanted // lanes) * lanes, steps)
    if width > most:
        width = most - most % lanes if most >= lanes else most
    return step * width


def _part(region: Region, index: int, width: int) -> Region:
    first = min(region.first_channel + index * width, region.end_channel)
    return replace(region, first_channel=first, end_channel=min(first + width, region.end_channel))
