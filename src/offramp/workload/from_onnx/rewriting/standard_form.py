"""The standard form of a graph: what has a rule of its own, in place of quantised, fused and composite operators."""

from collections.abc import Mapping
from dataclasses import replace

from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.operators import SHAPE_READERS
from offramp.workload.from_onnx.rewriting.node_writer import NodeWriter, RewriteRule
from offramp.workload.from_onnx.rewriting.quantized_operators import QUANTIZED_RULES

_PASSES: tuple[Mapping[str, RewriteRule], ...] = (QUANTIZED_RULES,)
"""What is rewritten, in this order: a later pass sees what an earlier one wrote."""


def standard_form(graph: OnnxGraph) -> OnnxGraph:
    """Rewrite a graph into operators that have a price, so that equal computations have equal prices.

    Args:
        graph: The graph of a file.

    Returns:
        The graph that computes the same.
    """
    for rules in _PASSES:
        if any(node.op in rules for node in graph.nodes):
            graph = _rewritten(graph, rules)
    return graph


def _rewritten(graph: OnnxGraph, rules: Mapping[str, RewriteRule]) -> OnnxGraph:
    active = {graph.input}
    nodes: list[OnnxNode] = []
    shapes = dict(graph.shapes)
    for node in graph.nodes:
        depends = node.op not in SHAPE_READERS and not active.isdisjoint(node.reads)
        written = _written(node, graph, active, rules) if depends else None
        nodes += [node] if written is None else written.nodes
        for item in [node] if written is None else written.nodes:
            if depends and not active.isdisjoint(item.reads):
                active.update(filter(None, item.outputs))
        if written is not None:
            shapes |= written.shapes
    return replace(graph, nodes=tuple(nodes), shapes=shapes)


def _written(node: OnnxNode, graph: OnnxGraph, active: set[str], rules: Mapping[str, RewriteRule]) -> NodeWriter | None:
    rule = rules.get(node.op)
    if rule is None:
        return None
    writer = NodeWriter(node, graph, active)
    return writer if rule(writer) else None
