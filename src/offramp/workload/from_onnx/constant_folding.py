"""Values of an ONNX graph that do not depend on its input: computations of shapes, axes, indices and windows."""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MAX_FOLDED_VALUES = 1 << 16
"""Larger constants are not computed: a shape or an index of a layer is small."""

_MAX_READ_VALUES = 1 << 20
_NOT_FOLDED = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout"}
    | {"Conv", "ConvTranspose", "Einsum", "LSTM", "GRU", "RNN", "If", "Loop", "Scan", "SequenceMap"}
)
_SIZE_BOUND_BY_INPUT = frozenset({"NonZero", "Unique", "Compress"})
"""Their results have no size before they are computed, but at most a few values for each value that they read."""


def constant_tensor(tensor: Any, max_values: int | None = MAX_FOLDED_VALUES) -> Array | None:
    """Read a constant of the file.

    Args:
        tensor: ONNX tensor.
        max_values: Number of values above which it is not read; None for no limit.

    Returns:
        Its content; None if it is large, in another file, stripped or damaged.
    """
    from onnx import TensorProto, numpy_helper

    large = max_values is not None and math.prod(tensor.dims) > max_values
    if large or tensor.data_location == TensorProto.EXTERNAL:
        return None
    with contextlib.suppress(ValueError, TypeError, LookupError, ArithmeticError):  # stripped, or damaged
        return np.asarray(numpy_helper.to_array(tensor))
    return None


def constant_node_value(node: Any) -> Array | None:
    """Read what a ``Constant`` node holds.

    Args:
        node: ONNX node.

    Returns:
        Its content; None if it is large, sparse or not numeric.
    """
    for attribute in node.attribute:
        if attribute.name == "value":
            return constant_tensor(attribute.t)
        if attribute.name in ("value_int", "value_ints"):
            value = attribute.i if attribute.name == "value_int" else list(attribute.ints)
            return np.asarray(value, dtype=np.int64)
        if attribute.name in ("value_float", "value_floats"):
            return np.asarray(attribute.f if attribute.name == "value_float" else list(attribute.floats), np.float32)
    return None


def shape_value(node: Any, shape: Sequence[int | None]) -> Array | None:
    """Compute the result of a ``Shape`` or ``Size`` node.

    Args:
        node: ONNX node.
        shape: Shape of its input.

    Returns:
        The result; None if it needs a size that is not known.
    """
    bounds = {attribute.name: attribute.i for attribute in node.attribute}
    taken = list(shape)[bounds.get("start", 0) : bounds.get("end")] if node.op_type == "Shape" else list(shape)
    if any(size is None for size in taken):
        return None
    if node.op_type == "Shape":
        return np.asarray(taken, dtype=np.int64)
    return np.asarray(math.prod(size for size in taken if size is not None), dtype=np.int64)


def folded(
    node: Any, inputs: Sequence[Array | None], sizes: Sequence[Sequence[int | None] | None], opsets: Sequence[Any]
) -> list[Array] | None:
    """Compute a node all of whose inputs are constants.

    Args:
        node: ONNX node.
        inputs: Values of its inputs; None for an optional input that is left out.
        sizes: Shapes of its outputs, as far as they are known before they are computed; they bound the memory.
        opsets: Operator sets of the model.

    Returns:
        Values of its outputs; None if the node is not computed.
    """
    if node.op_type in _NOT_FOLDED or node.domain not in ("", "ai.onnx"):
        return None
    # Text has no size that its shape bounds, and no layer needs it.
    if any(value is not None and value.dtype.kind in "OSUT" for value in inputs):
        return None
    read = sum(value.size for value in inputs if value is not None)
    if read > _MAX_READ_VALUES or not (node.op_type in _SIZE_BOUND_BY_INPUT or all(map(_is_small, sizes))):
        return None
    quick = _QUICK.get(node.op_type)
    with contextlib.suppress(Exception):  # a wrong constant is no value; whoever needs it names it
        found = [np.asarray(quick(*inputs))] if quick is not None else _reference(node, inputs, opsets)
        return found if all(value.size <= MAX_FOLDED_VALUES for value in found) else None
    return None


def _is_small(shape: Sequence[int | None] | None) -> bool:
    return shape is not None and None not in shape and math.prod(size or 0 for size in shape) <= MAX_FOLDED_VALUES


_QUICK: dict[str, Callable[..., Any]] = {
    "Identity": lambda x: x,
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Equal": np.equal,
    "Greater": np.greater,
    "Less": np.less,
    "Where": np.where,
    "Not": np.logical_not,
}
"""Frequent operators without attributes, in NumPy: the reference implementation needs a millisecond for each."""


def _reference(node: Any, inputs: Sequence[Array | None], opsets: Sequence[Any]) -> list[Array]:
    """The outputs according to ONNX's reference implementation."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    given = {name: value for name, value in zip(node.input, inputs, strict=True) if name and value is not None}
    arguments = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in given.items()
    ]
    results = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = helper.make_graph([node], "constant", arguments, results)
    model = helper.make_model(graph, opset_imports=list(opsets))
    found = ReferenceEvaluator(model).run(None, given)
    return [np.asarray(value) for value in found]
