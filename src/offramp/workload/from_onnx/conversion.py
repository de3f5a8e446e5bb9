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
    """The layers, exits and stages of an ONNX graph, for one sample whatever its batch size. Weights are not needed.

    Layers of an analog core, as offramp exports them, are one layer each; then the others are none of that core's.
    With ``read_weights`` those in the file are counted, and layers carry the share of them that is not zero.

    Free, since computed where the producing layer writes its output: batch normalisation, activation functions,
    reshaping, moving, quantisation, element-wise operators with a constant or with inputs from one layer alone (x times
    sigmoid of x). The rules for transformers are in `workload.layer_constructors`.
    Exits are the graph's outputs in the order in which they leave: by the position of the last layer that they share
    with another output. Of the outputs that leave last, the final one is the one with twice as many layers of its
    own as any other, else the last in the file.
    A layer is in a branch when it leads to one output only and that is not the final one. The final classifier is the
    branch of the last stage: of the layers that lead to the final output only, those from the first pooling or dense
    layer on behind which there is no more convolution or element-wise operator (on a map larger than 1 x 1).
    The final classifier has the branches' bit widths, which default to the backbone's.

    Raises WorkloadError for a file that is no early-exit graph (one output is accepted with ``allow_single_exit``) and
    UnsupportedLayerError naming all operators that no cost engine prices.
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
            # Of such a network it is decided what is analog, and the rest is not.
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
    """A layer whose place is not known yet; ``inputs`` names layers or the graph's input."""

    name: str
    shape: LayerShape
    inputs: tuple[str, ...]


@dataclass
class _Found:
    """Layers in topological order, and the layer whose value each activation tensor is."""

    layers: list[_RawLayer] = field(default_factory=list)
    origin: dict[str, str] = field(default_factory=dict)


@dataclass
class _Problems:
    """Everything about the graph's nodes that stands in the way, by kind."""

    unsupported: list[str] = field(default_factory=list)
    shapeless: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def raise_if_any(self, path: Path) -> None:
        if self.unsupported:
            raise UnsupportedLayerError(
                f"'{path}' has {len(self.unsupported)} layer(s) that cannot be priced: {_some(self.unsupported)}."
            )
        if self.shapeless:
            raise WorkloadError(
                f"All axes but the batch must have a fixed size in '{path}', but the shapes of {len(self.shapeless)} "
                f"tensor(s) are not known: {_some(self.shapeless)}. Export with a fixed input size, or run "
                "onnx.shape_inference before stripping the weights."
            )
        if self.wrong:
            raise WorkloadError(f"'{path}' contradicts itself: {_some(self.wrong)}.")


def _find_layers(graph: OnnxGraph, path: Path) -> _Found:
    found, problems = _Found(origin={graph.input: GRAPH_INPUT}), _Problems()
    needed = _needed_nodes(graph)
    for node in graph.nodes:
        data = tuple(node.inputs[i] for i in data_positions(node) if i < len(node.inputs))
        active = tuple(name for name in data if name in found.origin)
        if node.name not in needed or not active or node.op in SHAPE_READERS:
            continue  # a constant, a shape computation, or nothing that an output needs
        _read_node(node, graph, active, found, problems)
    problems.raise_if_any(path)
    if not found.layers:
        raise WorkloadError(f"'{path}' has no layer between its input and its outputs.")
    return found


def _read_node(node: OnnxNode, graph: OnnxGraph, active: tuple[str, ...], found: _Found, problems: _Problems) -> None:
    """Note the node as a layer, as a free operator of the layer before it, or as a problem."""
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


def _some(items: list[str]) -> str:
    items = list(dict.fromkeys(items))
    rest = len(items) - MAX_NAMED
    return "; ".join(items[:MAX_NAMED]) + (f"; and {rest} more" if rest > 0 else "")


def _needed_nodes(graph: OnnxGraph) -> set[str]:
    """Nodes from which activations flow to an output; what computes only shapes or weights is not among them."""
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
    """The layer behind each output, in the file's order; outputs of one layer are one exit."""
    layers: list[str] = []
    for output in graph.outputs:
        origin = found.origin.get(output)
        if origin is None or origin == GRAPH_INPUT:
            raise WorkloadError(f"Output '{output}' of '{path}' must be computed by layers from the input; it is not.")
        layers.append(origin)
    if not layers:
        raise WorkloadError(f"'{path}' has no output.")
    return tuple(dict.fromkeys(layers))


@dataclass(frozen=True)
class _Placed:
    layers: tuple[Layer, ...]
    exits: tuple[str, ...]


def _place(raw: list[_RawLayer], producers: tuple[str, ...]) -> _Placed:
    """Stage and role of every layer; layers come out in order of execution: stage by stage, the branch last."""
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
    """For every layer the exits that need it."""
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
    """Names of the classifier among the layers that lead to the final output alone."""
    start = 0
    for index, layer in enumerate(tail):
        on_a_map = layer.shape.oy * layer.shape.ox * layer.shape.iy * layer.shape.ix > 1
        if layer.shape.op is not Op.DENSE and layer.shape.op not in POOL_OPS and on_a_map:
            start = index + 1
    heads = [i for i in range(start, len(tail)) if tail[i].shape.op is Op.DENSE or tail[i].shape.op in POOL_OPS]
    first = heads[0] if heads else len(tail) - 1
    return {layer.name for layer in tail[max(first, 0) :]}
