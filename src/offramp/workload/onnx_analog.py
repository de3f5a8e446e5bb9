"""Convolutions of an analog core in an ONNX file: what they consist of there is read as one layer.

The files that offramp exports hold the arithmetic of such a layer step by step (`offramp.nn.analog`): inputs lose
bits, the sums of each group of rows are rounded as a converter does, groups are added, scaled and shifted, and the
digital channels are joined behind them. None of these steps is a layer of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from offramp.workload.onnx_graph import OnnxGraph, OnnxNode


@dataclass(frozen=True)
class FoldedGraph:
    """``graph`` has one convolution in place of each analog layer; ``analog_channels`` has its analog ones by name."""

    graph: OnnxGraph
    analog_channels: dict[str, int]


@dataclass(frozen=True)
class _AnalogLayer:
    """``nodes`` are all steps, from the loss of bits on; ``source`` and ``result`` the tensors before and behind."""

    nodes: tuple[OnnxNode, ...]
    first: OnnxNode
    source: str
    result: str
    channels: int


def fold_analog_layers(graph: OnnxGraph) -> FoldedGraph:
    """Only what matches every step is folded; anything else stays as it is, for the reader to refuse."""
    steps = _Steps(graph)
    found = [layer for node in graph.nodes if (layer := _analog_layer(node, steps)) is not None]
    if not found:
        return FoldedGraph(graph, {})
    gone = {node.name for layer in found for node in layer.nodes}
    at = {layer.nodes[-1].name: _as_convolution(layer, graph) for layer in found}
    nodes = tuple(at.get(node.name, node) for node in graph.nodes if node.name not in gone or node.name in at)
    densities = {name: value for name, value in graph.weight_densities.items() if name not in gone}
    folded = replace(graph, nodes=nodes, weight_densities=densities)
    return FoldedGraph(folded, {layer.first.name: layer.channels for layer in found})


@dataclass
class _Steps:
    """Who writes a tensor, and who reads it."""

    graph: OnnxGraph
    producers: dict[str, OnnxNode] = field(default_factory=dict)
    readers: dict[str, list[OnnxNode]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.graph.nodes:
            self.producers |= dict.fromkeys(node.outputs, node)
            for name in set(node.inputs):
                self.readers.setdefault(name, []).append(node)

    def constant(self, name: str) -> bool:
        producer = self.producers.get(name)
        return name != self.graph.input and (producer is None or producer.op == "Constant")

    def before(self, node: OnnxNode, op: str) -> OnnxNode | None:
        """The producer of the first input, where it is an ``op`` and nothing else but constants goes into ``node``."""
        producer = self.producers.get(node.inputs[0])
        fits = producer is not None and producer.op == op and all(self.constant(name) for name in node.inputs[1:])
        return producer if fits else None

    def behind(self, node: OnnxNode, op: str) -> OnnxNode | None:
        """The only reader of a node that is no output of the graph, where it is an ``op``."""
        readers = self.readers.get(node.outputs[0], [])
        alone = len(readers) == 1 and node.outputs[0] not in self.graph.outputs
        return readers[0] if alone and readers[0].op == op else None

    def scaled(self, node: OnnxNode, *ops: str) -> list[OnnxNode] | None:
        """The nodes of these types that follow one another, each with constants beside the value."""
        chain = []
        for op in ops:
            following = self.behind(node, op)
            if following is None or not all(self.constant(name) or name in node.outputs for name in following.inputs):
                return None
            chain.append(following)
            node = following
        return chain


def _analog_layer(clip: OnnxNode, steps: _Steps) -> _AnalogLayer | None:
    """The layer whose inputs ``clip`` limits to the array's range."""
    entering = _entering(clip, steps)
    if entering is None:
        return None
    groups = [_read_group(node, steps) for node in steps.readers.get(clip.outputs[0], [])]
    if not groups or any(group is None for group in groups):
        return None
    read = [group for group in groups if group is not None]
    total = _total([group[-1] for group in read], steps)
    ending = None if total is None else steps.scaled(total[-1], "Mul", "Add")
    if total is None or ending is None:
        return None
    first = next(node for node in read[0] if node.op == "Conv")
    shape = steps.graph.shapes.get(ending[-1].outputs[0], ())
    source = entering[0].inputs[0]
    if len(shape) != 4 or shape[1] is None:
        return None
    ending += _digital(ending[-1], source, steps)
    nodes = _in_order(steps.graph, (*entering, *(node for group in read for node in group), *total, *ending))
    return _AnalogLayer(nodes, first, source, ending[-1].outputs[0], shape[1])


def _entering(clip: OnnxNode, steps: _Steps) -> list[OnnxNode] | None:
    """Division by the array's step, a shift where halves go down, rounding, limits."""
    rounding = steps.before(clip, "Round") if clip.op == "Clip" else None
    if rounding is None:
        return None
    shift = steps.before(rounding, "Sub")
    division = steps.before(rounding if shift is None else shift, "Div")
    if division is None or not all(steps.constant(name) for name in division.inputs[1:]):
        return None
    return [division, *([] if shift is None else [shift]), rounding, clip]


def _read_group(node: OnnxNode, steps: _Steps) -> list[OnnxNode] | None:
    """A convolution of some of the input channels and the converter behind it."""
    taken = [node]
    if node.op == "Slice":
        following = steps.behind(node, "Conv")
        if following is None:
            return None
        taken.append(following)
    convolution = taken[-1]
    if convolution.op != "Conv" or not all(steps.constant(name) for name in convolution.inputs[1:]):
        return None
    converter = steps.scaled(convolution, "Div", "Round", "Clip")
    return None if converter is None else [*taken, *converter]


def _total(clips: list[OnnxNode], steps: _Steps) -> list[OnnxNode] | None:
    """What has been read of each group, added up: the additions, the last one last, or the only group's converter."""
    sums = {clip.outputs[0] for clip in clips}
    last, additions = clips[0], []
    while len(sums) > 1:
        addition = steps.behind(last, "Add")
        if addition is None or not set(addition.inputs) <= sums or len(set(addition.inputs)) != 2:
            return None
        sums = sums - set(addition.inputs) | set(addition.outputs)
        additions.append(addition)
        last = addition
    return additions or [last]


def _digital(end: OnnxNode, source: str, steps: _Steps) -> list[OnnxNode]:
    """The convolution of the other channels, and what joins them; empty where all are analog."""
    joining = steps.behind(end, "Concat")
    if joining is None or joining.integer("axis", 1) != 1 or len(joining.inputs) != 2:
        return []
    rest = steps.producers.get(joining.inputs[1])
    if rest is None or rest.op != "Conv" or rest.inputs[0] != source or steps.behind(rest, "Concat") is not joining:
        return []
    return [rest, joining]


def _in_order(graph: OnnxGraph, nodes: Iterable[OnnxNode]) -> tuple[OnnxNode, ...]:
    names = {node.name for node in nodes}
    return tuple(node for node in graph.nodes if node.name in names)


def _as_convolution(layer: _AnalogLayer, graph: OnnxGraph) -> OnnxNode:
    """Its loop sizes follow from the tensors before and behind it; the weights in the file are parts of its own."""
    weight = graph.shapes.get(layer.first.inputs[1], ())
    kernel = layer.first.integers("kernel_shape") or tuple(size for size in weight[2:] if size is not None)
    attributes = {**layer.first.attributes, "kernel_shape": kernel}
    return OnnxNode(layer.first.name, "Conv", (layer.source,), (layer.result,), attributes)
