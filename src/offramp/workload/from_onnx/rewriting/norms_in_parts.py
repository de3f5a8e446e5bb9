"""Norms and softmax that a graph writes in their parts, as one operator.

A statistic of a tensor (a mean, a sum, a maximum along some axes) is combined with that same tensor, as in a layer
norm, a root-mean-square norm, a norm to unit length or a softmax. The parts have one price, that of the operator: no
value can be written before all are read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.onnx_node import OnnxNode

_REDUCTIONS = frozenset(
    {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"}
)
_ONE_OPERAND = frozenset(
    {"Pow", "Sqrt", "Reciprocal", "Exp", "Log", "Abs", "Neg", "Clip", "Cast", "Identity", "Expand", "Unsqueeze"}
)
_TWO_OPERANDS = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min"})
_MAX_NODES = 24


def fold_norms(graph: OnnxGraph) -> OnnxGraph:
    """Replace norms and softmax in their parts by one operator each.

    Args:
        graph: The graph.

    Returns:
        The graph with these operators in place of their parts.
    """
    if not any(node.op in _REDUCTIONS for node in graph.nodes):
        return graph
    search = _Search(graph)
    folded: set[str] = set()
    norms: dict[str, OnnxNode] = {}
    for node in graph.nodes:
        if node.op not in _REDUCTIONS or node.name in folded or search.active.isdisjoint(node.inputs[:1]):
            continue
        for base in search.bases(node):
            parts = search.norm(base, node)
            if parts and not folded.intersection(part.name for part in parts):
                folded.update(part.name for part in parts)
                last = parts[-1]
                exponential = any(part.op in ("Exp", "ReduceLogSumExp") for part in parts)
                op = "Softmax" if exponential else "LayerNormalization"
                norms[last.name] = OnnxNode(last.name, op, (base,), last.outputs)
                break
    nodes = tuple(norms.get(node.name, node) for node in graph.nodes if node.name not in folded or node.name in norms)
    return replace(graph, nodes=nodes)


@dataclass
class _Search:
    """A graph with the readers and producers of its tensors."""

    graph: OnnxGraph
    active: set[str] = field(default_factory=set)
    readers: dict[str, list[OnnxNode]] = field(default_factory=dict)
    producers: dict[str, OnnxNode] = field(default_factory=dict)
    order: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.active.update(self.graph.inputs)
        for index, node in enumerate(self.graph.nodes):
            self.order[node.name] = index
            self.producers |= dict.fromkeys(filter(None, node.outputs), node)
            if node.op not in ("Shape", "Size") and not self.active.isdisjoint(node.reads):
                self.active.update(filter(None, node.outputs))
            for name in node.reads:
                self.readers.setdefault(name, []).append(node)

    def bases(self, reduction: OnnxNode) -> Iterator[str]:
        """Tensors of which the reduction may take a statistic, the nearest first."""
        name = reduction.inputs[0]
        for _ in range(4):
            yield name
            node = self.producers.get(name)
            inputs = [] if node is None else [x for x in dict.fromkeys(node.inputs) if x in self.active]
            if node is None or node.op not in _ONE_OPERAND | _TWO_OPERANDS or len(inputs) != 1:
                return
            name = inputs[0]

    def norm(self, base: str, reduction: OnnxNode) -> list[OnnxNode]:
        """The parts of the norm of a tensor, in order; empty if the tensor is not normed."""
        region = _Region(self, base, self._axes(reduction))
        waiting = list(self.readers.get(base, []))
        seen: set[str] = set()
        while waiting and len(region.parts) < _MAX_NODES:
            waiting.sort(key=lambda node: self.order[node.name])
            node = waiting.pop(0)
            if node.name in seen:
                continue
            seen.add(node.name)
            if region.take(node):
                if region.is_norm(node) and reduction.name in region.parts_of(node):
                    parts = region.parts_of(node)
                    return [self.graph.nodes[self.order[name]] for name in sorted(parts, key=self.order.__getitem__)]
                waiting += [reader for name in node.outputs if name for reader in self.readers.get(name, [])]
        return []

    def _axes(self, node: OnnxNode) -> tuple[int, ...]:
        rank = len(self.graph.shapes.get(node.inputs[0], ()))
        axes = node.integers("axes")
        if not axes and len(node.inputs) > 1:
            axes = self.graph.values.get(node.inputs[1], ())
        return tuple(sorted(axis % rank for axis in axes)) if rank else ()

    def axes(self, node: OnnxNode) -> tuple[int, ...]:
        return self._axes(node)


@dataclass
class _Region:
    """What is computed from one tensor alone: values of its size, and statistics of them."""

    search: _Search
    base: str
    axes: tuple[int, ...]
    parts: dict[str, OnnxNode] = field(default_factory=dict)
    full: set[str] = field(default_factory=set)
    statistics: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.full.add(self.base)

    def take(self, node: OnnxNode) -> bool:
        """Add a node if all that it reads is in the region."""
        inputs = [name for name in dict.fromkeys(node.reads) if name in self.search.active]
        if len(node.outputs) != 1 or not all(name in self.full or name in self.statistics for name in inputs):
            return False
        kinds = {name in self.full for name in inputs}
        if node.op in _REDUCTIONS:
            if kinds != {True} or len(inputs) != 1 or self.search.axes(node) != self.axes:
                return False
            self.statistics.add(node.outputs[0])
        elif node.op in _ONE_OPERAND or node.op in _TWO_OPERANDS:
            if len(inputs) > 1 and kinds == {True}:
                return False  # values of its size meet each other, as in a residual addition
            (self.full if True in kinds else self.statistics).add(node.outputs[0])
        else:
            return False
        self.parts[node.name] = node
        return True

    def is_norm(self, node: OnnxNode) -> bool:
        """Whether a node divides values by a statistic, or a logarithm is subtracted, and nothing else is read."""
        inputs = [name for name in dict.fromkeys(node.inputs) if name in self.search.active]
        if len(inputs) != 2 or not (node.outputs[0] in self.full and self.statistics.intersection(inputs)):
            return False
        own = self.parts_of(node)
        ops = {self.parts[name].op for name in own}
        divides = node.op == "Div" and inputs[0] in self.full
        inverse = node.op == "Mul" and bool(ops & {"Reciprocal", "Pow", "Div"})
        logarithm = node.op == "Sub" and bool(ops & {"Log", "ReduceLogSumExp"})
        inner = {name for part in own for name in self.parts[part].outputs} - set(node.outputs)
        closed = all(reader.name in own for name in inner for reader in self.search.readers.get(name, []))
        return (divides or inverse or logarithm) and closed and inner.isdisjoint(self.search.graph.outputs)

    def parts_of(self, node: OnnxNode) -> set[str]:
        """Names of the nodes of the region that a node needs, with its own."""
        needed, waiting = set[str](), [node]
        while waiting:
            part = waiting.pop()
            needed.add(part.name)
            producers = (self.search.producers.get(name) for name in part.reads)
            waiting += [x for x in producers if x is not None and x.name in self.parts and x.name not in needed]
        return needed
