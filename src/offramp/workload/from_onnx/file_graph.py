"""An ONNX file as plain values: nodes in topological order, shapes and, on request, weight densities."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from offramp.errors import WorkloadError
from offramp.files.safe_files import read_file
from offramp.workload.from_onnx.batch.sample_shapes import sample_shapes
from offramp.workload.from_onnx.onnx_node import OnnxNode, read_nodes
from offramp.workload.from_onnx.open_sizes import fix_sizes, open_axes
from offramp.workload.from_onnx.shape_propagation import Shape, propagate_shapes
from offramp.workload.from_onnx.stored_weights.weight_counts import named_constants, weight_densities
from offramp.workload.from_onnx.stored_weights.weight_widths import StoredWidths, stored_widths
from offramp.workload.from_onnx.subgraphs.written_out import write_out_control_flow

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
    "InstanceNormalization": (1, 2),
    "ConvTranspose": (1, 2),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), (1, 2, 3, 7)),
}
_WINDOW_OPS = (
    *("Conv", "QLinearConv", "ConvInteger", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"),
    *("ConvTranspose", "Col2Im"),
)


@dataclass(frozen=True)
class OnnxGraph:
    """The graph of an ONNX file.

    Attributes:
        inputs: Names of the input tensors that hold data, in the order of the file.
        outputs: Names of the output tensors, in the order of the file.
        nodes: Nodes in topological order.
        shapes: Shapes for one sample by tensor name, with the batch axis where the file has it.
        values: Content of small integer constants, such as axes, by tensor name.
        weight_densities: Share of nonzero weights by node name, if weights were read.
        stored_widths: Bit widths of the weights of nodes, where the file states them.
        final: Name of the output that is the final exit, if the file says so.
        open_axes: Names of axes of the inputs whose size the file does not fix, but for the batch.
        notes: Sentences about what the file leaves open and how it was read.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[OnnxNode, ...]
    shapes: dict[str, Shape]
    values: dict[str, tuple[int, ...]]
    weight_densities: dict[str, float] = field(default_factory=dict)
    stored_widths: StoredWidths = field(default_factory=StoredWidths)
    final: str | None = None
    open_axes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def has_tokens(self) -> bool:
        """Whether tensors of three axes are (batch, tokens, channels); False if a window slides over one axis."""
        windowed = (node for node in self.nodes if node.op in _WINDOW_OPS and node.inputs)
        return all(len(self.shapes.get(node.inputs[0], ())) != 3 for node in windowed)


def read_onnx(path: Path, *, read_weights: bool = False, sizes: Mapping[str, int] | None = None) -> OnnxGraph:
    """Read the graph of an ONNX file.

    Args:
        path: ONNX file.
        read_weights: Whether nonzero weights in the file itself are counted.
        sizes: Sizes of axes that the file leaves open, by name (see `open_sizes.fix_sizes`).

    Returns:
        The graph.

    Raises:
        WorkloadError: The file cannot be read, is no ONNX model, or has no valid graph.
        InputError: A size is given for an axis that is not open.
    """
    model = _parse(path)
    graph = model.graph
    fix_sizes(graph, sizes or {}, path)
    if not graph.node:
        raise WorkloadError(
            f"'{path}' must be an ONNX model with layers, but its graph is empty. Is the file complete?"
        )
    for tensor in graph.initializer:
        _check_external(tensor, path)
    _sort_nodes(graph, path)
    control_flow = write_out_control_flow(model)
    nodes = _sort_nodes(graph, path)
    facts = propagate_shapes(model)
    sources = _input_names(graph, nodes, path)
    outputs = tuple(dict.fromkeys(item.name for item in graph.output))
    constants = dict(named_constants(graph))
    protos = [(node.name, proto) for node, proto in zip(nodes, graph.node, strict=True)]
    sample = sample_shapes(nodes, outputs, facts, sources, constants, path.parent)
    return OnnxGraph(
        inputs=sources,
        outputs=outputs,
        nodes=tuple(nodes),
        shapes=sample.shapes,
        values=facts.integer_lists(),
        weight_densities=weight_densities(graph, protos) if read_weights else {},
        stored_widths=stored_widths(graph, constants, protos),
        final=control_flow.final,
        open_axes=open_axes(graph, facts.shapes, constants),
        notes=(*_input_notes(sources), *control_flow.notes, *sample.notes),
    )


def _sort_nodes(graph: Any, path: Path) -> list[OnnxNode]:
    """Put the nodes of the file into topological order, which shape inference requires, and read them."""
    nodes = read_nodes(graph)
    order = _execution_order(nodes, path)
    if order == list(range(len(nodes))):
        return nodes
    sorted_protos = [graph.node[index] for index in order]
    del graph.node[:]
    graph.node.extend(sorted_protos)
    return [nodes[index] for index in order]


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
        model = onnx.load_model_from_string(read_file(path))
    except (OSError, ValueError) as exc:
        raise WorkloadError(f"ONNX file '{path}' cannot be read: {getattr(exc, 'strerror', None) or exc}.") from exc
    except DecodeError as exc:
        raise WorkloadError(f"'{path}' must be an ONNX model, but it is damaged or of another kind: {exc}.") from exc
    if not _has_readable_text(model):
        raise WorkloadError(f"'{path}' must have names in UTF-8, but it is damaged: one of them is not.")
    if not model.functions:
        return model
    from onnx.inliner import inline_local_functions

    try:
        return inline_local_functions(model)
    except (RuntimeError, ValueError) as exc:
        raise WorkloadError(f"The local functions of '{path}' cannot be inlined: {exc}.") from exc


def _has_readable_text(message: Any) -> bool:
    """Whether all names are UTF-8, in subgraphs and functions too; the reader of protobuf does not check them."""
    try:
        # The data of a tensor are not copied for its name.
        fields = message.ListFields() if message.DESCRIPTOR.name != "TensorProto" else ()
        texts = () if fields else (getattr(message, "name", ""),)
    except UnicodeDecodeError:
        return False
    if not all(isinstance(text, str) for text in texts):
        return False
    for item, value in fields:
        if item.type not in (item.TYPE_STRING, item.TYPE_MESSAGE):
            continue
        try:
            parts = [value] if isinstance(value, str | bytes) or hasattr(value, "DESCRIPTOR") else list(value)
        except UnicodeDecodeError:
            return False
        if item.type == item.TYPE_STRING and not all(isinstance(part, str) for part in parts):
            return False
        if item.type == item.TYPE_MESSAGE and not all(_has_readable_text(part) for part in parts):
            return False
    return True


def _check_external(tensor: Any, path: Path) -> None:
    """Refuse a file whose external data lies outside its folder; external data is opened for single constants."""
    for entry in tensor.external_data:
        parts = (PurePosixPath(entry.value), PureWindowsPath(entry.value))
        if entry.key == "location" and any(part.is_absolute() or ".." in part.parts for part in parts):
            raise WorkloadError(
                f"External data of '{path}' must lie in its folder, but tensor '{tensor.name}' points to "
                f"'{entry.value}'."
            )


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


def _input_names(graph: Any, nodes: list[OnnxNode], path: Path) -> tuple[str, ...]:
    """Names of the data inputs that a node reads; stripped or old files list weights among the inputs too."""
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {tensor.values.name for tensor in graph.sparse_initializer}
    weights, read = set[str](), set[str]()
    for node in nodes:
        positions = WEIGHT_POSITIONS.get(node.op, ())
        if node.op == "MatMul" and node.inputs[0] in constants:
            positions = ()  # the weights come first
        for position, name in enumerate(node.inputs):
            (weights if position in positions else read).add(name)
        read.update(node.captured)
    listed = [item.name for item in graph.input if item.name not in constants]
    # Where all inputs stand in places of weights, they are data: the constants come first.
    names = tuple(str(name) for name in listed if name in read or name not in weights) or tuple(map(str, listed))
    used = tuple(name for name in names if name in read) or tuple(name for name in names if name in weights)
    if not names:
        raise WorkloadError(f"The graph of '{path}' must have an input of data, but it has none.")
    return used or names[:1]


def _input_notes(names: tuple[str, ...]) -> tuple[str, ...]:
    """What is said about a file with several inputs."""
    if len(names) == 1:
        return ()
    return (f"The file has {len(names)} inputs, and all are taken for data: {', '.join(names)}.",)
