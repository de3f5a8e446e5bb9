"""The static counterpart of a bundle: the same backbone and final classifier without early exits."""

import math
from collections.abc import Sequence
from typing import Any

from offramp.deploy.onnx.finish_model import finish_model_
from offramp.deploy.onnx.value_names import exit_name
from offramp.deploy.runtime.graph_check import known_shapes

_STATIC_NAME = "static_network"


def static_model(joined: Any) -> Any:
    """What of ``model.onnx`` (see `export_bundle`) the final exit needs: the network as if it never had others.

    Args:
        joined: The model of all stages in one graph that gives every exit's logits.

    Returns:
        The static model.
    """
    return plain_model(joined, len(joined.graph.output) - 1)


def plain_model(joined: Any, exit_index: int) -> Any:
    """What of ``model.onnx`` one exit needs: its layers in a plain graph, as if it were known where a sample leaves.

    Args:
        joined: The model of all stages in one graph that gives every exit's logits.
        exit_index: Index of the exit.

    Returns:
        The model.
    """
    return _reduced(joined, [exit_name(exit_index)])


def macs_to_exits(joined: Any) -> tuple[int, ...]:
    """Multiply-accumulates for one sample up to each exit, the branches on the way included.

    Args:
        joined: The model of all stages in one graph that gives every exit's logits.

    Returns:
        Multiply-accumulates per exit.
    """
    names = [exit_name(index) for index in range(len(joined.graph.output))]
    return tuple(count_macs(_reduced(joined, names[: index + 1])) for index in range(len(names)))


def count_macs(model: Any) -> int:
    """Multiply-accumulates of convolutions and matrix products for one sample.

    Args:
        model: The ONNX model.

    Returns:
        Multiply-accumulates of one sample.
    """
    shapes = known_shapes(model)
    total = 0
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            total += math.prod(shapes[node.output[0]]) * _terms(node, shapes)
    return total


def _terms(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    """How many products are summed up for one value of the result."""
    if node.op_type == "Conv":
        return math.prod(shapes[node.input[1]][1:])
    transposed = any(item.name == "transA" and item.i for item in node.attribute)
    return shapes[node.input[0]][0 if transposed else -1]


def _reduced(joined: Any, outputs: Sequence[str]) -> Any:
    """The nodes and constants that ``outputs`` need, in order."""
    import onnx

    needed = set(outputs)
    nodes = []
    for node in reversed(joined.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    constants = [tensor for tensor in joined.graph.initializer if tensor.name in needed]
    kept = [item for item in joined.graph.output if item.name in outputs]
    graph = onnx.helper.make_graph(nodes[::-1], _STATIC_NAME, joined.graph.input, kept, constants)
    model = onnx.helper.make_model(graph, opset_imports=joined.opset_import)
    finish_model_(model)
    return model
