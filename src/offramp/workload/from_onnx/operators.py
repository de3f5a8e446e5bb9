"""ONNX operators: which are layers, which are free, and the shape of each layer."""

import math
from collections.abc import Callable

from offramp.workload.from_onnx.attention_blocks import MOVES, NORM_OPS, OTHER_FORMS, product_shape
from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.operator_equivalents import QUANTIZERS
from offramp.workload.from_onnx.tensor_sizes import (
    Contradiction,
    UnknownShape,
    Unpriceable,
    feature_map,
    per_sample,
    sizes,
    value_map,
)
from offramp.workload.layer import LayerShape, Op
from offramp.workload.layer_constructors import (
    FeatureMap,
    Window,
    convolution,
    dense,
    elementwise,
    global_pooling,
    normalization,
    pooling,
)

_ACTIVATION_FUNCTIONS = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Mish", "Gelu"}
    | {"Swish", "Tanh", "Softplus", "Softsign", "ThresholdedRelu", "Erf", "Abs", "Neg", "Exp", "Sqrt", "Reciprocal"}
    | {"Shrink", "Log", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"}
    | {"IsNaN", "IsInf", "BitwiseNot"}
)
_ROUNDING = frozenset({"Floor", "Ceil", "Round", "Sign"})
_OTHER_VIEWS_OF_A_TENSOR = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Cast"})
_QUANTISATION = QUANTIZERS | {"QuantizeLinear", "DequantizeLinear"}
_COMPARISONS = frozenset({"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", "Not", "And", "Or", "Xor"})
FREE_OPS = _ACTIVATION_FUNCTIONS | _ROUNDING | _OTHER_VIEWS_OF_A_TENSOR | MOVES | _QUANTISATION | {"BatchNormalization"}
"""Computed while the previous layer writes its output, or only another view of it. All activations that such a node
reads must come from one layer."""

SHAPE_READERS = frozenset({"Shape", "Size", "EyeLike"})
"""Their outputs depend on the shape of the input, not on its values."""

RANDOM_OPS = frozenset({"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial"})
"""They draw values each time that the network runs."""

CONV_OPS = {"Conv": 1, "QLinearConv": 3, "ConvInteger": 1}
"""Convolutions and the position of their weight."""

SCATTERS = frozenset({"ScatterElements", "ScatterND", "Scatter"})
"""Write values into a copy of a tensor."""

DENSE_OPS = {"Gemm": 1, "MatMul": 1, "QLinearMatMul": 3, "MatMulInteger": 1}
POOL_OPS = {"MaxPool": Op.MAX_POOL, "AveragePool": Op.AVG_POOL}
GLOBAL_POOL_OPS = {
    "GlobalAveragePool": Op.AVG_POOL,
    "GlobalMaxPool": Op.MAX_POOL,
    "ReduceMean": Op.AVG_POOL,
    "ReduceMax": Op.MAX_POOL,
}
ELEMENTWISE_OPS = {"Add": Op.ADD, "Sub": Op.ADD, "Sum": Op.ADD, "Mul": Op.MULTIPLY, "Where": Op.ADD}
BINARY_OPS = frozenset({"Add", "Sub", "Sum", "Mul", "Div", "Pow", "Max", "Min", "Where"}) | _COMPARISONS | SCATTERS
"""Free if all activations that they read come from one layer; layers of their own, or refused, if not."""


def operand_positions(node: OnnxNode) -> tuple[int, ...]:
    """Find the inputs of a node that its rule reads as activations.

    Its other inputs (a bias, a zero point, indices) must be constants, or come from a layer that computes an operand.

    Args:
        node: The node.

    Returns:
        Positions among the node's inputs.
    """
    weight = (CONV_OPS | DENSE_OPS).get(node.op)
    if weight is not None:
        return (0, weight)
    if node.op in POOL_OPS or node.op in GLOBAL_POOL_OPS or node.op in NORM_OPS:
        return (0,)
    return tuple(range(len(node.inputs)))


def layer_shape(node: OnnxNode, graph: OnnxGraph, data: tuple[str, ...]) -> LayerShape:
    """Describe a node as a layer, for one sample.

    Args:
        node: The node.
        graph: The graph.
        data: Names of its operands that are activations (see `operand_positions`).

    Returns:
        The layer shape.

    Raises:
        Unpriceable: The node cannot be a layer.
        UnknownShape: The shape of a tensor is not known.
        Contradiction: Two statements of the file about the node cannot both hold.
    """
    rule = _RULES.get(node.op)
    if rule is None:
        hint = OTHER_FORMS.get(node.op)
        raise Unpriceable("is no operator of a workload" + (f" ({hint})" if hint else ""))
    try:
        return rule(node, graph, data)
    except ValueError as exc:
        raise Contradiction(str(exc).rstrip(".")) from exc


def _conv(node: OnnxNode, graph: OnnxGraph, data: tuple[str, ...]) -> LayerShape:
    if data != node.inputs[:1]:
        raise Unpriceable("must have weights that do not depend on the input")
    source, result = feature_map(graph, node.inputs[0]), feature_map(graph, node.outputs[0])
    groups = node.integer("group", 1)
    if groups < 1 or source.channels % groups or result.channels % groups:
        raise Contradiction(f"{groups} groups do not divide {source.channels} and {result.channels} channels")
    position = CONV_OPS[node.op]
    weight = graph.shapes.get(node.inputs[position], ()) if len(node.inputs) > position else ()
    per_group = source.channels // groups
    if weight and weight[:2] != (result.channels, per_group):
        raise Contradiction(f"its weight has shape {weight}, its tensors need ({result.channels}, {per_group}, ...)")
    kernel = node.integers("kernel_shape") or tuple(size for size in weight[2:] if size is not None)
    if not kernel:
        raise UnknownShape(node.inputs[position] if len(node.inputs) > position else node.name)
    return convolution(source, result, _window(node, kernel, source, result), groups)


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


def _dense(node: OnnxNode, graph: OnnxGraph, data: tuple[str, ...]) -> LayerShape:
    if len(data) == 2 and node.op != "Gemm":
        return product_shape(node, graph, DENSE_OPS[node.op])
    if data != node.inputs[:1]:
        raise Unpriceable("must multiply activations by weights, or two activations; weights come second")
    if node.integer("transA", 0):
        raise Unpriceable("transposes its activations")
    source, result = sizes(graph, node.inputs[0]), sizes(graph, node.outputs[0])
    if not source or not result or source[:-1] != result[:-1]:
        raise Unpriceable(f"makes a tensor of shape {result} from {source} per sample, which is no dense layer")
    position = DENSE_OPS[node.op]
    weight = graph.shapes.get(node.inputs[position], ())
    if weight:
        wanted = (result[-1], source[-1]) if node.integer("transB", 0) else (source[-1], result[-1])
        if weight != wanted:
            raise Contradiction(f"its weight has shape {weight}, its tensors need {wanted}")
    rows = per_sample(graph, node.inputs[0]) * math.prod(source[:-1])
    return dense(rows, source[-1], result[-1])


def _pool(node: OnnxNode, graph: OnnxGraph, _: tuple[str, ...]) -> LayerShape:
    source, result = feature_map(graph, node.inputs[0]), feature_map(graph, node.outputs[0])
    kernel = node.integers("kernel_shape")
    if not kernel:
        raise Contradiction("it has no `kernel_shape`")
    return pooling(POOL_OPS[node.op], source, result, _window(node, kernel, source, result))


def _global_pool(node: OnnxNode, graph: OnnxGraph, _: tuple[str, ...]) -> LayerShape:
    source = _pooled(node, graph)
    if math.prod(sizes(graph, node.outputs[0])) != source.channels:
        raise Unpriceable("does not reduce height and width alone")
    return global_pooling(GLOBAL_POOL_OPS[node.op], source)


def _pooled(node: OnnxNode, graph: OnnxGraph) -> FeatureMap:
    """The map that a reduction works on; its channels may be the last axis."""
    source, found = feature_map(graph, node.inputs[0]), sizes(graph, node.inputs[0])
    axes = node.integers("axes")
    if not axes and len(node.inputs) > 1:
        axes = graph.values.get(node.inputs[1], ())
    rank = len(found) + 1
    reduced = tuple(sorted(axis % rank for axis in axes)) if axes else tuple(range(2, rank))
    if reduced == (1, 2) and rank == 4:
        return FeatureMap(found[2], found[0], found[1], source.batch)
    if not reduced or reduced != ((1,) if rank == 3 and graph.has_tokens else tuple(range(2, rank))):
        hint = f" ({OTHER_FORMS['ReduceMean']})" if reduced == (rank - 1,) and node.op == "ReduceMean" else ""
        raise Unpriceable(
            f"reduces axes {axes}; only a mean or maximum over all of height and width, or over tokens, is "
            f"understood{hint}"
        )
    return source


def _elementwise(node: OnnxNode, graph: OnnxGraph, data: tuple[str, ...]) -> LayerShape:
    if len(data) != 2:
        raise Unpriceable(f"combines {len(data)} tensors; 2 are understood")
    return elementwise(ELEMENTWISE_OPS[node.op], value_map(graph, node.outputs[0]))


def _normalization(node: OnnxNode, graph: OnnxGraph, _: tuple[str, ...]) -> LayerShape:
    # The size of the input, which shape inference finds more often than that of the output.
    return normalization(value_map(graph, node.inputs[0]))


def _concat(node: OnnxNode, graph: OnnxGraph, _: tuple[str, ...]) -> LayerShape:
    rank = len(sizes(graph, node.outputs[0])) + 1
    axis = node.integer("axis", 1)
    if axis % rank != 1:
        raise Unpriceable(f"joins along axis {axis}; only channels or tokens (axis 1) are understood")
    return elementwise(Op.CONCAT, value_map(graph, node.outputs[0]))


def _scatter(node: OnnxNode, graph: OnnxGraph, data: tuple[str, ...]) -> LayerShape:
    """Values written into a copy of a tensor: each value of the result is read once and written once."""
    if len(data) != 2:
        raise Unpriceable(f"combines {len(data)} tensors; 2 are understood")
    added = node.attributes.get("reduction", "none") != "none"
    return elementwise(Op.ADD if added else Op.CONCAT, value_map(graph, node.outputs[0]))


_Rule = Callable[[OnnxNode, OnnxGraph, tuple[str, ...]], LayerShape]

_RULES: dict[str, _Rule] = {
    **dict.fromkeys(CONV_OPS, _conv),
    **dict.fromkeys(DENSE_OPS, _dense),
    **dict.fromkeys(POOL_OPS, _pool),
    **dict.fromkeys(GLOBAL_POOL_OPS, _global_pool),
    **dict.fromkeys(ELEMENTWISE_OPS, _elementwise),
    **dict.fromkeys(NORM_OPS | {"Softmax"}, _normalization),
    **dict.fromkeys(SCATTERS, _scatter),
    "Concat": _concat,
}
"""The rule of each operator that can be a layer: node, graph and its operands that are activations."""
