"""The layers of an ONNX graph: every node is priced, known to be free, or refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from offramp.errors import UnsupportedLayerError, WorkloadError
from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.operators import (
    BINARY_OPS,
    RANDOM_OPS,
    SHAPE_READERS,
    is_free,
    layer_names,
    layer_shape,
    operand_positions,
)
from offramp.workload.from_onnx.tensor_sizes import Contradiction, UnknownShape, Unpriceable
from offramp.workload.graph import GRAPH_INPUT
from offramp.workload.layer import LayerShape

MAX_NAMED = 20

_CONTROL_FLOW = {
    "If": "an `If` is understood if its condition is a constant, or as an early exit at the end of the graph",
    "Loop": "a loop is understood if it runs a constant number of times and collects no results on the way",
    "Scan": "a scan is not understood; export it as a recurrent layer or step by step",
}


class Treatment(StrEnum):
    """What a node of a file costs, and why."""

    PRICED = "a layer of the workload"
    FREE = "computed while the layer before writes its output, or another addressing of it"
    CONSTANT = "does not depend on the input, so it is computed once, before the network runs"
    SHAPE = "reads a shape, which is fixed"
    UNUSED = "no output needs it"


@dataclass(frozen=True)
class FoundLayer:
    """A layer before its stage and role are known.

    Attributes:
        name: Unique name.
        shape: Loop sizes.
        inputs: Names of the layers whose outputs it reads, or `GRAPH_INPUT`.
    """

    name: str
    shape: LayerShape
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class FoundLayers:
    """All layers of a graph.

    Attributes:
        layers: Layers in topological order.
        origin: The layer that computes each activation tensor, or `GRAPH_INPUT`, by tensor name.
        treatments: What each node costs, by node name.
    """

    layers: tuple[FoundLayer, ...]
    origin: dict[str, str]
    treatments: dict[str, Treatment]


def find_layers(graph: OnnxGraph, path: Path) -> FoundLayers:
    """Find the layers of a graph.

    A tensor is an activation if it depends on values of the graph's input, through any input of any node on the way
    and through what the subgraphs of a node capture.

    Args:
        graph: The graph.
        path: The file, for messages.

    Returns:
        The layers.

    Raises:
        UnsupportedLayerError: No cost engine can price some operators; the message names all of them.
        WorkloadError: Shapes are not known or contradict each other, or there is no layer.
    """
    search = _searched(graph, dict.fromkeys(graph.inputs, GRAPH_INPUT))
    search.problems.raise_if_any(path, graph.open_axes)
    if not search.layers:
        raise WorkloadError(f"'{path}' has no layer between its input and its outputs.")
    return FoundLayers(tuple(search.layers), search.origin, search.treatments)


def layers_between(graph: OnnxGraph, origins: Mapping[str, str]) -> FoundLayers:
    """Find the layers of a part of a network, which may have none.

    Args:
        graph: The part as a graph.
        origins: For each of its inputs, the layer that computes it, or `GRAPH_INPUT`.

    Returns:
        The layers.

    Raises:
        UnsupportedLayerError: Some operators cannot be priced; the message is a list of the reasons.
    """
    search = _searched(graph, origins)
    reasons = search.problems.all
    if reasons:
        raise UnsupportedLayerError(listed(reasons))
    return FoundLayers(tuple(search.layers), search.origin, search.treatments)


def _searched(graph: OnnxGraph, origins: Mapping[str, str]) -> "_Search":
    search = _Search(graph, _needed_nodes(graph), dict(origins))
    for node in graph.nodes:
        search.treat(node)
    return search


@dataclass
class _Problems:
    """All problems with nodes of the graph, by kind."""

    unsupported: list[str] = field(default_factory=list)
    shapeless: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[str]:
        """All problems as clauses of a message."""
        return [*self.unsupported, *(f"the shape of '{name}' is not known" for name in self.shapeless), *self.wrong]

    def raise_if_any(self, path: Path, open_axes: Sequence[str]) -> None:
        if self.unsupported:
            raise UnsupportedLayerError(
                f"'{path}' has {len(self.unsupported)} layer(s) that cannot be priced: {listed(self.unsupported)}."
            )
        if self.shapeless and open_axes:
            raise WorkloadError(
                f"All axes but the batch must have a fixed size in '{path}', but open are: {', '.join(open_axes)}. "
                f"Give each a size, such as `--size {open_axes[0]}=128` (in Python: `sizes=`), or fix it at export. "
                f"Without, the shapes of {len(self.shapeless)} tensor(s) are not known: {listed(self.shapeless)}."
            )
        if self.shapeless:
            raise WorkloadError(
                f"All axes but the batch must have a fixed size in '{path}', but the shapes of {len(self.shapeless)} "
                f"tensor(s) are not known: {listed(self.shapeless)}. Export with a fixed input size, or run "
                "onnx.shape_inference before stripping the weights."
            )
        if self.wrong:
            raise WorkloadError(f"'{path}' contradicts itself: {listed(self.wrong)}.")


@dataclass
class _Search:
    """The nodes of a graph so far: their layers, the origins of their tensors, and their problems."""

    graph: OnnxGraph
    needed: set[str]
    origin: dict[str, str]
    layers: list[FoundLayer] = field(default_factory=list)
    treatments: dict[str, Treatment] = field(default_factory=dict)
    problems: _Problems = field(default_factory=_Problems)

    def treat(self, node: OnnxNode) -> None:
        """Record a node as a layer, as free, or as a problem."""
        active = tuple(name for name in node.reads if name in self.origin)
        if node.name not in self.needed:
            self.treatments[node.name] = Treatment.UNUSED
            if active and node.op not in SHAPE_READERS:
                self.origin |= dict.fromkeys(filter(None, node.outputs), node.name)
        elif node.op in RANDOM_OPS:
            self.problems.unsupported.append(f"{node.name} ({node.op}) draws random values; export for inference")
        elif node.op in SHAPE_READERS:
            self.treatments[node.name] = Treatment.SHAPE
        elif not active:
            self.treatments[node.name] = Treatment.CONSTANT
        else:
            self._treat_active(node, active)

    def _treat_active(self, node: OnnxNode, active: tuple[str, ...]) -> None:
        sources = tuple(self.origin[name] for name in active)
        results = tuple(filter(None, node.outputs))
        self.origin |= dict.fromkeys(results, node.name)
        try:
            if node.op in _CONTROL_FLOW:
                raise Unpriceable(f"runs what values of the input decide; {_CONTROL_FLOW[node.op]}")
            if is_free(node, self.graph, sources):
                self.origin |= dict.fromkeys(results, sources[0])
                self.treatments[node.name] = Treatment.FREE
            else:
                operands = _operands(node, dict(zip(active, sources, strict=True)))
                shape = layer_shape(node, self.graph, operands)
                self.layers.append(FoundLayer(node.name, shape, tuple(self.origin[name] for name in operands)))
                self.treatments[node.name] = Treatment.PRICED
        except Unpriceable as exc:
            self.problems.unsupported.append(f"{node.name} ({node.op}) {exc}")
        except UnknownShape as exc:
            self.problems.shapeless.append(str(exc))
        except Contradiction as exc:
            self.problems.wrong.append(f"{node.name} ({node.op}): {exc}")


def _needed_nodes(graph: OnnxGraph) -> set[str]:
    """Names of the nodes that an output needs, without those of which only the shape is needed."""
    wanted = set(graph.outputs)
    needed: set[str] = set()
    for node in reversed(graph.nodes):
        if wanted.intersection(filter(None, node.outputs)):
            needed.add(node.name)
            if node.op not in SHAPE_READERS:
                wanted.update(node.reads)
    return needed


def _operands(node: OnnxNode, origins: dict[str, str]) -> tuple[str, ...]:
    """The activations that the node's rule reads, in order.

    Args:
        node: The node.
        origins: The layer that computes each activation among the node's inputs.

    Returns:
        Names of tensors. An element-wise operator reads one tensor of each layer if it reads more than two.
    """
    names = [node.inputs[i] for i in operand_positions(node) if i < len(node.inputs)]
    operands = tuple(name for name in names if name in origins)
    layers = {origins[name] for name in operands}
    for name, layer in origins.items():
        if layer not in layers:
            place = f"input {node.inputs.index(name)}" if name in node.inputs else "its subgraph"
            raise Unpriceable(f"reads at {place} what {layer_names((layer,))} computes; a constant is understood there")
    if node.op in BINARY_OPS and len(operands) > 2:
        operands = tuple({origins[name]: name for name in reversed(operands)}.values())[::-1]
    return operands


def listed(items: list[str]) -> str:
    """Join the parts of a message.

    Args:
        items: The parts; repeated ones count once.

    Returns:
        The first 20, separated by semicolons, and the number of the others.
    """
    items = list(dict.fromkeys(items))
    rest = len(items) - MAX_NAMED
    return "; ".join(items[:MAX_NAMED]) + (f"; and {rest} more" if rest > 0 else "")
