"""Cuts of a model: places where exactly one tensor passes to the rest, and the pieces between them."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from offramp.nn.adoption.feature_layout import PackedPart
from offramp.nn.adoption.tracing import MODEL, TracedModel


@dataclass(frozen=True)
class Cut:
    """A place where one value is all that the rest of the model needs.

    Attributes:
        position: Number of calls before the cut.
        value: The value that passes.
        shape: Its shape for the example batch.
        names: Names of the modules whose result it is, the outermost last.
    """

    position: int
    value: fx.Node
    shape: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the outermost module whose result the value is; without one, that of the call."""
        return self.names[-1] if self.names else str(self.value.name)


@dataclass(frozen=True)
class CallGraph:
    """The calls of a model that depend on the image, and every place where it may be cut.

    Attributes:
        traced: The traced model.
        calls: The calls, in order of execution.
        cuts: The cuts, in order of execution.
        packed: Values that hold several tensors, with the one that exits read.
    """

    traced: TracedModel
    calls: tuple[fx.Node, ...]
    cuts: tuple[Cut, ...]
    packed: Mapping[fx.Node, PackedPart] = field(default_factory=dict)

    def pieces(self, cuts: Sequence[Cut]) -> tuple[fx.GraphModule, ...]:
        """Cut the model into a chain of modules.

        Args:
            cuts: Where to cut, in order of execution.

        Returns:
            One module more than cuts, from the image to the result; they share the layers of the model.
        """
        edges = [0, *(cut.position for cut in cuts), len(self.calls)]
        source = self._image()
        pieces = []
        for index, (first, last) in enumerate(itertools.pairwise(edges)):
            result = cuts[index].value if index < len(cuts) else self._result()
            pieces.append(self._piece(self.calls[first:last], source, result))
            source = result
        return tuple(pieces)

    def _image(self) -> fx.Node:
        return cast(fx.Node, next(node for node in self.traced.graph.nodes if node.op == "placeholder"))

    def _result(self) -> fx.Node:
        output = next(node for node in self.traced.graph.nodes if node.op == "output")
        return cast(fx.Node, output.args[0])

    def _piece(self, calls: Sequence[fx.Node], source: fx.Node, result: fx.Node) -> fx.GraphModule:
        graph = fx.Graph()
        copies = {source: graph.placeholder("features")}

        def copied(node: fx.Node) -> fx.Node:
            # Every piece reads the parameters that it needs, and computes what depends on parameters alone.
            if node in self.traced.input_facts and node not in copies:
                # All features have the number and the device of the images.
                copies[node] = graph.node_copy(node, lambda _: copies[source])
            if node not in copies:
                copies[node] = graph.node_copy(node, copied)
            return copies[node]

        for node in calls:
            copied(node)
        graph.output(copied(result))
        return fx.GraphModule(self.traced.root, graph)


def call_graph(traced: TracedModel, example: Tensor) -> CallGraph:
    """Run a traced model once and find its cuts: where a single tensor passes whose first axis is the batch.

    Args:
        traced: The traced model.
        example: Images (batch, channels, height, width), at least 2.

    Returns:
        The calls and the cuts.
    """
    shapes = shapes_of_samples(traced, example)
    calls = _dependent(traced.graph, traced.input_facts)
    cuts: list[Cut] = []
    for position, live in enumerate(live_values(traced.graph, calls), start=1):
        if len(live) != 1:
            continue
        (value,) = live
        shape = shapes.get(value)
        if shape is None or len(shape) < 2:
            continue
        if cuts and cuts[-1].value is value:
            # The last of several places counts: calls before it may change the value in place.
            cuts.pop()
        names = tuple(name.removeprefix(f"{MODEL}.") for name in traced.outputs.get(value, ()) if name != MODEL)
        cuts.append(Cut(position, value, shape, names))
    return CallGraph(traced, calls, tuple(cuts))


def live_values(graph: fx.Graph, calls: Sequence[fx.Node]) -> Iterator[frozenset[fx.Node]]:
    """Find what the rest of a model needs behind each call.

    Args:
        graph: The calls of a model and what does not depend on the image.
        calls: The calls that depend on the image, in order of execution.

    Yields:
        For each call, the values that later calls need.
    """
    last_use = _last_uses(graph, calls)
    live = {node for node in graph.nodes if node.op == "placeholder"}
    for position, node in enumerate(calls, start=1):
        live.add(node)
        live = {value for value in live if last_use.get(value, 0) > position}
        yield frozenset(live)


def _dependent(graph: fx.Graph, input_facts: frozenset[fx.Node]) -> tuple[fx.Node, ...]:
    """The calls that use the image, directly or not; its number and device do not count: any features have them."""
    dependent: set[fx.Node] = set()
    calls = []
    for node in graph.nodes:
        if node.op == "placeholder":
            dependent.add(node)
        elif node.op != "output" and node not in input_facts and dependent & set(node.all_input_nodes):
            dependent.add(node)
            calls.append(node)
    return tuple(calls)


def _last_uses(graph: fx.Graph, calls: Sequence[fx.Node]) -> dict[fx.Node, int]:
    """For every value, the number of the last call that needs it; the model's result is needed to the end."""
    last: dict[fx.Node, int] = {}
    for position, node in enumerate(calls, start=1):
        for value in node.all_input_nodes:
            last[value] = position
    for node in graph.nodes:
        if node.op == "output":
            last |= {value: len(calls) + 1 for value in node.all_input_nodes}
    return last


class _ShapeReader(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor) and result.is_floating_point():
            self.shapes[n] = tuple(result.shape)
        return result


def shapes_of_samples(traced: TracedModel, example: Tensor) -> dict[fx.Node, tuple[int, ...]]:
    """Find the shapes of the tensors that have an entry for each sample on their first axis.

    Args:
        traced: A traced model.
        example: Images (batch, channels, height, width).

    Returns:
        Shapes for the example by node, for tensors of floating point.
    """
    shapes = _shapes(traced, example)
    try:
        # By a single batch, two stacked tensors could be taken for two samples.
        larger = _shapes(traced, torch.cat([example, example[:1]]))
    except Exception:
        larger = {}  # code that depends on the batch size: what is wrong with it is found, and said, later
    count = len(example)
    return {
        node: shape
        for node, shape in shapes.items()
        if shape and shape[0] == count and larger.get(node, (count + 1,))[:1] == (count + 1,)
    }


def _shapes(traced: TracedModel, example: Tensor) -> dict[fx.Node, tuple[int, ...]]:
    reader = _ShapeReader(fx.GraphModule(traced.root, traced.graph))
    with torch.no_grad():
        reader.run(example)
    return _by_original(reader, traced.graph)


def _by_original(reader: _ShapeReader, graph: fx.Graph) -> dict[fx.Node, tuple[int, ...]]:
    """Shapes by the nodes of the given graph; a GraphModule may hold a copy, whose nodes have the same order."""
    own = dict(zip(cast(fx.GraphModule, reader.module).graph.nodes, graph.nodes, strict=True))
    return {own[node]: shape for node, shape in reader.shapes.items()}


def changed_in_place(pieces: Sequence[nn.Module], example: Tensor) -> frozenset[int]:
    """Find pieces whose result a later piece changes in place.

    Args:
        pieces: The pieces of a model, in order.
        example: Images (batch, channels, height, width).

    Returns:
        Numbers of the pieces, from 0.
    """
    values = []
    with torch.no_grad():
        features = example.clone()
        for piece in pieces[:-1]:
            features = piece(features)
            values.append((features, features._version))
        pieces[-1](features)
    return frozenset(index for index, (value, version) in enumerate(values) if value._version != version)
