"""Reductions: means, sums and maxima along axes, and the search for the largest value."""

import math

from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.tensor_sizes import Unpriceable, feature_map, per_sample, sizes
from offramp.workload.layer import LayerShape, Op
from offramp.workload.layer_constructors import FeatureMap, global_pooling

GLOBAL_POOL_OPS = {"GlobalAveragePool": Op.AVG_POOL, "GlobalMaxPool": Op.MAX_POOL, "GlobalLpPool": Op.AVG_POOL}
REDUCE_OPS = {
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceProd"), Op.AVG_POOL),
    **dict.fromkeys(("ReduceLogSum", "ReduceLogSumExp"), Op.AVG_POOL),
    **dict.fromkeys(("ReduceMax", "ReduceMin"), Op.MAX_POOL),
}
ARGUMENT_OPS = {"ArgMax": 0, "ArgMin": 0, "TopK": -1}
"""Searches for the largest or smallest values, and the axis along which they look if none is given."""


def reduction_layer(node: OnnxNode, graph: OnnxGraph, _: tuple[str, ...]) -> LayerShape:
    """Describe a reduction as a pooling over all reduced values: each value is read once, with one operation.

    Args:
        node: The node.
        graph: The graph.

    Returns:
        The layer shape.

    Raises:
        UnknownShape: The shape of the input is not known.
        Unpriceable: The reduced axes are not known.
    """
    op = (GLOBAL_POOL_OPS | REDUCE_OPS).get(node.op, Op.MAX_POOL)
    found = sizes(graph, node.inputs[0])
    rank = len(found) + 1
    reduced = _reduced_axes(node, graph, rank)
    samples = per_sample(graph, node.inputs[0])
    if rank <= 4 and reduced == tuple(range(2, rank)) and not (rank == 3 and graph.has_tokens):
        return global_pooling(op, feature_map(graph, node.inputs[0]))
    if rank == 4 and reduced == (1, 2):
        return global_pooling(op, FeatureMap(found[2], found[0], found[1], samples))
    of_sample = (samples, *found)
    kept = math.prod(size for axis, size in enumerate(of_sample) if axis not in reduced and axis > 0)
    height = math.prod(size for axis, size in enumerate(of_sample) if axis in reduced)
    return global_pooling(op, FeatureMap(kept, height, 1, 1 if 0 in reduced else samples))


def finds_a_class(node: OnnxNode, graph: OnnxGraph) -> bool:
    """Check whether a search for the largest value works on one vector per sample, such as the logits.

    Args:
        node: A node of `ARGUMENT_OPS`.
        graph: The graph.

    Returns:
        Whether the layer before finds it while it writes its output.

    Raises:
        UnknownShape: The shape of the input is not known.
    """
    found = sizes(graph, node.inputs[0])
    is_vector = not found  # without a batch axis
    return is_vector or (max(found) == math.prod(found) and per_sample(graph, node.inputs[0]) == 1)


def _reduced_axes(node: OnnxNode, graph: OnnxGraph, rank: int) -> tuple[int, ...]:
    if node.op in GLOBAL_POOL_OPS:
        return tuple(range(2, rank))
    if node.op in ARGUMENT_OPS:
        return (node.integer("axis", ARGUMENT_OPS[node.op]) % rank,)
    axes = node.integers("axes")
    if not axes and len(node.inputs) > 1 and node.inputs[1]:
        if node.inputs[1] not in graph.values:
            raise Unpriceable("reduces axes that are not known")
        axes = graph.values[node.inputs[1]]
    return tuple(sorted(axis % rank for axis in axes)) if axes else tuple(range(rank))
