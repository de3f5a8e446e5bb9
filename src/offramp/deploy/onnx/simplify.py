"""Simplification of graphs to operators that runtimes compute fast; exact except for rounding."""

from typing import Any

import numpy as np


def use_global_pooling_(model: Any) -> None:
    """Write means over height and width as GlobalAveragePool, which onnxruntime computes in its layouts and in int8.

    As a ReduceMean the same mean makes it dequantise and reorder the whole map first.

    Args:
        model: The ONNX model; changed in place.
    """
    from onnx import helper

    constants = _constants(model.graph)
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    ranks = {item.name: len(item.type.tensor_type.shape.dim) for item in values}
    nodes = []
    for node in model.graph.node:
        if not _is_spatial_mean(node, constants, ranks):
            nodes.append(node)
            continue
        if _keeps_axes(node):
            nodes.append(helper.make_node("GlobalAveragePool", [node.input[0]], [node.output[0]], name=node.name))
            continue
        pooled = f"{node.output[0]}_pooled"
        nodes.append(helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=node.name))
        nodes.append(helper.make_node("Flatten", [pooled], [node.output[0]], name=f"{node.name}_flat", axis=1))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _is_spatial_mean(node: Any, constants: dict[str, Any], ranks: dict[str, int]) -> bool:
    if node.op_type != "ReduceMean" or len(node.input) < 2 or ranks.get(node.input[0]) != 4:
        return False
    axes = constants.get(node.input[1])
    return axes is not None and sorted(int(axis) % 4 for axis in axes.reshape(-1)) == [2, 3]


def _keeps_axes(node: Any) -> bool:
    return all(attribute.i for attribute in node.attribute if attribute.name == "keepdims")


def pass_integers_on_(before: Any, after: Any, features: str) -> None:
    """Let a graph take the integers that ``features`` was dequantised from, where it would only quantise them again.

    ``before`` computes ``features`` and ``after`` uses it as a value of the scope around. Exact: quantising what was
    dequantised with the same step and zero point gives the same integers.

    Args:
        before: The graph of the stage before.
        after: The graph of the stage after; changed in place.
        features: Name of the features that pass from one to the other.
    """
    source = next((node for node in before.node if features in node.output), None)
    if source is None or source.op_type != "DequantizeLinear":
        return
    ours, theirs = _constants(before), _constants(after)
    users = [node for node in after.node if features in node.input]
    if not users or not all(
        node.op_type == "QuantizeLinear" and _same_grid(source, ours, node, theirs) for node in users
    ):
        return
    for user in users:
        for node in after.node:
            node.input[:] = [source.input[0] if name == user.output[0] else name for name in node.input]
        after.node.remove(user)


def _same_grid(first: Any, ours: dict[str, Any], second: Any, theirs: dict[str, Any]) -> bool:
    if len(first.input) != 3 or len(second.input) != 3 or len(first.attribute) or len(second.attribute):
        return False
    for left, right in zip(first.input[1:], second.input[1:], strict=True):
        a, b = ours.get(left), theirs.get(right)
        if a is None or b is None or a.dtype != b.dtype or a.size != 1 or not np.array_equal(a, b):
            return False
    return True


def _constants(graph: Any) -> dict[str, Any]:
    """Small constants of a graph by name."""
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if len(tensor.raw_data) <= 64}
