"""Regions of tensors: the channels and rows that each core holds or needs."""

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from offramp.cost.schedule import Region
from offramp.workload.layer import MATRIX_OPS, LayerShape, Op


@dataclass(frozen=True)
class TensorShape:
    """Extent of an activation tensor.

    Attributes:
        channels: Number of channels.
        rows: Number of rows.
        row_bits: Bits per channel and row, for the whole batch.
    """

    channels: int
    rows: int
    row_bits: int

    @property
    def whole(self) -> Region:
        """The region of all channels and rows."""
        return Region(0, self.channels, 0, self.rows)

    def bits(self, region: Region) -> int:
        """Size of a region.

        Args:
            region: The region.

        Returns:
            Number of bits.
        """
        return region.channels * region.rows * self.row_bits

    @property
    def size_bits(self) -> int:
        """Size of the whole tensor."""
        return self.bits(self.whole)


class Axis(StrEnum):
    """The axis along which a tensor is divided among cores."""

    WHOLE = "whole"
    ROWS = "rows"
    CHANNELS = "channels"


@dataclass(frozen=True)
class Layout:
    """Where a tensor is: one part on each of several cores.

    Attributes:
        axis: How it is divided.
        cores: Names of the cores.
        channel_step: Number of channels that are never separated.
    """

    axis: Axis
    cores: tuple[str, ...]
    channel_step: int = 1

    def regions(self, tensor: TensorShape) -> tuple[Region, ...]:
        """Divide a tensor.

        Args:
            tensor: The tensor.

        Returns:
            One region per core, in order; together the whole tensor, nothing twice.
        """
        count = len(self.cores)
        if self.axis is Axis.ROWS:
            cuts = even_cuts(tensor.rows, count)
            return tuple(Region(0, tensor.channels, a, b) for a, b in pairwise(cuts))
        if self.axis is Axis.CHANNELS:
            step = self.channel_step
            cuts = [cut * step for cut in even_cuts(tensor.channels // step, count)]
            return tuple(Region(a, b, 0, tensor.rows) for a, b in pairwise(cuts))
        return (tensor.whole,)


def even_cuts(size: int, count: int) -> list[int]:
    """Divide a number into nearly equal parts.

    Args:
        size: The number.
        count: How many parts.

    Returns:
        The ``count`` + 1 borders, from 0 to ``size``.
    """
    return [size * index // count for index in range(count + 1)]


def output_tensor(shape: LayerShape) -> TensorShape:
    """Extent of the result of a layer.

    Args:
        shape: The layer.

    Returns:
        The extent.
    """
    return TensorShape(shape.g * shape.k, shape.oy, shape.b * shape.ox * shape.activation_bits)


def input_tensor(shape: LayerShape) -> TensorShape:
    """Extent of the graph input that a layer reads.

    Args:
        shape: The layer.

    Returns:
        The extent, without padding, which is added on chip.
    """
    return TensorShape(shape.g * shape.c, shape.iy, shape.b * shape.ix * shape.bits_of_input(0))


def needed_rows(shape: LayerShape, first_row: int, end_row: int) -> tuple[int, int]:
    """Find the input rows that output rows depend on.

    Args:
        shape: The layer.
        first_row: First output row.
        end_row: One past the last output row.

    Returns:
        First input row and one past the last, without padding.
    """
    top = shape.padding[0]
    first = first_row * shape.stride_y - top
    end = (end_row - 1) * shape.stride_y + shape.dilation_y * (shape.fy - 1) + 1 - top
    return max(0, min(first, shape.iy - 1)), max(1, min(end, shape.iy))


def needed_region(shape: LayerShape, result: Region, source: TensorShape) -> Region:
    """Find the part of its first input that a layer reads.

    Args:
        shape: The layer.
        result: The part of the result that is computed.
        source: Extent of the input.

    Returns:
        The part; all of the input where its extent is not that of the layer.
    """
    if result.empty:
        return Region(0, 0, 0, 0)
    if shape.op is Op.DENSE or source.rows != shape.iy or source.channels != shape.g * shape.c:
        return source.whole
    first_row, end_row = needed_rows(shape, result.first_row, result.end_row)
    if shape.op in MATRIX_OPS and shape.g == 1:
        return Region(0, source.channels, first_row, end_row)
    first_group, end_group = result.first_channel // shape.k, -(-result.end_channel // shape.k)
    return Region(first_group * shape.c, end_group * shape.c, first_row, end_row)
