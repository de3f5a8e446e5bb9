"""Attention and norms of transformers in an ONNX graph, by the rules of `layer_constructors`."""

from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.tensor_sizes import Contradiction, UnknownShape, Unpriceable, per_sample, sizes
from offramp.workload.layer import LayerShape
from offramp.workload.layer_constructors import leading_axes_agree, matrix_product

NORM_OPS = frozenset({"LayerNormalization", "RMSNormalization", "GroupNormalization"})
MOVES = frozenset({"Transpose", "Pad", "Slice", "Split", "Gather", "Expand"})
OTHER_FORMS = {
    "Attention": "export with opset 22 or earlier, where attention is written in its parts",
    "Einsum": "write it as a matrix product",
    "ReduceMean": "a layer norm in its parts is one layer with opset 17 or later",
}
"""How to replace operators that are only priced in another form."""


def is_free_softmax(node: OnnxNode, graph: OnnxGraph) -> bool:
    """Check whether the layer before a softmax computes it.

    Args:
        node: The softmax.
        graph: The graph.

    Returns:
        Whether it is the softmax of a vector, such as the logits.

    Raises:
        UnknownShape: The shape of its input is not known.
    """
    shape = graph.shapes.get(node.inputs[0])
    if shape is None:
        raise UnknownShape(node.inputs[0])
    return len(shape) <= 2


def product_shape(node: OnnxNode, graph: OnnxGraph, position: int) -> LayerShape:
    """Describe a product of two computed matrices, (..., rows, inner) times (..., inner, columns).

    Args:
        node: The product.
        graph: The graph.
        position: Position of the second matrix among the node's inputs.

    Returns:
        The layer shape.

    Raises:
        UnknownShape: The shape of an operand is not known.
        Unpriceable: The leading axes of the operands differ.
        Contradiction: The inner sizes of the operands differ.
    """
    left, right = ((per_sample(graph, name), *sizes(graph, name)) for name in (node.inputs[0], node.inputs[position]))
    if not leading_axes_agree(left, right):
        raise Unpriceable(f"multiplies matrices whose leading axes differ, of shapes {left} and {right} per sample")
    if left[-1] != right[-2]:
        raise Contradiction(f"it multiplies matrices of shapes {left} and {right}")
    return matrix_product(left, right)
