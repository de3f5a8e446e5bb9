"""Conversion of an early-exit ONNX file to a Workload."""

from dataclasses import dataclass, field
from pathlib import Path

from offramp.errors import UnsupportedLayerError, WorkloadError
from offramp.workload.from_onnx.analog_layers import fold_analog_layers
from offramp.workload.from_onnx.attention_blocks import is_free_softmax
from offramp.workload.from_onnx.file_graph import OnnxGraph, OnnxNode, read_onnx
from offramp.workload.from_onnx.operators import (
    BINARY_OPS,
    FREE_OPS,
    SHAPE_READERS,
    data_positions,
    layer_shape,
)
from offramp.workload.from_onnx.tensor_sizes import Contradiction, UnknownShape, Unpriceable
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from offramp.workload.layer import POOL_OPS, LayerShape, Op

MAX_NAMED = 20


def workload_from_onnx(
    path: str | Path,
    *,
    weight_bits: int = 8,
    activation_bits: int = 8,
    branch_weight_bits: int | None = None,
    branch_activation_bits: int | None = None,
    allow_single_exit: bool = False,
    read_weights: bool = False,
) -> Workload:
    """Convert an early-exit ONNX file to a workload of one sample.

    Each analog layer that offramp exports is one layer; all other layers of such a file are digital. Weights are not
    needed
    unless they are to be counted.

    Free, because the previous layer computes them while it writes its output: batch normalisation, activation
    functions,
    changes of shape or order, quantisation, and element-wise operators with a constant or with inputs from a single
    layer
    (x times sigmoid of x). `workload.layer_constructors` has the rules for transformers.

    Exits are the outputs of the graph, ordered by the last layer that each shares with another output. Among the
    outputs
    that leave last, the final one has at least twice as many own layers as any other; if none has, it is the last in
    the
    file. Layers that lead to a single output other than the final one are its branch. The final classifier is the
    branch of
    the last stage: of the layers that lead to the final output alone, those from the first pooling or dense layer on
    that
    is followed by no convolution or element-wise operator on a map larger than 1 x 1. It has the bit widths of
    branches.

    Args:
        path: ONNX file.
        weight_bits: Bits of weights in the backbone.
        activation_bits: Bits of activations in the backbone.
        branch_weight_bits: Bits of weights in the branches; None: as in the backbone.
        branch_activation_bits: Bits of activations in the branches; None: as in the backbone.
        allow_single_exit: Whether a graph with one output is accepted.
        read_weights: Whether nonzero weights in the file are counted, so that layers have weight densities.

    Returns:
        The workload.

    Raises:
        WorkloadError: The file is no early-exit graph.
        UnsupportedLayerError: No cost engine can price some operators; the message names all of them.
    """
    path = Path(path)
    folded = fold_analog_layers(read_onnx(path, read_weights=read_weights))
    graph = folded.graph
    found = _find_layers(graph, path)
    producers = _exit_layers(graph, found, path)
    if len(producers) < 2 and not allow_single_exit:
        raise WorkloadError(
            f"'{path}' has one exit only, so it is not an early-exit network. Add outputs at intermediate layers, "
            "or price it as a plain network with `allow_single_exit=True`."
        )
    placed = _place(found.layers, producers)
    try:
        workload = Workload(name=path.stem, layers=placed.layers, exits=placed.exits)
        if folded.analog_channels:
            # The file decides which channels are analog; all others are digital.
            workload = workload.with_analog_channels(folded.analog_channels)
        workload = workload.with_weight_densities(graph.weight_densities)
        return workload.with_bits(
            weight_bits,
            activation_bits,
            weight_bits if branch_weight_bits is None else branch_weight_bits,
            activation_bits if branch_activation_bits is None else branch_activation_bits,
        )
    except ValueError as exc:
        raise WorkloadError(f"'{path}' cannot be a workload: {exc}") from exc


@dataclass(frozen=True)
class _RawLayer:
    """A layer before its stage and role are known; ``inputs`` names layers or the graph's input."""

    name: str
    shape: LayerShape
    inputs: tuple[str, ...]


@dataclass
class _Found:
    """Layers in topological order, and the layer that computes each activation tensor."""

    layers: list[_RawLayer] = field(default_factory=list)
    origin: dict[str, str] = field(default_factory=dict)


@dataclass
class _Problems:
    """All problems with nodes of the graph, by kind."""

    unsupported: list[str] = field(default_factory=list)
    shapeless: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def raise_if_any(self, path: Path) -> None:
        if self.unsupported:
            raise UnsupportedLayerError(
                f"'{path}' has {len(self.unsupported)} layer(s) that cannot be priced: {_listed(self.unsupported)}."
            )
        if self.shapeless:
            raise WorkloadError(
                f"All axes but the batch must have a fixed size in '{path}', but the shapes of {len(self.shapeless)} "
                f"tensor(s) are not known: {_listed(self.shapeless)}. Export with a fixed input size, or run "
                "onnx.shape_inference before stripping the weights."
            )
        if self.wrong:
            raise WorkloadError(f"'{path}' contradicts itself: {_listed(self.wrong)}.")


def _find_layers(graph: OnnxGraph, path: Path) -> _Found:
    found, problems = _Found(origin={graph.input: GRAPH_INPUT}), _Problems()
    needed = _needed_nodes(graph)
    for node in graph.nodes:
        data = tuple(node.inputs[i] for i in data_positions(node) if i < len(node.inputs))
        active = tuple(name for name in data if name in found.origin)
        if node.name not in needed or not active or node.op in SHAPE_READERS:
            continue  # a constant, a shape computation, or a node that no output needs
        _read_node(node, graph, active, found, problems)
    problems.raise_if_any(path)
    if not found.layers:
        raise WorkloadError(f"'{path}' has no layer between its input and its outputs.")
    return found


def _read_node(node: OnnxNode, graph: OnnxGraph, active: tuple[str, ...], found: _Found, problems: _Problems) -> None:
    """Record the node as a layer, as a free operator of the previous layer, or as a problem."""
    sources = tuple(found.origin[name] for name in active)
    found.origin |= dict.fromkeys(filter(None, node.outputs), node.name)
    try:
        if _is_free(node, graph, sources):
            found.origin |= dict.fromkeys(filter(None, node.outputs), sources[0])
        else:
            found.layers.append(_RawLayer(node.name, layer_shape(node, graph, active), sources))
    except Unpriceable as exc:
        problems.unsupported.append(f"{node.name} ({node.op}) {exc}")
    except UnknownShape as exc:
        problems.shapeless.append(str(exc))
    except Contradiction as exc:
        problems.wrong.append(f"{node.name} ({node.op}): {exc}")


def _listed(items: list[str]) -> str:
    items = list(dict.fromkeys(items))
    rest = len(items) - MAX_NAMED
    return "; ".join(items[:MAX_NAMED]) + (f"; and {rest} more" if rest > 0 else "")


def _needed_nodes(graph: OnnxGraph) -> set[str]:
    """Names of the nodes from which activations flow to an output, without computations of shapes or weights."""
    wanted = set(graph.outputs)
    needed: set[str] = set()
    for node in reversed(graph.nodes):
        if wanted & set(filter(None, node.outputs)):
            needed.add(node.name)
            wanted |= {node.inputs[i] for i in data_positions(node) if i < len(node.inputs)}
    return needed


def _is_free(node: OnnxNode, graph: OnnxGraph, sources: tuple[str, ...]) -> bool:
    if node.op in FREE_OPS:
        return True
    if node.op == "Softmax":
        return is_free_softmax(node, graph)
    if node.op in BINARY_OPS:
        return len(sources) == 1 or (len(set(sources)) == 1 and sources[0] != GRAPH_INPUT)
    return False


def _exit_layers(graph: OnnxGraph, found: _Found, path: Path) -> tuple[str, ...]:
    """The layer that computes each output, in the order of the file; outputs of one layer are one exit."""
    layers: list[str] = []
    for output in graph.outputs:
        origin = found.origin.get(output)
        if origin is None or origin == GRAPH_INPUT:
            raise WorkloadError(
                f"Output '{output}' of '{path}' must be computed by layers from the input, but it is not."
            )
        layers.append(origin)
    if not layers:
        raise WorkloadError(f"'{path}' has no output.")
    return tuple(dict.fromkeys(layers))


@dataclass(frozen=True)
class _Placed:
    layers: tuple[Layer, ...]
    exits: tuple[str, ...]


def _place(raw: list[_RawLayer], producers: tuple[str, ...]) -> _Placed:
    """Find stage and role of every layer, and sort layers in order of execution: stage by stage, the branch last."""
    leads_to = _leads_to(raw, producers)
    exits = _exit_order(raw, leads_to, producers)
    classifier = _final_classifier([layer for layer in raw if leads_to[layer.name] == {exits[-1]}])
    stage_of = {name: stage for stage, name in enumerate(exits)}
    layers = []
    for layer in raw:
        targets = leads_to[layer.name]
        if not targets:
            continue
        alone = len(targets) == 1 and exits[-1] not in targets
        role = Role.BRANCH if alone or layer.name in classifier else Role.BACKBONE
        layers.append(Layer(layer.name, layer.shape, layer.inputs, min(stage_of[name] for name in targets), role))
    layers.sort(key=lambda layer: (layer.stage, layer.role is Role.BRANCH))
    return _Placed(tuple(layers), exits)


def _leads_to(raw: list[_RawLayer], producers: tuple[str, ...]) -> dict[str, set[str]]:
    """The exits that need each layer."""
    leads_to: dict[str, set[str]] = {layer.name: set() for layer in raw}
    for name in producers:
        leads_to[name].add(name)
    for layer in reversed(raw):
        for source in layer.inputs:
            if source != GRAPH_INPUT:
                leads_to[source] |= leads_to[layer.name]
    return leads_to


def _exit_order(raw: list[_RawLayer], leads_to: dict[str, set[str]], producers: tuple[str, ...]) -> tuple[str, ...]:
    leaves = dict.fromkeys(producers, -1)
    own = dict.fromkeys(producers, 0)
    for position, layer in enumerate(raw):
        targets = leads_to[layer.name]
        for name in targets:
            if len(targets) > 1:
                leaves[name] = position
            else:
                own[name] += 1
    ordered = sorted(producers, key=lambda name: leaves[name])
    last = [name for name in ordered if leaves[name] == leaves[ordered[-1]]]
    by_size = sorted(last, key=lambda name: own[name])
    clear = len(last) > 1 and own[by_size[-1]] >= 2 * own[by_size[-2]]
    final = by_size[-1] if clear else last[-1]
    return (*(name for name in ordered if name != final), final)


def _final_classifier(tail: list[_RawLayer]) -> set[str]:
    """Names of the classifier's layers among those that lead to the final output alone."""
    start = 0
    for index, layer in enumerate(tail):
        on_a_map = layer.shape.oy * layer.shape.ox * layer.shape.iy * layer.shape.ix > 1
        if layer.shape.op is not Op.DENSE and layer.shape.op not in POOL_OPS and on_a_map:
            start = index + 1
    heads = [i for i in range(start, len(tail)) if tail[i].shape.op is Op.DENSE or tail[i].shape.op in POOL_OPS]
    first = heads[0] if heads else len(tail) - 1
    return {layer.name for layer in tail[max(first, 0) :]}
