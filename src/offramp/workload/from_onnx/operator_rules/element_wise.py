"""Layers with one operation per value: element-wise operators, norms, concatenation and copies."""

from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.tensor_sizes import Unpriceable, value_map
from offramp.workload.layer import LayerShape, Op
from offramp.workload.layer_constructors import elementwise, normalization

_COMPARISONS = frozenset({"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", "And", "Or", "Xor"})
ELEMENTWISE_OPS = {
    **dict.fromkeys({"Add", "Sub", "Sum", "Mean", "Max", "Min", "Where"} | _COMPARISONS, Op.ADD),
    **dict.fromkeys(("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift"), Op.ADD),
    **dict.fromkeys(("Mul", "Div", "Mod", "Pow", "PRelu"), Op.MULTIPLY),
}
"""Operators with one operation per value of the result: two values are read and one is written.

A division, a power and a product cost the same, as do a sum, a maximum, a choice and a comparison: engines know the
traffic of an operator and a price per operation, not the circuit.
"""

SCATTERS = frozenset({"ScatterElements", "ScatterND", "Scatter"})
"""Write values into a copy of a tensor."""


def elementwise_layer(node: OnnxNode, graph: OnnxGraph, data: tuple[str, ...]) -> LayerShape:
    """Describe an element-wise operator with operands of two layers.

    Args:
        node: The node.
        graph: The graph.
        data: Names of its operands that are activations.

    Returns:
        The layer shape.

    Raises:
        UnknownShape: The shape of the result is not known.
        Unpriceable: It has another number of operands.
    """
    if len(data) != 2:
        raise Unpriceable(f"combines {len(data)} tensors; 2 are understood")
    return elementwise(ELEMENTWISE_OPS[node.op], value_map(graph, node.outputs[0]))


def normalization_layer(node: OnnxNode, graph: OnnxGraph, _: tuple[str, ...]) -> LayerShape:
    """Describe a norm or a softmax.

    Args:
        node: The node.
        graph: The graph.

    Returns:
        The layer shape.

    Raises:
        UnknownShape: The shape of the input is not known.
    """
    # The size of the input, which shape inference finds more often than that of the output.
    return normalization(value_map(graph, node.inputs[0]))


def accumulation_layer(node: OnnxNode, graph: OnnxGraph, _: tuple[str, ...]) -> LayerShape:
    """Describe sums to which each value of the input is added once: a running sum, or blocks that overlap.

    Source: the definitions of `CumSum` and `Col2Im` in ONNX.

    Args:
        node: The node.
        graph: The graph.

    Returns:
        The layer shape.

    Raises:
        UnknownShape: The shape of the input is not known.
    """
    return elementwise(Op.ADD, value_map(graph, node.inputs[0]))


def concatenation_layer(node: OnnxNode, graph: OnnxGraph, _: tuple[str, ...]) -> LayerShape:
    """Describe a concatenation along any axis: each value is read once and written once.

    Args:
        node: The node.
        graph: The graph.

    Returns:
        The layer shape.

    Raises:
        UnknownShape: The shape of the result is not known.
    """
    return elementwise(Op.CONCAT, value_map(graph, node.outputs[0]))


def scatter_layer(node: OnnxNode, graph: OnnxGraph, data: tuple[str, ...]) -> LayerShape:
    """Describe values written into a copy of a tensor: each value of the result is read once and written once.

    Args:
        node: The node.
        graph: The graph.
        data: Names of its operands that are activations.

    Returns:
        The layer shape.

    Raises:
        UnknownShape: The shape of the result is not known.
        Unpriceable: It has another number of operands.
    """
    if len(data) != 2:
        raise Unpriceable(f"combines {len(data)} tensors; 2 are understood")
    added = node.attributes.get("reduction", "none") != "none"
    return elementwise(Op.ADD if added else Op.CONCAT, value_map(graph, node.outputs[0]))
