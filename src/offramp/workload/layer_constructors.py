"""Constructors of layer shapes, shared by all lowerings of a network to a workload (torch modules, ONNX files).

Every computation is a layer, with two exceptions: batch normalisation and activation functions belong to the layer
before them, and changes of shape and order are only a different addressing of values. The rules for transformers:

- A product of two matrices that both depend on the input is a convolution with 1x1 kernels and one group per head. The
  rows of the first matrix are its pixels. The second matrix takes the place of the weights: it has the bit width of
  activations, and is fetched and stored like weights.
- Attention is the product of queries and keys, the softmax of the scores, and the product with the values. The scale is
  folded into the queries.
- A layer, group or root-mean-square norm, and the softmax of more than a vector, needs all values before it can compute
  the first result, so the previous layer cannot compute it. Each is an element-wise product of its size: two reads and
  one write per value.
"""

import math
from dataclasses import dataclass

from offramp.workload.layer import LayerShape, Op, conv_output_size


@dataclass(frozen=True)
class FeatureMap:
    """Sizes of a tensor of one sample.

    Attributes:
        channels: Number of channels or features.
        height: Number of rows or tokens.
        width: Number of columns.
        batch: Size of the batch axis; more than 1 if windows or heads are placed there.
    """

    channels: int
    height: int = 1
    width: int = 1
    batch: int = 1

    @classmethod
    def of_tokens(cls, sizes: tuple[int, ...]) -> "FeatureMap":
        """Treat a tensor whose last axis holds channels as one column of tokens.

        Args:
            sizes: Sizes of all axes of one sample.

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
        """Count the positions of the window on a map.

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
        weights: Bits of a weight.
        activations: Bits of a written value.
        inputs: Bits of the values of each input; empty if all equal `activations`.
    """

    weights: int = 8
    activations: int = 8
    inputs: tuple[int, ...] = ()


DEFAULT_BITS = BitWidths()


def convolution(
    source: FeatureMap, result: FeatureMap, window: Window, groups: int = 1, bits: BitWidths = DEFAULT_BITS
) -> LayerShape:
    """Describe a convolution.

    Args:
        source: Input; ``groups`` divides its channels.
        result: Output; ``groups`` divides its channels.
        window: Kernel, strides, dilations and padding.
        groups: Number of groups; the number of channels for a depthwise convolution.
        bits: Bit widths.

    Returns:
        The layer shape.

    Raises:
        ValueError: A size is below 1.
    """
    return _windowed(
        Op.CONV, groups, result.channels // groups, source.channels // groups, source, result, window, bits
    )


def pooling(
    op: Op, source: FeatureMap, result: FeatureMap, window: Window, bits: BitWidths = DEFAULT_BITS
) -> LayerShape:
    """Describe a pooling with a sliding window.

    Args:
        op: ``Op.MAX_POOL`` or ``Op.AVG_POOL``.
        source: Input.
        result: Output, with the channels of the input.
        window: Kernel, strides, dilations and padding.
        bits: Bit widths.

    Returns:
        The layer shape.

    Raises:
        ValueError: A size is below 1.
    """
    return _windowed(op, source.channels, 1, 1, source, result, window, bits)


def global_pooling(op: Op, source: FeatureMap, bits: BitWidths = DEFAULT_BITS) -> LayerShape:
    """Describe a pooling over the whole height and width.

    Args:
        op: ``Op.MAX_POOL`` or ``Op.AVG_POOL``.
        source: Input.
        bits: Bit widths.

    Returns:
        The layer shape.

    Raises:
        ValueError: A size is below 1.
    """
    return pooling(op, source, FeatureMap(source.channels), Window(source.height, source.width), bits)


def adaptive_pooling(op: Op, source: FeatureMap, result: FeatureMap, bits: BitWidths = DEFAULT_BITS) -> LayerShape:
    """Describe a pooling that divides a map into a given number of windows.

    Window ``i`` of ``n`` over a size of ``s`` reaches from ``floor(i s / n)`` to ``ceil((i + 1) s / n)``, as torch
    defines `AdaptiveAvgPool2d`. Where ``n`` does not divide ``s``, windows differ in size and overlap; all are priced
    as the largest one.

    Args:
        op: ``Op.MAX_POOL`` or ``Op.AVG_POOL``.
        source: Input.
        result: Output, with the channels of the input.
        bits: Bit widths.

    Returns:
        The layer shape.

    Raises:
        ValueError: A size is below 1.
    """
    (fy, stride_y), (fx, stride_x) = (
        (
            max(-(-(i + 1) * before // after) - i * before // after for i in range(after)),
            max(1, (after > 1) * before // after),
        )
        for before, after in ((source.height, result.height), (source.width, result.width))
    )
    return pooling(op, source, result, Window(fy, fx, stride_y, stride_x), bits)


INTERPOLATION_TAPS = {"linear": 2, "cubic": 4}
"""Neighbours per axis of which an interpolated value is a weighted mean."""


def resizing(
    source: FeatureMap, result: FeatureMap, taps: int, *, antialias: bool = False, bits: BitWidths = DEFAULT_BITS
) -> LayerShape:
    """Describe an interpolation: a mean of neighbours for each value of the result.

    Source: the definition of `Resize` in ONNX; with ``antialias``, the window grows with the reduction.

    Args:
        source: Sizes of the input.
        result: Sizes of the output.
        taps: Neighbours along each resized axis (see `INTERPOLATION_TAPS`).
        antialias: Whether the window covers all values that a result stands for.
        bits: Bit widths of the layer.

    Returns:
        The shape of an average pooling on the larger of both maps.
    """
    (fy, stride_y), (fx, stride_x) = (
        _interpolation_window(before, after, taps, wide=antialias)
        for before, after in ((source.height, result.height), (source.width, result.width))
    )
    height, width = max(source.height, result.height), max(source.width, result.width)
    larger = FeatureMap(result.channels, height, width, result.batch)
    window = Window(fy, fx, stride_y, stride_x, padding=(fy // 2, fx // 2, 0, 0))
    return pooling(Op.AVG_POOL, larger, result, window, bits)


def _interpolation_window(before: int, after: int, taps: int, *, wide: bool) -> tuple[int, int]:
    """Size and stride of the window along one axis."""
    if before == after:
        return 1, 1
    size = math.ceil(taps * max(1.0, before / after)) if wide else taps
    return size, max(1, before // after)


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
    """Describe a product of activations and a constant matrix.

    Args:
        rows: Number of vectors: 1 for flat features, the number of tokens for a sequence.
        inputs: Features of an input vector.
        outputs: Features of an output vector.
        bits: Bit widths.

    Returns:
        The layer shape.

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
    """Describe a product of two computed matrices, or of one pair per head.

    Args:
        left: Shape of the first operand, (..., rows, inner).
        right: Shape of the second operand, (..., inner, columns), with the same leading axes.
        activation_bits: Bits of the values of both operands and of the result.

    Returns:
        The shape of a convolution with 1x1 kernels and one group per pair of matrices.

    Raises:
        ValueError: A size is below 1.
    """
    *leading, rows, inner = left
    bits = BitWidths(activation_bits, activation_bits)
    pairs = math.prod(leading)
    return convolution(FeatureMap(pairs * inner, rows), FeatureMap(pairs * right[-1], rows), Window(1, 1), pairs, bits)


def elementwise(op: Op, values: FeatureMap, bits: BitWidths = DEFAULT_BITS) -> LayerShape:
    """Describe an operator with one operation per value.

    Args:
        op: ``Op.ADD``, ``Op.MULTIPLY`` or ``Op.CONCAT``.
        values: Output.
        bits: Bit widths.

    Returns:
        The layer shape.

    Raises:
        ValueError: A size is below 1.
    """
    return _windowed(op, values.channels, 1, 1, values, values, Window(1, 1), bits)


def normalization(values: FeatureMap, bits: BitWidths = DEFAULT_BITS) -> LayerShape:
    """Describe a norm or a softmax that needs all values before it can compute the first result.

    Args:
        values: Output.
        bits: Bit widths.

    Returns:
        The shape of an element-wise product of the same size.

    Raises:
        ValueError: A size is below 1.
    """
    return elementwise(Op.MULTIPLY, values, bits)


def stacked_product(left: tuple[int, ...], right: tuple[int, ...], activation_bits: int = 8) -> LayerShape:
    """Describe the products of two stacks of computed matrices; an axis of size 1, or a missing one, is repeated.

    Args:
        left: Shape of the first operand, (..., rows, inner).
        right: Shape of the second operand, (..., inner, columns).
        activation_bits: Bits of the values of both operands and of the result.

    Returns:
        The layer shape. Many matrices on the left that meet one on the right are one matrix with more rows.

    Raises:
        ValueError: The operands are no matrices, or their axes do not fit each other.
    """
    if min(len(left), len(right)) < 2:
        raise ValueError(f"multiplies tensors of shapes {left} and {right} per sample, which are no matrices")
    rank = max(len(left), len(right)) - 2
    first, second = ((1,) * (rank + 2 - len(shape)) + shape[:-2] for shape in (left, right))
    if any(a != b and 1 not in (a, b) for a, b in zip(first, second, strict=True)):
        raise ValueError(f"multiplies matrices whose leading axes differ, of shapes {left} and {right} per sample")
    leading = tuple(max(pair) for pair in zip(first, second, strict=True))
    if math.prod(second) == 1 and math.prod(first) > 1:
        return matrix_product((math.prod(first) * left[-2], left[-1]), right[-2:], activation_bits)
    return matrix_product((*leading, *left[-2:]), (*leading, *right[-2:]), activation_bits)
