"""Constructors of layer shapes, shared by everything that turns a network into a workload (torch modules, ONNX files).

What a network computes is a layer; nothing that computes something is free, with these exceptions: batch normalisation
and activation functions are done by the layer before them, and changes of shape and order are ways of addressing
values. The rules for transformers:

- A product of two matrices that both depend on the input is a convolution with 1x1 kernels and one group per head. The
  rows of the first matrix are its pixels. The second matrix stands in the place of the weights, at the width of
  activations, and is fetched and stored as weights are.
- Attention is the product of queries and keys, the softmax of the scores, and the product with the values. The scale is
  folded into the queries.
- A layer, group or root-mean-square norm, and the softmax of more than a vector, needs all values before it can give
  the first one, so the layer before cannot do it. Each is an element-wise product of its size: two reads and one write
  per value.
"""

import math
from dataclasses import dataclass

from offramp.workload.layer import LayerShape, Op, conv_output_size


@dataclass(frozen=True)
class FeatureMap:
    """Sizes of a tensor of one sample.

    Attributes:
        channels: Number of channels, or of features.
        height: Number of rows, or of tokens.
        width: Number of columns.
        batch: More than 1 where windows or heads stand in the place of the batch.
    """

    channels: int
    height: int = 1
    width: int = 1
    batch: int = 1

    @classmethod
    def of_tokens(cls, sizes: tuple[int, ...]) -> "FeatureMap":
        """A tensor of any number of axes whose last one is channels, as one column of tokens.

        Args:
            sizes: Sizes of all axes, those of one sample.

        Returns:
            The map with all other axes as its height.
        """
        return cls(sizes[-1], math.prod(sizes[:-1]))


@dataclass(frozen=True)
class Window:
    """The sliding window of a convolution or a pooling.

    Attributes:
        fy: Rows of the kernel.
        fx: Columns of the kernel.
        stride_y: Step between rows of the output, in rows of the input.
        stride_x: Step between columns of the output, in columns of the input.
        dilation_y: Distance of the rows under the kernel.
        dilation_x: Distance of the columns under the kernel.
        padding: Rows and columns added to the input: top, left, bottom, right.
    """

    fy: int
    fx: int
    stride_y: int = 1
    stride_x: int = 1
    dilation_y: int = 1
    dilation_x: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """How many positions the window has on a map.

        Args:
            height: Rows of the map without padding.
            width: Columns of the map without padding.

        Returns:
            Rows and columns of the output.
        """
        top, left, bottom, right = self.padding
        return (
            conv_output_size(height, self.fy, self.stride_y, top + bottom, self.dilation_y),
            conv_output_size(width, self.fx, self.stride_x, left + right, self.dilation_x),
        )


@dataclass(frozen=True)
class BitWidths:
    """The bit widths of a layer.

    Attributes:
        weights: Width of a weight.
        activations: Width of a value that the layer writes.
        inputs: Width of the values of each input; empty where all are as wide as what is written.
    """

    weights: int = 8
    activations: int = 8
    inputs: tuple[int, ...] = ()


DEFAULT_BITS = BitWidths()


def convolution(
    source: FeatureMap, result: FeatureMap, window: Window, groups: int = 1, bits: BitWidths = DEFAULT_BITS
) -> LayerShape:
    """A convolution.

    Args:
        source: The map that it reads; ``groups`` divides its channels.
        result: The map that it writes; ``groups`` divides its channels.
        window: Its kernel and where that goes.
        groups: Number of groups; as many as channels for a depthwise convolution.
        bits: Its bit widths.

    Returns:
        The layer's loop sizes.

    Raises:
        ValueError: A size is below 1.
    """
    return _windowed(
        Op.CONV, groups, result.channels // groups, source.channels // groups, source, result, window, bits
    )


def pooling(
    op: Op, source: FeatureMap, result: FeatureMap, window: Window, bits: BitWidths = DEFAULT_BITS
) -> LayerShape:
    """A pooling with a sliding window.

    Args:
        op: ``Op.MAX_POOL`` or ``Op.AVG_POOL``.
        source: The map that it reads.
        result: The map that it writes, with the same channels.
        window: Its kernel and where that goes.
        bits: Its bit widths.

    Returns:
        The layer's loop sizes.

    Raises:
        ValueError: A size is below 1.
    """
    return _windowed(op, source.channels, 1, 1, source, result, window, bits)


def global_pooling(op: Op, source: FeatureMap, bits: BitWidths = DEFAULT_BITS) -> LayerShape:
    """A pooling over all of height and width.

    Args:
        op: ``Op.MAX_POOL`` or ``Op.AVG_POOL``.
        source: The map that it reads.
        bits: Its bit widths.

    Returns:
        The layer's loop sizes.

    Raises:
        ValueError: A size is below 1.
    """
    return pooling(op, source, FeatureMap(source.channels), Window(source.height, source.width), bits)


def _windowed(
    op: Op, groups: int, k: int, c: int, source: FeatureMap, result: FeatureMap, window: Window, bits: BitWidths
) -> LayerShape:
    return LayerShape(
        op,
        b=source.batch,
        g=groups,
        k=k,
        c=c,
        oy=result.height,
        ox=result.width,
        fy=window.fy,
        fx=window.fx,
        iy=source.height,
        ix=source.width,
        stride_y=window.stride_y,
        stride_x=window.stride_x,
        dilation_y=window.dilation_y,
        dilation_x=window.dilation_x,
        padding=window.padding,
        weight_bits=bits.weights,
        activation_bits=bits.activations,
        input_bits=bits.inputs,
    )


def dense(rows: int, inputs: int, outputs: int, bits: BitWidths = DEFAULT_BITS) -> LayerShape:
    """A product of activations and a fixed matrix.

    Args:
        rows: How many vectors are multiplied: 1 for flat features, the number of tokens for a sequence.
        inputs: Features of a vector before.
        outputs: Features of a vector behind.
        bits: Its bit widths.

    Returns:
        The layer's loop sizes.

    Raises:
        ValueError: A size is below 1.
    """
    return LayerShape(
        Op.DENSE,
        b=rows,
        k=outputs,
        c=inputs,
        weight_bits=bits.weights,
        activation_bits=bits.activations,
        input_bits=bits.inputs,
    )


def matrix_product(left: tuple[int, ...], right: tuple[int, ...], activation_bits: int = 8) -> LayerShape:
    """A product of two computed matrices, or of one pair per head.

    Args:
        left: Sizes (..., rows, inner) of the first operand.
        right: Sizes (..., inner, columns) of the second operand, with the same leading axes.
        activation_bits: Width of both operands and of the result.

    Returns:
        The loop sizes of a convolution with 1x1 kernels and one group per pair of matrices.

    Raises:
        ValueError: A size is below 1.
    """
    *leading, rows, inner = left
    bits = BitWidths(activation_bits, activation_bits)
    pairs = math.prod(leading)
    return convolution(FeatureMap(pairs * inner, rows), FeatureMap(pairs * right[-1], rows), Window(1, 1), pairs, bits)


def elementwise(op: Op, values: FeatureMap, bits: BitWidths = DEFAULT_BITS) -> LayerShape:
    """As many operations as a tensor has values.

    Args:
        op: ``Op.ADD``, ``Op.MULTIPLY`` or ``Op.CONCAT``.
        values: The tensor that is written.
        bits: Its bit widths.

    Returns:
        The layer's loop sizes.

    Raises:
        ValueError: A size is below 1.
    """
    return _windowed(op, values.channels, 1, 1, values, values, Window(1, 1), bits)


def normalization(values: FeatureMap, bits: BitWidths = DEFAULT_BITS) -> LayerShape:
    """A norm or a softmax that needs all values before it can give the first one.

    Args:
        values: The tensor that is written.
        bits: Its bit widths.

    Returns:
        The loop sizes of an element-wise product of its size.

    Raises:
        ValueError: A size is below 1.
    """
    return elementwise(Op.MULTIPLY, values, bits)


def leading_axes_agree(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    """Whether two tensors are stacks of equally many matrices.

    Args:
        left: Sizes of the first tensor.
        right: Sizes of the second tensor.

    Returns:
        True if both have at least two axes, and all but their last two are the same.
    """
    return min(len(left), len(right)) >= 2 and left[:-2] == right[:-2]
