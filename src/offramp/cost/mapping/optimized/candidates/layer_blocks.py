"""A layer divided into blocks: what each core computes between two loads of weights, and what that costs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from offramp.cost.mapping.optimized.candidates.block_pricer import BlockPricer
from offramp.cost.mapping.optimized.core_groups import CoreGroup
from offramp.cost.report import LayerCost
from offramp.cost.schedule import Region
from offramp.cost.sparsity_gain import as_priced, stored_weight_bits
from offramp.cost.unsupported import UnpricedJob
from offramp.hardware.accelerator import Core
from offramp.workload.layer import MATRIX_OPS, LayerShape

LANES = 16
"""Blocks of output channels are multiples of this where they can be: arrays are filled by powers of two."""


@dataclass(frozen=True, eq=False)
class Block:
    """What all cores of a layout compute at the same time.

    Attributes:
        results: Per core, the part of the result.
        costs: Per core, the cost of that part; None where it is empty.
        weight_bits: Per core, the bits of weights that it needs.
        units: Per core, the channels of these weights.
    """

    results: tuple[Region, ...]
    costs: tuple[LayerCost | None, ...]
    weight_bits: tuple[int, ...]
    units: tuple[Region, ...]

    @cached_property
    def durations(self) -> tuple[int, ...]:
        """Cycles per core."""
        return tuple(0 if cost is None else math.ceil(cost.latency_cycles) for cost in self.costs)

    @cached_property
    def duration(self) -> int:
        """Cycles of the slowest core."""
        return max(self.durations)

    @cached_property
    def energy_pj(self) -> float:
        """Energy of all cores."""
        return sum(cost.energy_pj for cost in self.costs if cost is not None)


@dataclass(frozen=True, eq=False)
class LayerBlocks:
    """All blocks of a layer, or of a row tile of it.

    Attributes:
        blocks: The blocks in the order in which they are computed.
        shared_weights: Whether every core needs the same weights.
    """

    blocks: tuple[Block, ...]
    shared_weights: bool

    @cached_property
    def duration(self) -> int:
        """Cycles of all blocks, one after the other."""
        return sum(block.duration for block in self.blocks)

    @cached_property
    def energy_pj(self) -> float:
        """Energy of all blocks."""
        return sum(block.energy_pj for block in self.blocks)

    @cached_property
    def weight_bits(self) -> int:
        """Bits that are read from the DRAM, each once."""
        sizes = (max(b.weight_bits) if self.shared_weights else sum(b.weight_bits) for b in self.blocks)
        return sum(sizes)

    @cached_property
    def resident_bits(self) -> int:
        """Bits on the fullest core when all blocks are loaded."""
        cores = range(len(self.blocks[0].weight_bits))
        return max(sum(block.weight_bits[core] for block in self.blocks) for core in cores)


def partial_shape(shape: LayerShape, rows: int, channels: int) -> LayerShape:
    """Take fewer output rows and channels of a layer.

    Args:
        shape: The layer.
        rows: Output rows.
        channels: Output channels.

    Returns:
        The layer that computes them; where rows are left out, real rows are read instead of padding.
    """
    changes: dict[str, int | tuple[int, int, int, int]] = {}
    if rows != shape.oy:
        _, left, _, right = shape.padding
        reach = (rows - 1) * shape.stride_y + shape.dilation_y * (shape.fy - 1) + 1
        changes |= {"oy": rows, "iy": reach, "padding": (0, left, 0, right)}
    if channels != shape.g * shape.k:
        changes |= {"k": channels} if shape.g == 1 else {"g": channels // shape.k}
    return replace(shape, **changes) if changes else shape  # type: ignore[arg-type]


@dataclass(frozen=True)
class BlockCut:
    """How a layer is divided.

    Attributes:
        variant: Number of the engine that prices the blocks.
        least_blocks: Least number of blocks.
    """

    variant: int = 0
    least_blocks: int = 1


def cut_into_blocks(
    shape: LayerShape,
    results: Sequence[Region],
    cores: Sequence[Core],
    group: CoreGroup,
    pricer: BlockPricer,
    cut: BlockCut,
) -> LayerBlocks | UnpricedJob:
    """Divide a layer into blocks whose weights fill at most half of the weight memory.

    So the next weights can be loaded meanwhile, and the result of a block can be sent while the next one is computed.

    Args:
        shape: The layer.
        results: What each core is to compute.
        cores: The cores.
        group: The cores' memories.
        pricer: Prices the blocks.
        cut: How to divide.

    Returns:
        The blocks, or why there are none: the weights of one channel exceed the memory, or the engine has no price.
    """
    shape = as_priced(shape, cores[0])
    widths = [
        _block_channels(shape, core, region, group.weight_memories[core.name].size_bits, cut.least_blocks)
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
            cost = pricer.price(cut.variant, partial_shape(shape, part.rows, part.channels), core)
            if isinstance(cost, UnpricedJob):
                return cost
            costs.append(cost)
        bits = tuple(
            0 if part.empty else _weight_bits(shape, core, part.channels) for part, core in _pair(parts, cores)
        )
        units = tuple(Region(part.first_channel, part.end_channel, 0, 1) for part in parts)
        blocks.append(Block(tuple(parts), tuple(costs), bits, units))
    return LayerBlocks(tuple(blocks), shared_weights=len(same) == 1)


def _pair(regions: Sequence[Region], cores: Sequence[Core]) -> list[tuple[Region, Core]]:
    return list(zip(regions, cores, strict=True))


def _weight_bits(shape: LayerShape, core: Core, channels: int) -> int:
    return stored_weight_bits(shape, core) * channels // (shape.g * shape.k)


def _block_channels(shape: LayerShape, core: Core, region: Region, memory_bits: int, least_blocks: int) -> int:
    """Output channels per block; 0 when not even one channel's weights (one group's) fit."""
    step = 1 if shape.g == 1 else shape.k
    bits = _weight_bits(shape, core, step)
    steps = most = max(1, region.channels // step)
    if shape.op in MATRIX_OPS and bits * steps > memory_bits // 2:
        if bits > memory_bits:
            return 0
        most = max(1, memory_bits // 2 // bits)
    lanes = max(1, LANES // step)
    wanted = -(-steps // least_blocks)
    # Rounded up to a multiple of the lanes where the memory allows it, else down.
    width = min(-(-wanted // lanes) * lanes, steps)
    if width > most:
        width = most - most % lanes if most >= lanes else most
    return step * width


def _part(region: Region, index: int, width: int) -> Region:
    first = min(region.first_channel + index * width, region.end_channel)
    return replace(region, first_channel=first, end_channel=min(first + width, region.end_channel))
