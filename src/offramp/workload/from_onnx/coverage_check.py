"""A check in every run that no node of an ONNX graph is left out of the price."""

from collections.abc import Collection
from pathlib import Path

from offramp.errors import WorkloadError
from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.found_layers import FoundLayers, Treatment, listed
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.operators import SHAPE_READERS


def check_coverage(file_graph: OnnxGraph, graph: OnnxGraph, found: FoundLayers, path: Path) -> None:
    """Check that every node is priced, free for a stated reason, or not needed, and that the counts come out even.

    What each node must be follows from the edges of the graph alone, so that a rule that forgets an input is noticed. A
    node that the outputs of the file need is still needed after operators were written in other forms.

    Args:
        file_graph: The graph of the file.
        graph: The graph in the form that was priced.
        found: Its layers, and the treatment of each node.
        path: The file, for messages.

    Raises:
        WorkloadError: A node is not accounted for; the message names it.
    """
    active = _active_tensors(graph)
    used = _used_nodes(graph)
    inputs = {layer.name: set(layer.inputs) for layer in found.layers}
    lost = [
        f"{node.name} ({node.op})"
        for node in graph.nodes
        if not _accounted_for(node, found, inputs, active, node.name in used)
    ]
    lost += [f"{node.name} ({node.op})" for node in _cut_off(file_graph, found)]
    num_priced = sum(item is Treatment.PRICED for item in found.treatments.values())
    if lost or not num_priced == len(found.layers) == len(inputs) or len(found.treatments) != len(graph.nodes):
        raise WorkloadError(
            f"Every node of '{path}' must be priced, free for a stated reason, or refused, but of {len(graph.nodes)} "
            f"nodes these are not: {listed(lost) or 'unknown'}. This is a fault of offramp; please report it with the "
            "file."
        )


def _cut_off(file_graph: OnnxGraph, found: FoundLayers) -> list[OnnxNode]:
    """Nodes of the file that were needed and are no longer, since a node that was written otherwise does without them.

    The scales of dynamic quantisation are not followed: they belong to the layer whose values they scale.
    """
    scales = {name for node in file_graph.nodes if node.op == "DynamicQuantizeLinear" for name in node.outputs[1:]}
    active = _active_tensors(file_graph, scales)
    used = _used_nodes(file_graph)
    without = (Treatment.UNUSED, Treatment.CONSTANT)
    return [
        node
        for node in file_graph.nodes
        if node.name in used
        and node.op not in SHAPE_READERS
        and found.treatments.get(node.name) in without
        and not active.isdisjoint(node.reads)
    ]


def _accounted_for(
    node: OnnxNode, found: FoundLayers, inputs: dict[str, set[str]], active: set[str], used: bool
) -> bool:
    """Whether the treatment of a node is the one that the edges of the graph demand."""
    treatment = found.treatments.get(node.name)
    if treatment is None or not used:
        return treatment is Treatment.UNUSED
    if node.op in SHAPE_READERS:
        return treatment is Treatment.SHAPE
    sources = {found.origin.get(name) for name in node.reads if name in active}
    if not sources:
        return treatment is Treatment.CONSTANT
    if treatment is Treatment.FREE:
        return len(sources) == 1 and all(found.origin.get(name) in sources for name in node.outputs if name)
    return treatment is Treatment.PRICED and inputs.get(node.name) == sources


def _active_tensors(graph: OnnxGraph, without: Collection[str] = ()) -> set[str]:
    """Tensors that depend on values of the input, other than through those of ``without``."""
    active = set(graph.inputs)
    for node in graph.nodes:
        if node.op not in SHAPE_READERS and not active.isdisjoint(node.reads):
            active.update(name for name in node.outputs if name and name not in without)
    return active


def _used_nodes(graph: OnnxGraph) -> set[str]:
    """Names of the nodes from which a path leads to an output, other than through the reading of a shape."""
    producer = {name: node for node in graph.nodes for name in node.outputs if name}
    waiting = [producer[name] for name in graph.outputs if name in producer]
    used: set[str] = set()
    while waiting:
        node = waiting.pop()
        if node.name in used:
            continue
        used.add(node.name)
        if node.op not in SHAPE_READERS:
            waiting += [producer[name] for name in node.reads if name in producer]
    return used
