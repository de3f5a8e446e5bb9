"""Convolutions of an analog core in an ONNX file: all nodes of such a convolution become one layer.

The files that offramp exports hold the arithmetic of these layers step by step
(`offramp.nn.analog.analog_convolution`): the inputs lose bits, the sums of each group of rows are rounded like in a
converter, the groups are added, scaled and shifted, and the digital channels are concatenated. None of these steps is a
layer of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from offramp.errors import UnsupportedLayerError
from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.onnx_node import OnnxNode


@dataclass(frozen=True)
class FoldedGraph:
    """A graph without the steps of analog layers.

    Attributes:
        graph: The graph, with one convolution in place of each analog layer.
        analog_channels: Number of analog output channels by name of the convolution.
    """

    graph: OnnxGraph
    analog_channels: dict[str, int]


@dataclass(frozen=True)
class _AnalogLayer:
    """All nodes of one layer, in order, its first convolution, and the tensors before and after it."""

    nodes: tuple[OnnxNode, ...]
    first: OnnxNode
    source: str
    result: str
    channels: int


def fold_analog_layers(graph: OnnxGraph) -> FoldedGraph:
    """Replace each analog layer by one convolution.

    Nodes are replaced only if every step matches.

    Args:
        graph: The graph of the file.

    Returns:
        The new graph and its analog layers.

    Raises:
        UnsupportedLayerError: Inputs are converted as for an analog layer, but the steps after it are others.
    """
    steps = _Steps(graph)
    found = [layer for node in graph.nodes for layer in _analog_layers(node, steps)]
    _refuse_incomplete(steps, {node.name for layer in found for node in layer.nodes})
    if not found:
        return FoldedGraph(graph, {})
    removed = {node.name for layer in found for node in layer.nodes}
    replacements = {layer.nodes[-1].name: _as_convolution(layer, graph) for layer in found}
    nodes = tuple(
        replacements.get(node.name, node)
        for node in graph.nodes
        if node.name not in removed or node.name in replacements
    )
    densities = {name: value for name, value in graph.weight_densities.items() if name not in removed}
    folded = replace(graph, nodes=nodes, weight_densities=densities)
    return FoldedGraph(folded, {layer.first.name: layer.channels for layer in found})


def _refuse_incomplete(steps: "_Steps", folded: set[str]) -> None:
    """Refuse what converts its inputs like an analog layer, rounding halves down, but goes on in another way."""
    for node in steps.graph.nodes:
        entering = _entering(node, steps)
        readers = steps.readers.get(node.outputs[0], []) if node.outputs else []
        if entering is None or len(entering) < 4 or node.name in folded or not any(x.op == "Conv" for x in readers):
            continue
        raise UnsupportedLayerError(
            f"'{entering[2].name}' (Round) rounds halves down, as the inputs of an analog layer that offramp exports "
            "are rounded, but the steps after it are not those of an analog layer. Export the network again with "
            "offramp; such a layer cannot be changed afterwards."
        )


@dataclass
class _Steps:
    """The producer and the readers of each tensor, and the tensors that depend on the graph's input."""

    graph: OnnxGraph
    varying: set[str] = field(default_factory=set)
    producers: dict[str, OnnxNode] = field(default_factory=dict)
    readers: dict[str, list[OnnxNode]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.varying.update(self.graph.inputs)
        for node in self.graph.nodes:
            self.producers |= dict.fromkeys(node.outputs, node)
            if self.varying.intersection(node.reads):
                self.varying.update(node.outputs)
            for name in node.reads:
                self.readers.setdefault(name, []).append(node)

    def constant(self, name: str) -> bool:
        return name not in self.varying

    def takes_constants(self, node: OnnxNode) -> bool:
        """Whether all inputs of a node except the first are constants."""
        return all(self.constant(name) for name in node.inputs[1:])

    def preceding(self, node: OnnxNode, op: str) -> OnnxNode | None:
        """The producer of the first input, if it is an ``op`` and the other inputs of ``node`` are constants."""
        producer = self.producers.get(node.inputs[0])
        return producer if producer is not None and producer.op == op and self.takes_constants(node) else None

    def following(self, node: OnnxNode, op: str) -> OnnxNode | None:
        """The only reader of a node, if it is an ``op`` and the node is no output of the graph."""
        readers = self.readers.get(node.outputs[0], [])
        alone = len(readers) == 1 and node.outputs[0] not in self.graph.outputs
        return readers[0] if alone and readers[0].op == op else None

    def chain(self, node: OnnxNode, *ops: str) -> list[OnnxNode] | None:
        """The chain of nodes of these types after ``node``, each with constants as its other inputs."""
        chain = []
        for op in ops:
            following = self.following(node, op)
            if following is None or not all(self.constant(name) or name in node.outputs for name in following.inputs):
                return None
            chain.append(following)
            node = following
        return chain


def _analog_layers(clip: OnnxNode, steps: _Steps) -> tuple[_AnalogLayer, ...]:
    """The layers whose inputs ``clip`` limits to the range of the array; several if they read the same values."""
    entering = _entering(clip, steps)
    groups = None if entering is None else _read_groups(clip, steps)
    if entering is None or not groups:
        return ()
    found = []
    for own in _totals(groups, steps):
        ending = steps.chain(own[-1], "Mul", "Add")
        shape = () if ending is None else steps.graph.shapes.get(ending[-1].outputs[0], ())
        if ending is None or len(shape) != 4 or shape[1] is None:
            return ()
        source = entering[0].inputs[0]
        ending += _digital(ending[-1], source, steps)
        first = next(node for node in own if node.op == "Conv")
        nodes = _in_order(steps.graph, (*entering, *own, *ending))
        found.append(_AnalogLayer(nodes, first, source, ending[-1].outputs[0], shape[1]))
    return tuple(found)


def _entering(clip: OnnxNode, steps: _Steps) -> list[OnnxNode] | None:
    """The nodes that quantise the input: division by the step, shift for rounding halves down, rounding, limits."""
    rounding = steps.preceding(clip, "Round") if clip.op == "Clip" else None
    if rounding is None:
        return None
    shift = steps.preceding(rounding, "Sub")
    division = steps.preceding(rounding if shift is None else shift, "Div")
    if division is None or not steps.takes_constants(division):
        return None
    return [division, *([] if shift is None else [shift]), rounding, clip]


def _read_groups(clip: OnnxNode, steps: _Steps) -> list[list[OnnxNode]] | None:
    """Each convolution of some input channels with the converter after it; None if there are other nodes."""
    groups = []
    for reader in steps.readers.get(clip.outputs[0], []):
        taken = [reader] if reader.op == "Slice" else []
        for convolution in steps.readers.get(reader.outputs[0], []) if taken else [reader]:
            if convolution.op != "Conv" or not steps.takes_constants(convolution):
                return None
            converter = steps.chain(convolution, "Div", "Round", "Clip")
            if converter is None:
                return None
            groups.append([*taken, convolution, *converter])
    return groups


def _totals(groups: list[list[OnnxNode]], steps: _Steps) -> list[list[OnnxNode]]:
    """Groups whose values are added, together with the additions; the last node computes the sum."""
    sums = {group[-1].outputs[0]: group for group in groups}
    while True:
        additions = (steps.following(own[-1], "Add") for own in sums.values())
        both = (node for node in additions if node is not None and len(set(node.inputs) & sums.keys()) == 2)
        addition = next(both, None)
        if addition is None:
            return list(sums.values())
        first, second = (sums.pop(name) for name in addition.inputs)
        sums[addition.outputs[0]] = [*first, *second, addition]


def _digital(end: OnnxNode, source: str, steps: _Steps) -> list[OnnxNode]:
    """The convolution of the digital channels and the concatenation; empty if all channels are analog."""
    joining = steps.following(end, "Concat")
    if joining is None or joining.integer("axis", 1) != 1 or len(joining.inputs) != 2:
        return []
    rest = steps.producers.get(joining.inputs[1])
    if rest is None or rest.op != "Conv" or rest.inputs[0] != source or steps.following(rest, "Concat") is not joining:
        return []
    return [rest, joining]


def _in_order(graph: OnnxGraph, nodes: Iterable[OnnxNode]) -> tuple[OnnxNode, ...]:
    names = {node.name for node in nodes}
    return tuple(node for node in graph.nodes if node.name in names)


def _as_convolution(layer: _AnalogLayer, graph: OnnxGraph) -> OnnxNode:
    """One convolution; its loop sizes follow from the tensors before and after it."""
    weight = graph.shapes.get(layer.first.inputs[1], ())
    kernel = layer.first.integers("kernel_shape") or tuple(size for size in weight[2:] if size is not None)
    attributes = {**layer.first.attributes, "kernel_shape": kernel}
    return OnnxNode(layer.first.name, "Conv", (layer.source,), (layer.result,), attributes)
