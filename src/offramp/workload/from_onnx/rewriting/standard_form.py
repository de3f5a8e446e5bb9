"""The standard form of a graph: what has a rule of its own, in place of quantised, fused and composite operators."""

from collections.abc import Mapping
from dataclasses import replace

from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.operators import BINARY_OPS, FREE_OPS, REASON, SHAPE_READERS, UNKNOWN_TENSOR
from offramp.workload.from_onnx.rewriting.attention_operators import ATTENTION_RULES
from offramp.workload.from_onnx.rewriting.einstein_sums import EINSUM_RULES
from offramp.workload.from_onnx.rewriting.node_writer import NodeWriter, RewriteRule
from offramp.workload.from_onnx.rewriting.norms_in_parts import fold_norms
from offramp.workload.from_onnx.rewriting.product_forms import PRODUCT_RULES
from offramp.workload.from_onnx.rewriting.quantized_operators import QUANTIZED_RULES
from offramp.workload.from_onnx.rewriting.recurrent_layers import RECURRENT_RULES
from offramp.workload.from_onnx.rewriting.transposed_convolutions import TRANSPOSED_RULES
from offramp.workload.from_onnx.tensor_sizes import UnknownShape, Unpriceable
from offramp.workload.graph import GRAPH_INPUT

PASSES: tuple[Mapping[str, RewriteRule], ...] = (
    QUANTIZED_RULES,
    {**PRODUCT_RULES, **ATTENTION_RULES, **RECURRENT_RULES, **EINSUM_RULES, **TRANSPOSED_RULES},
)
"""What is rewritten, in this order: a later pass sees what an earlier one wrote."""


def standard_form(graph: OnnxGraph) -> OnnxGraph:
    """Rewrite a graph into operators that have a price, so that equal computations have equal prices.

    Args:
        graph: The graph of a file.

    Returns:
        The graph that computes the same.
    """
    for rules in PASSES:
        if any(node.op in rules for node in graph.nodes):
            graph = _rewritten(graph, rules)
    return fold_norms(graph)


def _rewritten(graph: OnnxGraph, rules: Mapping[str, RewriteRule]) -> OnnxGraph:
    active = dict.fromkeys(graph.inputs, GRAPH_INPUT)
    nodes: list[OnnxNode] = []
    shapes = dict(graph.shapes)
    for node in graph.nodes:
        depends = node.op not in SHAPE_READERS and not active.keys().isdisjoint(node.reads)
        written = _written(node, graph, active, rules) if depends else None
        items = [node] if written is None else written.nodes
        nodes += items
        for item in items if depends else ():
            sources = {active[name] for name in item.reads if name in active}
            free = len(sources) == 1 and (item.op in FREE_OPS or item.op in BINARY_OPS)
            if sources:
                active |= dict.fromkeys(filter(None, item.outputs), sources.pop() if free else item.name)
        if written is not None:
            shapes |= written.shapes
    return replace(graph, nodes=tuple(nodes), shapes=shapes)


def _written(
    node: OnnxNode, graph: OnnxGraph, active: dict[str, str], rules: Mapping[str, RewriteRule]
) -> NodeWriter | None:
    rule = rules.get(node.op)
    if rule is None:
        return None
    writer = NodeWriter(node, graph, active)
    try:
        return writer if rule(writer) else None
    except Unpriceable as exc:
        return _kept(writer, {REASON: str(exc)})
    except UnknownShape as exc:
        return _kept(writer, {UNKNOWN_TENSOR: str(exc)})
    except (LookupError, ValueError, ArithmeticError, TypeError):
        return _kept(writer, {REASON: "has inputs, attributes and shapes that do not fit each other"})


def _kept(writer: NodeWriter, reason: dict[str, str]) -> NodeWriter:
    """The node as it is, with the reason why it has no other form."""
    node = replace(writer.node, attributes={**writer.node.attributes, **reason})
    return NodeWriter(node, writer.graph, writer.active, [node])
