"""The last step of writing an ONNX model: no unused constants, one opset per domain, the lowest versions."""

from collections.abc import Iterator
from typing import Any

EXPORT_OPSET = 18
"""The opset that graphs are exported in: the lowest that the exporter of torch writes."""

# Quantisation per channel exists from this opset on, and tools read nothing older.
_LOWEST_OPSET = 13


def finish_model_(model: Any) -> None:
    """Remove unused constants, lower the versions and check the model.

    The opset becomes the lowest in which every operator is defined as in the current one, so the meaning stays the
    same. The IR version becomes the lowest that holds this opset. A domain is listed once, and only if it is used.

    Args:
        model: The ONNX model; changed in place.

    Raises:
        onnx.checker.ValidationError: If the model is not valid.
        onnx.shape_inference.InferenceError: If the shapes of the model contradict each other.
    """
    import onnx

    _drop_unused_constants(model.graph)
    current: dict[str, int] = {}
    for item in model.opset_import:
        domain = _domain(item.domain)
        current[domain] = max(item.version, current.get(domain, 0))
    lowest = {"": _LOWEST_OPSET}
    for node in (node for graph in graphs_of(model.graph) for node in graph.node):
        domain = _domain(node.domain)
        since = onnx.defs.get_schema(node.op_type, current[domain], domain).since_version
        lowest[domain] = max(since, lowest.get(domain, 1))
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in lowest.items())
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
    onnx.checker.check_model(model, full_check=True)


def opset_of(model: Any) -> int:
    """Version of the standard operators that a graph is written in.

    Args:
        model: The ONNX model.

    Returns:
        The version.
    """
    return max(int(item.version) for item in model.opset_import if _domain(item.domain) == "")


def graphs_of(graph: Any) -> Iterator[Any]:
    """List a graph and all graphs inside it.

    Args:
        graph: The ONNX graph.

    Yields:
        The graphs, the given one first.
    """
    yield graph
    for node in graph.node:
        for inner in _inner_graphs(node):
            yield from graphs_of(inner)


def _domain(name: str) -> str:
    """The standard domain has two names."""
    return "" if name == "ai.onnx" else name


def _inner_graphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _drop_unused_constants(graph: Any) -> set[str]:
    """Remove constants that nothing reads. Returns the names that the graph and its inner graphs read."""
    used = {name for node in graph.node for name in node.input}
    used |= {value.name for value in graph.output}
    for node in graph.node:
        for inner in _inner_graphs(node):
            used |= _drop_unused_constants(inner)
    # A constant that is also an input is a default value; it stays, like the input.
    kept = used | {value.name for value in graph.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in kept]
    if len(constants) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(constants)
    return used
