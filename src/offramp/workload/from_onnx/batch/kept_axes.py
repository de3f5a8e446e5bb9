"""Axes whose entries an operator combines, of the operators that keep the axes of their input."""

from collections.abc import Mapping

import numpy as np

from offramp.workload.from_onnx.constant_folding import Array
from offramp.workload.from_onnx.onnx_node import OnnxNode

ELEMENT_BY_ELEMENT = frozenset(
    {"Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Mish", "Gelu", "Swish"}
    | {"Tanh", "Softplus", "Softsign", "ThresholdedRelu", "Erf", "Abs", "Neg", "Exp", "Log", "Sqrt", "Reciprocal"}
    | {
        "Floor",
        "Ceil",
        "Round",
        "Sign",
        "Sin",
        "Cos",
        "Not",
        "IsNaN",
        "IsInf",
        "Identity",
        "Cast",
        "CastLike",
        "Dropout",
    }
    | {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Shrink"}
)
"""Operators whose result has the shape of the input and depends on no other value."""

_ELSEWHERE_ONLY = frozenset({"Slice", "Split", "Pad", "Tile", "Resize", "Upsample"})
"""They move entries along other axes; a change of the batch axis would change its size."""

_ONE_AXIS = {"LpNormalization": -1, "TopK": -1}
_FROM_AXIS = {"LayerNormalization": -1, "RMSNormalization": -1, "Softmax": 1, "LogSoftmax": 1, "Hardmax": 1}
"""Default of the first axis; softmax combines all axes from there on before opset 13, and the given one since then."""

_CHANNELS_ONLY = frozenset({"BatchNormalization"})


def combined_axes(node: OnnxNode, op: str, rank: int, values: Mapping[str, Array]) -> frozenset[int]:
    """Find the axes along which an operator combines entries, or treats them differently.

    Args:
        node: The node.
        op: Its standard operator.
        rank: Number of axes of its input.
        values: Small constants by tensor name.

    Returns:
        The axes. All but the first for an operator that is not known: the first axis of images, sequences and volumes
        is the batch.
    """
    if op in ELEMENT_BY_ELEMENT or op in _ELSEWHERE_ONLY:
        return frozenset()
    if op in _ONE_AXIS:
        return frozenset({node.integer("axis", _ONE_AXIS[op]) % rank})
    if op in _FROM_AXIS:
        return frozenset(range(node.integer("axis", _FROM_AXIS[op]) % rank, rank))
    if op in _CHANNELS_ONLY:
        return frozenset({1})
    if op == "CumSum" and len(node.inputs) > 1 and node.inputs[1] in values:
        return frozenset({int(values[node.inputs[1]].reshape(-1)[0]) % rank})
    if op == "GatherElements":
        return frozenset({node.integer("axis", 0) % rank})
    if op == "GatherND" and len(node.inputs) > 1 and node.inputs[1] in values:
        return _gathered_axes(values[node.inputs[1]], node.integer("batch_dims", 0))
    return frozenset(range(1, rank))


def _gathered_axes(indices: Array, first: int) -> frozenset[int]:
    """The axes along which entries are picked; one that stays in its place is none, as in `x[arange(len(x)), i]`."""
    axes = frozenset(range(first, first + indices.shape[-1]))
    rows = np.arange(indices.shape[0]).reshape(-1, *(1,) * (indices.ndim - 2))
    return axes - {0} if first == 0 and indices.ndim > 1 and (indices[..., 0] == rows).all() else axes
