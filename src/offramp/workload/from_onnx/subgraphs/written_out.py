"""Graphs without control flow: branches of `If` and bodies of `Loop` as nodes of the graph around them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offramp.workload.from_onnx.constant_folding import Array
from offramp.workload.from_onnx.shape_propagation import propagate_shapes
from offramp.workload.from_onnx.subgraphs.early_exits import EarlyExits
from offramp.workload.from_onnx.subgraphs.graph_writer import GraphWriter

MAX_PASSES = 100
MAX_NODES = 50_000
"""A loop is not written out if the graph would have more nodes."""


@dataclass(frozen=True)
class WrittenOut:
    """What was found while control flow was written out.

    Attributes:
        final: Name of the output that is the final exit; None if the graph has no early exits in its `If` nodes.
        notes: Sentences about how control flow was read.
    """

    final: str | None = None
    notes: tuple[str, ...] = ()


def write_out_control_flow(model: Any) -> WrittenOut:
    """Replace nodes with subgraphs by the nodes that run; the model is changed in place.

    Of an `If` whose condition is a constant, the branch that runs is written out. An early exit (see `EarlyExits`)
    becomes an output. A `Loop` with a constant number of iterations is written out iteration by iteration. All other
    nodes with subgraphs stay as they are.

    Args:
        model: ONNX model, its nodes in topological order.

    Returns:
        The final exit, and what was done.
    """
    exits = EarlyExits(model.graph)
    for _ in range(MAX_PASSES):
        waiting = [node.output[0] for node in model.graph.node if node.op_type in ("If", "Loop") and node.output]
        values = _constants(model) if waiting else {}
        written = [_write_out(model.graph, name, values, exits) for name in waiting]
        if not any(written):
            break
    return WrittenOut(exits.finish(), exits.notes)


def _constants(model: Any) -> dict[str, Array]:
    """Values of small constants, without those that follow from an input with a default, such as thresholds."""
    graph = model.graph
    has_default = model.ir_version >= 4  # before, every constant had to be an input as well
    defaults = {tensor.name for tensor in graph.initializer} if has_default else set[str]()
    open_names = defaults & {item.name for item in graph.input}
    for node in graph.node:
        if not open_names.isdisjoint(node.input):
            open_names.update(node.output)
    return {name: value for name, value in propagate_shapes(model).values.items() if name not in open_names}


def _write_out(graph: Any, output: str, values: Mapping[str, Array], exits: EarlyExits) -> bool:
    node = next((node for node in graph.node if output in node.output), None)
    if node is None or not node.input:
        return False
    if node.op_type == "If" and node.input[0] in values:
        taken = _subgraph(node, "then_branch" if bool(values[node.input[0]].all()) else "else_branch")
        return taken is not None and _write_branch(graph, node, taken)
    if node.op_type == "If":
        return exits.write_out(node)
    body = _subgraph(node, "body")
    return node.op_type == "Loop" and body is not None and _write_loop(graph, node, body, values)


def _write_branch(graph: Any, node: Any, branch: Any) -> bool:
    from onnx import helper

    writer, label = GraphWriter(graph), node.name or node.output[0]
    nodes, names = writer.nodes(branch, label, writer.constants(branch, label))
    for item, output in zip(branch.output, node.output, strict=False):
        if output:
            nodes.append(helper.make_node("Identity", [names.get(item.name, item.name)], [output]))
    writer.replace(node, nodes)
    return True


def _write_loop(graph: Any, node: Any, body: Any, values: Mapping[str, Array]) -> bool:
    """Write out a loop that runs a known number of times and collects no results of single iterations."""
    from onnx import helper, numpy_helper

    carried = list(node.input[2:])
    count = values.get(node.input[0]) if node.input[0] else None
    if count is None or len(body.output) != 1 + len(carried) or not _always_true(node, body, values):
        return False
    if count.size != 1:
        return False
    iterations = max(0, int(count.reshape(-1)[0]))
    if len(graph.node) + iterations * len(body.node) > MAX_NODES:
        return False
    writer, label = GraphWriter(graph), node.name or node.output[0]
    constants = writer.constants(body, label)
    true = writer.free("true", label)
    graph.initializer.append(numpy_helper.from_array(_scalar(True), true))
    nodes: list[Any] = []
    for iteration in range(iterations):
        index = writer.free(f"iteration_{iteration}", label)
        graph.initializer.append(numpy_helper.from_array(_scalar(iteration), index))
        inputs = dict(zip([item.name for item in body.input], [index, true, *carried], strict=False))
        copies, names = writer.nodes(body, f"{label}/{iteration}", constants | inputs)
        nodes += copies
        carried = [names.get(item.name, item.name) for item in body.output[1:]]
    for name, output in zip(carried, node.output, strict=False):
        if output:
            nodes.append(helper.make_node("Identity", [name], [output]))
    writer.replace(node, nodes)
    return True


def _subgraph(node: Any, name: str) -> Any:
    return next((item.g for item in node.attribute if item.name == name and item.HasField("g")), None)


def _scalar(value: int) -> Array:
    import numpy as np

    return np.asarray(value, dtype=np.bool_ if isinstance(value, bool) else np.int64)


def _always_true(node: Any, body: Any, values: Mapping[str, Array]) -> bool:
    """Whether no condition ends the loop before its last iteration."""
    condition = node.input[1] if len(node.input) > 1 else ""
    if condition and not (condition in values and bool(values[condition].all())):
        return False
    constants = {tensor.name: tensor for tensor in body.initializer}
    makers = {name: inner for inner in body.node for name in inner.output}
    name = body.output[0].name
    while name in makers and makers[name].op_type == "Identity":
        name = makers[name].input[0]
    if len(body.input) > 1 and name == body.input[1].name:
        return True
    from offramp.workload.from_onnx.constant_folding import constant_node_value, constant_tensor

    known = values.get(name)
    if name in constants:
        known = constant_tensor(constants[name])
    elif name in makers and makers[name].op_type == "Constant":
        known = constant_node_value(makers[name])
    return known is not None and bool(known.all())
