"""An ONNX file as plain values: nodes in topological order, shapes and, on request, weight densities."""

import heapq
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from offramp.errors import WorkloadError
from offramp.workload.from_onnx.shape_propagation import Shape, propagate_shapes
from offramp.workload.from_onnx.weight_counts import weight_densities

MAX_FILE_BYTES = 2 * 1024**3
WEIGHT_POSITIONS = {
    "Conv": (1, 2),
    "Gemm": (1, 2),
    "MatMul": (1,),
    "BatchNormalization": (1, 2, 3, 4),
    "QLinearConv": (1, 2, 3, 4, 5, 6, 7, 8),
    "QLinearMatMul": (1, 2, 3, 4, 5, 6, 7),
    "PRelu": (1,),
    "LayerNormalization": (1, 2),
    "RMSNormalization": (1,),
    "GroupNormalization": (1, 2),
}
_WINDOW_OPS = ("Conv", "QLinearConv", "ConvInteger", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")


@dataclass(frozen=True)
class OnnxNode:
    """One operator.

    Attributes:
        name: Unique name.
        op: Operator type, with its domain if it is not a standard one.
        inputs: Names of the input tensors; empty for an optional input that is left out.
        outputs: Names of the output tensors.
        attributes: Numbers, strings and lists of them, by name.
        captured: Names of the tensors that its subgraphs (the branches of an `If`, the body of a `Loop`) read from the
            graph around them.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    captured: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of all tensors that the node reads, each once: its inputs, then what its subgraphs capture."""
        return tuple(dict.fromkeys(name for name in (*self.inputs, *self.captured) if name))

    def integer(self, name: str, default: int) -> int:
        """Read an integer attribute.

        Args:
            name: Name of the attribute.
            default: Value if there is no such integer.

        Returns:
            The value.
        """
        value = self.attributes.get(name)
        return value if isinstance(value, int) else default

    def integers(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Read an attribute with a list of integers.

        Args:
            name: Name of the attribute.
            default: Values if there is no such list.

        Returns:
            The values.
        """
        value = self.attributes.get(name)
        return tuple(int(item) for item in value) if isinstance(value, list | tuple) else default


@dataclass(frozen=True)
class OnnxGraph:
    """The graph of an ONNX file.

    Attributes:
        input: Name of the input tensor.
        outputs: Names of the output tensors, in the order of the file.
        nodes: Nodes in topological order.
        shapes: Shapes by tensor name.
        values: Content of small integer constants, such as axes, by tensor name.
        weight_densities: Share of nonzero weights by node name, if weights were read.
    """

    input: str
    outputs: tuple[str, ...]
    nodes: tuple[OnnxNode, ...]
    shapes: dict[str, Shape]
    values: dict[str, tuple[int, ...]]
    weight_densities: dict[str, float] = field(default_factory=dict)

    @cached_property
    def has_tokens(self) -> bool:
        """Whether tensors of three axes are (batch, tokens, channels); False if a window slides over one axis."""
        windowed = (node for node in self.nodes if node.op in _WINDOW_OPS and node.inputs)
        return all(len(self.shapes.get(node.inputs[0], ())) != 3 for node in windowed)


def read_onnx(path: Path, *, read_weights: bool = False) -> OnnxGraph:
    """Read the graph of an ONNX file.

    Args:
        path: ONNX file.
        read_weights: Whether nonzero weights in the file itself are counted.

    Returns:
        The graph.

    Raises:
        WorkloadError: The file cannot be read, is no ONNX model, or has no valid graph.
    """
    model = _parse(path)
    graph = model.graph
    if not graph.node:
        raise WorkloadError(
            f"'{path}' must be an ONNX model with layers, but its graph is empty. Is the file complete?"
        )
    for tensor in graph.initializer:
        _check_external(tensor, path)
    nodes = _nodes(graph)
    order = _execution_order(nodes, path)
    if order != list(range(len(nodes))):
        # Shape inference requires the nodes of the file in order.
        sorted_protos = [graph.node[index] for index in order]
        del graph.node[:]
        graph.node.extend(sorted_protos)
        nodes = [nodes[index] for index in order]
    facts = propagate_shapes(model)
    return OnnxGraph(
        input=_input_name(graph, nodes, path),
        outputs=tuple(dict.fromkeys(item.name for item in graph.output)),
        nodes=tuple(nodes),
        shapes=facts.shapes,
        values=facts.integer_lists(),
        weight_densities=weight_densities(graph, _with_protos(nodes, graph)) if read_weights else {},
    )


def _with_protos(nodes: list[OnnxNode], graph: Any) -> list[tuple[str, Any]]:
    """Pairs of node name and node of the file."""
    return [(node.name, proto) for node, proto in zip(nodes, graph.node, strict=True)]


def _parse(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        if path.is_dir():
            raise WorkloadError(f"'{path}' is a folder; give an ONNX file.")
        size = path.stat().st_size
        if size >= MAX_FILE_BYTES:
            raise WorkloadError(
                f"ONNX file '{path}' must be below 2 GiB, got {size / 1024**3:.1f} GiB. Save its weights as external "
                "data or strip them; a price needs only the shapes."
            )
        model = onnx.load_model_from_string(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise WorkloadError(f"ONNX file '{path}' cannot be read: {getattr(exc, 'strerror', None) or exc}.") from exc
    except DecodeError as exc:
        raise WorkloadError(f"'{path}' must be an ONNX model, but it is damaged or of another kind: {exc}.") from exc
    if not model.functions:
        return model
    from onnx.inliner import inline_local_functions

    try:
        return inline_local_functions(model)
    except (RuntimeError, ValueError) as exc:
        raise WorkloadError(f"The local functions of '{path}' cannot be inlined: {exc}.") from exc


def _check_external(tensor: Any, path: Path) -> None:
    """Refuse a file whose external data lies outside its folder; external data is never opened."""
    for entry in tensor.external_data:
        parts = (PurePosixPath(entry.value), PureWindowsPath(entry.value))
        if entry.key == "location" and any(part.is_absolute() or ".." in part.parts for part in parts):
            raise WorkloadError(
                f"External data of '{path}' must lie in its folder, but tensor '{tensor.name}' points to "
                f"'{entry.value}'."
            )


def _nodes(graph: Any) -> list[OnnxNode]:
    seen = {"input"}  # the name of the graph's input in a workload
    nodes = []
    for index, node in enumerate(graph.node):
        name = base = node.name or f"{node.op_type}_{index}"
        copy = 1
        while name in seen:
            name, copy = f"{base}#{copy}", copy + 1
        seen.add(name)
        op = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        nodes.append(OnnxNode(name, op, tuple(node.input), tuple(node.output), _attributes(node), _captured(node)))
    return nodes


def _captured(node: Any) -> tuple[str, ...]:
    """Names that the subgraphs of a node read and do not define, in order."""
    names: dict[str, None] = {}
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            inside = {item.name for item in (*graph.input, *graph.initializer)}
            inside |= {tensor.values.name for tensor in graph.sparse_initializer}
            inside |= {output for inner in graph.node for output in inner.output}
            read = [name for inner in graph.node for name in (*inner.input, *_captured(inner))]
            read += [item.name for item in graph.output]
            names |= dict.fromkeys(name for name in read if name and name not in inside)
    return tuple(names)


def _attributes(node: Any) -> dict[str, Any]:
    import onnx

    plain = {onnx.AttributeProto.INT, onnx.AttributeProto.INTS, onnx.AttributeProto.FLOAT, onnx.AttributeProto.STRING}
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type in plain:
            value = onnx.helper.get_attribute_value(attribute)
            attributes[attribute.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return attributes


def _execution_order(nodes: list[OnnxNode], path: Path) -> list[int]:
    """Indices of the nodes in a topological order that stays as close as possible to the order of the file."""
    producer: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for output in filter(None, node.outputs):
            if output in producer:
                raise WorkloadError(f"Tensor '{output}' of '{path}' must have one producer, but two nodes write it.")
            producer[output] = index
    sources = [{producer[name] for name in node.reads if name in producer} for node in nodes]
    order = _topological_order(sources)
    if len(order) < len(nodes):
        stuck = [node.name for index, node in enumerate(nodes) if index not in set(order)]
        raise WorkloadError(
            f"The graph of '{path}' must not have a cycle; there is one through {', '.join(stuck[:5])}."
        )
    return order


def _topological_order(sources: list[set[int]]) -> list[int]:
    """Indices such that each comes after its sources, the smallest possible first; those in a cycle are left out."""
    followers: list[list[int]] = [[] for _ in sources]
    for index, own in enumerate(sources):
        for source in own:
            followers[source].append(index)
    waiting = [len(own) for own in sources]
    ready = [index for index, count in enumerate(waiting) if count == 0]
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for follower in followers[index]:
            waiting[follower] -= 1
            if waiting[follower] == 0:
                heapq.heappush(ready, follower)
    return order


def _input_name(graph: Any, nodes: list[OnnxNode], path: Path) -> str:
    """Name of the only data input; stripped or old files list weights among the inputs too."""
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {tensor.values.name for tensor in graph.sparse_initializer}
    for node in nodes:
        for position in WEIGHT_POSITIONS.get(node.op, ()):
            if position < len(node.inputs):
                constants.add(node.inputs[position])
    names = [item.name for item in graph.input if item.name not in constants]
    if len(names) != 1:
        given = ", ".join(names) or "none"
        raise WorkloadError(f"The graph of '{path}' must have one input, got {len(names)}: {given}.")
    return str(names[0])
