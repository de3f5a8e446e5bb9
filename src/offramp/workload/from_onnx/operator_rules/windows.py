"""Layers with a sliding window: convolutions, pooling and resizing."""

from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.tensor_sizes import Contradiction, UnknownShape, Unpriceable, feature_map
from offramp.workload.layer import LayerShape, Op
from offramp.workload.layer_constructors import (
    INTERPOLATION_TAPS,
    FeatureMap,
    Window,
    convolution,
    elementwise,
    pooling,
    resizing,
)

POOL_OPS = {"MaxPool": Op.MAX_POOL, "AveragePool": Op.AVG_POOL, "LpPool": Op.AVG_POOL}


def convolution_layer(node: OnnxNode, graph: OnnxGraph, data: tuple[str, ...]) -> LayerShape:
    """Describe a convolution, with constant or computed weights.

    Args:
        node: The node.
        graph: The graph.
        data: Names of its operands that are activations.

    Returns:
        The layer shape.

    Raises:
        Unpriceable: Its input is a constant.
        UnknownShape: A shape is not known.
        Contradiction: Weight, groups or window do not fit the tensors.
    """
    if data[:1] != node.inputs[:1]:
        raise Unpriceable("must have an input that is computed; only its weights are")
    source, result = feature_map(graph, node.inputs[0]), feature_map(graph, node.outputs[0])
    groups = node.integer("group", 1)
    if groups < 1 or source.channels % groups or result.channels % groups:
        raise Contradiction(f"{groups} groups do not divide {source.channels} and {result.channels} channels")
    weight = graph.shapes.get(node.inputs[1], ()) if len(node.inputs) > 1 else ()
    per_group = source.channels // groups
    if weight and weight[:2] != (result.channels, per_group):
        raise Contradiction(f"its weight has shape {weight}, its tensors need ({result.channels}, {per_group}, ...)")
    kernel = node.integers("kernel_shape") or tuple(size for size in weight[2:] if size is not None)
    if not kernel:
        raise UnknownShape(node.inputs[1] if len(node.inputs) > 1 else node.name)
    return convolution(source, result, _window(node, kernel, source, result), groups)


def pooling_layer(node: OnnxNode, graph: OnnxGraph, _: tuple[str, ...]) -> LayerShape:
    """Describe a pooling with a sliding window.

    Args:
        node: The node.
        graph: The graph.

    Returns:
        The layer shape.

    Raises:
        UnknownShape: A shape is not known.
        Contradiction: The window does not fit the tensors.
    """
    source, result = feature_map(graph, node.inputs[0]), feature_map(graph, node.outputs[0])
    kernel = node.integers("kernel_shape")
    if not kernel:
        raise Contradiction("it has no `kernel_shape`")
    return pooling(POOL_OPS[node.op], source, result, _window(node, kernel, source, result))


def resizing_layer(node: OnnxNode, graph: OnnxGraph, _: tuple[str, ...]) -> LayerShape:
    """Describe an interpolation: a mean of neighbours for each value of the result, 2 or 4 along each resized axis.

    Args:
        node: The node.
        graph: The graph.

    Returns:
        The shape of an average pooling on the larger of both maps.

    Raises:
        UnknownShape: A shape is not known.
        Unpriceable: The kind of interpolation is not known.
    """
    source, result = feature_map(graph, node.inputs[0]), feature_map(graph, node.outputs[0])
    taps = _neighbours(str(node.attributes.get("mode", "nearest")))
    return resizing(source, result, taps, antialias=bool(node.integer("antialias", 0)))


def sampling_layer(node: OnnxNode, graph: OnnxGraph, _: tuple[str, ...]) -> LayerShape:
    """Describe the sampling of a map at given points: a mean of the 1, 2 x 2 or 4 x 4 neighbours of each point.

    Source: the definition of `GridSample` in ONNX. The points are scaled to pixels by the layer that computes them.

    Args:
        node: The node.
        graph: The graph.

    Returns:
        The shape of an average pooling on the larger of both maps.

    Raises:
        UnknownShape: A shape is not known.
        Unpriceable: The kind of interpolation is not known.
    """
    source, result = feature_map(graph, node.inputs[0]), feature_map(graph, node.outputs[0])
    mode = str(node.attributes.get("mode", "linear")).removeprefix("bi")
    if mode == "nearest":
        return elementwise(Op.CONCAT, result)
    taps = _neighbours(mode)
    larger = FeatureMap(
        result.channels, max(source.height, result.height), max(source.width, result.width), result.batch
    )
    return pooling(Op.AVG_POOL, larger, result, Window(taps, taps, padding=(taps // 2, taps // 2, 0, 0)))


def _neighbours(mode: str) -> int:
    """Neighbours along each axis of which an interpolation takes the mean."""
    if mode not in INTERPOLATION_TAPS:
        raise Unpriceable(f"interpolates in mode '{mode}'; nearest, linear and cubic are understood")
    return INTERPOLATION_TAPS[mode]


def blocks_overlap(node: OnnxNode, graph: OnnxGraph) -> bool:
    """Check whether the blocks that `Col2Im` puts together share pixels.

    Args:
        node: The node.
        graph: The graph.

    Returns:
        Whether they do; also True if their size is not known.
    """
    block = node.integers("block_shape") or graph.values.get(node.inputs[2] if len(node.inputs) > 2 else "", ())
    strides = node.integers("strides", (1,) * len(block))
    dilated = max(node.integers("dilations"), default=1) > 1
    return not block or dilated or any(size > step for size, step in zip(block, strides, strict=False))


def _window(node: OnnxNode, kernel: tuple[int, ...], source: FeatureMap, result: FeatureMap) -> Window:
    """The window of a convolution or pooling, checked against the sizes before and after it."""
    if len(kernel) not in (1, 2):
        raise Unpriceable(f"has a window with {len(kernel)} axes; 1 or 2 are understood")
    ones, zeros = (1,) * len(kernel), (0,) * (2 * len(kernel))
    strides, dilations = node.integers("strides", ones), node.integers("dilations", ones)
    pads = node.integers("pads", zeros)
    if not len(kernel) == len(strides) == len(dilations) == len(pads) // 2:
        raise Contradiction("kernel, strides, dilations and pads do not agree on the number of axes")
    if min(kernel + strides + dilations) < 1 or min(pads) < 0:
        raise Contradiction("kernel, strides and dilations must be >= 1 and pads >= 0")
    if len(kernel) == 1:
        kernel, strides, dilations, pads = (1, *kernel), (1, *strides), (1, *dilations), (0, pads[0], 0, pads[1])
    auto = node.attributes.get("auto_pad", "NOTSET")
    before, after = (source.height, source.width), (result.height, result.width)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same_pads(auto, before, after, kernel, strides, dilations)
    (fy, fx), (stride_y, stride_x), (dilation_y, dilation_x) = kernel, strides, dilations
    window = Window(fy, fx, stride_y, stride_x, dilation_y, dilation_x, (pads[0], pads[1], pads[2], pads[3]))
    for old, size, new in zip(before, window.output_size(*before), after, strict=True):
        rounded_up = node.integer("ceil_mode", 0) and new == size + 1
        if size != new and not rounded_up:
            raise Contradiction(f"its window makes {old} into {size}, but its output has size {new}")
    return window


def _same_pads(
    auto: str,
    before: tuple[int, int],
    after: tuple[int, int],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[int, int, int, int]:
    totals = [
        max(0, (after[axis] - 1) * strides[axis] + dilations[axis] * (kernel[axis] - 1) + 1 - before[axis])
        for axis in range(2)
    ]
    small = [total // 2 for total in totals]
    large = [total - half for total, half in zip(totals, small, strict=True)]
    first, second = (small, large) if auto == "SAME_UPPER" else (large, small)
    return (first[0], first[1], second[0], second[1])
