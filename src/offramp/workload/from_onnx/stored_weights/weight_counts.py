"""Counts of nonzero weights in an ONNX file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

WEIGHTS = {
    "Conv": 1,
    "Gemm": 1,
    "MatMul": 1,
    "ConvInteger": 1,
    "MatMulInteger": 1,
    "QLinearConv": 3,
    "QLinearMatMul": 3,
    "QGemm": 3,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
    "FusedConv": 1,
    "FusedGemm": 1,
    "FusedMatMul": 1,
}
"""Position of the weights among a layer's inputs."""

_ZERO_POINTS = {
    "ConvInteger": 3,
    "MatMulInteger": 3,
    "DynamicQuantizeMatMul": 3,
    "QLinearConv": 5,
    "QLinearMatMul": 5,
    "QGemm": 5,
    "MatMulIntegerToFloat": 5,
}
SAME_VALUES = frozenset({"Identity", "Cast", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})
"""Operators that keep the values of weights."""


Array = NDArray[Any]


def named_constants(graph: Any) -> Iterator[tuple[str, Any]]:
    """Iterate over all initializers and constant nodes.

    Args:
        graph: ONNX graph.

    Yields:
        Name and tensor of each.
    """
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value" and node.output:
                yield node.output[0], attribute.t


def weight_densities(graph: Any, layers: Sequence[tuple[str, Any]]) -> dict[str, float]:
    """Compute the share of nonzero weights of layers.

    Quantised weights are zero if they equal their zero point. Layers are left out if their weights are computed, are
    not in
    the file itself, or are all zero, as in a file written without its weights.

    Args:
        graph: ONNX graph.
        layers: Names and nodes of the layers.

    Returns:
        Shares by layer name, above 0 and at most 1.
    """
    constants = dict(named_constants(graph))
    producers = {output: node for node in graph.node for output in node.output}
    found: dict[str, float] = {}
    for name, node in layers:
        zeros = None if node.op_type not in WEIGHTS else _zeros(node, constants, producers)
        if zeros is not None and not zeros.all():
            found[name] = (zeros.size - int(np.count_nonzero(zeros))) / zeros.size
    return found


def _zeros(node: Any, constants: Mapping[str, Any], producers: Mapping[str, Any]) -> Array | None:
    """Which weights of a layer are zero; None if they are not known."""
    point, axis = _input(node, _ZERO_POINTS.get(node.op_type, -1)), 0 if "Conv" in node.op_type else -1
    name = _input(node, WEIGHTS[node.op_type])
    for _ in range(len(producers) + 1):
        if name in constants:
            break
        source = producers.get(name)
        if source is None:
            return None
        name = _input(source, 0)
        if source.op_type == "DequantizeLinear":
            point, axis = _input(source, 2), _axis(source)
        elif source.op_type not in SAME_VALUES:
            return None
    weights = array_of(constants.get(name))
    if weights is None or not point:
        return None if weights is None else weights == 0
    zero = array_of(constants.get(point))
    return None if zero is None else _equal(weights, zero, axis)


def _equal(weights: Array, zero: Array, axis: int) -> Array | None:
    """Which weights equal their zero point: one for all, or one per index of ``axis``."""
    if zero.size == 1:
        return np.asarray(weights == zero.reshape(()))
    if zero.ndim != 1 or not -weights.ndim <= axis < weights.ndim or weights.shape[axis] != zero.size:
        return None
    shape = [1] * weights.ndim
    shape[axis] = zero.size
    return np.asarray(weights == zero.reshape(shape))


def _input(node: Any, position: int) -> str:
    return str(node.input[position]) if 0 <= position < len(node.input) else ""


def _axis(node: Any) -> int:
    return next((int(item.i) for item in node.attribute if item.name == "axis"), 1)


def array_of(tensor: Any) -> Array | None:
    """Read the content of a constant.

    Args:
        tensor: ONNX tensor, or None.

    Returns:
        Its values; None if there is no tensor, or if it is in another file, stripped or damaged.
    """
    from onnx import TensorProto, numpy_helper

    if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
        return None
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, LookupError, ArithmeticError):
        return None
