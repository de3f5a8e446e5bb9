"""Matrix products: of activations and weights, on either side, or of two activations."""

import math

from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.tensor_sizes import Contradiction, Unpriceable, per_sample, sizes
from offramp.workload.layer import LayerShape
from offramp.workload.layer_constructors import dense, stacked_product

DENSE_OPS = frozenset({"Gemm", "MatMul"})

_Sizes = tuple[int, ...]


def product_layer(node: OnnxNode, graph: OnnxGraph, data: tuple[str, ...]) -> LayerShape:
    """Describe a matrix product.

    Weights with two axes make a dense layer. Weights with more axes are one matrix per head or group, so they make a
    convolution with 1x1 kernels and as many groups, like the product of two activations.

    Args:
        node: The node.
        graph: The graph.
        data: Names of its operands that are activations.

    Returns:
        The layer shape.

    Raises:
        UnknownShape: A shape is not known.
        Unpriceable: The tensors are not those of a matrix product.
        Contradiction: The sizes of the operands do not fit.
    """
    if node.integer("transA", 0):
        raise Unpriceable("transposes its activations")
    left, right = node.inputs[:2]
    if left in data and right in data:
        first, second = _of_sample(graph, left), _of_sample(graph, right)
        return _stacked(_row(first), second if len(second) > 1 else (*second, 1))
    if left in data:
        return _weights_second(node, graph)
    if len(graph.shapes.get(left, ())) == 0:
        raise Unpriceable("multiplies by a first matrix whose shape is not known")
    weight = _weight(graph.shapes[left])
    values = _of_sample(graph, right)
    if len(values) == 1:
        values = (*values, 1)  # a vector is a column
    if len(weight) < 2 or len(values) < 2:
        raise Unpriceable(f"multiplies tensors of shapes {weight} and {values} per sample, which is no dense layer")
    # The transposed product has its weights second.
    return _with_weights((*values[:-2], values[-1], values[-2]), (*weight[:-2], weight[-1], weight[-2]))


def _weights_second(node: OnnxNode, graph: OnnxGraph) -> LayerShape:
    values = _row(_of_sample(graph, node.inputs[0]))
    shape = graph.shapes.get(node.inputs[1], ())
    if not shape:
        result = sizes(graph, node.outputs[0])
        if not result or sizes(graph, node.inputs[0])[:-1] != result[:-1]:
            raise Unpriceable(f"makes a tensor of shape {result} from {values[1:]} per sample, which is no dense layer")
        return dense(math.prod(values[:-1]), values[-1], result[-1])
    weight = _weight(shape)
    if node.integer("transB", 0):
        weight = (*weight[:-2], weight[-1], weight[-2])
    if len(weight) == 1:
        return _with_weights(values, (*weight, 1))
    result = _of_sample(graph, node.outputs[0])
    if len(weight) == 2 and result[-1] != weight[-1]:
        raise Contradiction(f"its weight has shape {weight}, its tensors need {(values[-1], result[-1])}")
    return _with_weights(values, weight)


def _with_weights(values: _Sizes, weight: _Sizes) -> LayerShape:
    if values[-1] != weight[-2]:
        raise Contradiction(f"its weight has shape {weight}, its tensors need ({values[-1]}, ...)")
    if len(weight) == 2:
        return dense(math.prod(values[:-1]), values[-1], weight[-1])
    return _stacked(values, weight)


def _row(values: _Sizes) -> _Sizes:
    """The matrix that a vector on the left is: one row."""
    return values if len(values) > 1 else (1, *values)


def _weight(shape: tuple[int | None, ...]) -> _Sizes:
    """The shape of weights without leading axes of size 1; constants have no open sizes."""
    weight = tuple(size or 1 for size in shape)
    while len(weight) > 2 and weight[0] == 1:
        weight = weight[1:]
    return weight


def _of_sample(graph: OnnxGraph, name: str) -> _Sizes:
    return (per_sample(graph, name), *sizes(graph, name))


def _stacked(left: _Sizes, right: _Sizes) -> LayerShape:
    if min(len(left), len(right)) >= 2 and left[-1] != right[-2]:
        raise Contradiction(f"it multiplies matrices of shapes {left} and {right}")
    try:
        return stacked_product(left, right)
    except ValueError as exc:
        raise Unpriceable(str(exc)) from exc
