"""The walk over a graph that applies the rule of each operator and adds up what running it takes."""

from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from offramp.deploy.graph_rules.elementwise_rules import ELEMENTWISE_RULES
from offramp.deploy.graph_rules.indexing_rules import INDEXING_RULES
from offramp.deploy.graph_rules.layer_rules import LAYER_RULES
from offramp.deploy.graph_rules.movement_rules import MOVEMENT_RULES
from offramp.deploy.graph_rules.operator_call import OperatorResult, OperatorRule
from offramp.deploy.graph_rules.resampling_rules import RESAMPLING_RULES
from offramp.deploy.graph_rules.sequence_rules import SEQUENCE_RULES
from offramp.deploy.graph_rules.tensor_facts import BOOL, Batched, RefusedGraph, Size, TensorFacts, shown
from offramp.deploy.graph_rules.weights import weight_facts

OPERATORS: Mapping[str, OperatorRule] = {
    **ELEMENTWISE_RULES,
    **LAYER_RULES,
    **MOVEMENT_RULES,
    **INDEXING_RULES,
    **RESAMPLING_RULES,
    **SEQUENCE_RULES,
}
"""The rules of all operators but `Constant` and `If`, which the walk itself understands."""

Scope = ChainMap[str, TensorFacts]
"""Facts of the values of a graph and of the graphs around it, by name."""

STANDARD_DOMAINS = ("", "ai.onnx")
"""Names of the domain of the operators of ONNX."""

_MAX_DEPTH = 24
_KEPT_OF_GRAPH = frozenset({"node", "name", "initializer", "input", "output"})
_KEPT_OF_NODE = frozenset({"input", "output", "name", "op_type", "attribute"})


@dataclass
class GraphFigures:
    """What was added up over a graph and its branches.

    Attributes:
        nodes: The number of nodes.
        constant_bytes: Sizes of tensors that follow from constants alone.
        total_bytes: Sizes of all tensors that nodes compute.
        peak_bytes: The largest sum of sizes of other tensors that are needed at one time, of the graph itself.
        macs: Multiply-accumulates; of branches, those of the most expensive one.
    """

    nodes: int = 0
    constant_bytes: int = 0
    total_bytes: int = 0
    peak_bytes: int = 0
    macs: int = 0


@dataclass(frozen=True, eq=False)
class WalkedGraph:
    """A graph that was checked.

    Attributes:
        figures: What was added up.
        facts: Facts of its values by name.
    """

    figures: GraphFigures
    facts: dict[str, TensorFacts]


@dataclass
class GraphWalk:
    """Checks a graph and everything in it, and removes what is not checked.

    Attributes:
        branches: Whether `If` is allowed.
        max_nodes: The largest number of nodes of the graph and its branches.
        data_of: Finds the raw data of a tensor.
        names: Names of all values so far.
        num_nodes: The number of nodes so far.
    """

    branches: bool
    max_nodes: int
    data_of: Callable[[Any], bytes | memoryview]
    names: set[str] = field(default_factory=set)
    num_nodes: int = 0

    def run(self, graph: Any, outer: Scope | None = None) -> WalkedGraph:
        """Check a graph.

        Args:
            graph: The ONNX graph; changed in place.
            outer: Facts of the values of the graphs around it; None where there is none.

        Returns:
            What was found.

        Raises:
            RefusedGraph: Something in it is not allowed.
        """
        self.num_nodes += len(graph.node)
        if self.num_nodes > self.max_nodes:
            raise RefusedGraph(f"must have at most {self.max_nodes} nodes, but it has more")
        if graph.sparse_initializer:
            raise RefusedGraph("holds sparse tensors, which no bundle has")
        _keep_only(graph, _KEPT_OF_GRAPH)
        facts: dict[str, TensorFacts] = {}
        for item in graph.input:
            self._add_name(item.name)
            facts[item.name] = input_facts(item)
        if outer is not None and facts:
            raise RefusedGraph("has a branch with inputs")
        last_use = _last_uses(graph)
        self._add_weights(graph, facts, last_use)
        figures = self._run_nodes(graph, facts, ChainMap(facts) if outer is None else outer.new_child(facts), last_use)
        for item in graph.output:
            if item.name not in facts:
                raise RefusedGraph(f"has the output {item.name[:100]!r}, which nothing computes")
            _state_type(item, facts[item.name])
        return WalkedGraph(figures, facts)

    def _add_name(self, name: str) -> None:
        if not name or name in self.names:
            raise RefusedGraph(f"must have different names for all values, but {name[:100]!r} is there twice")
        self.names.add(name)

    def _add_weights(self, graph: Any, facts: dict[str, TensorFacts], used: Mapping[str, int]) -> None:
        kept = []
        for tensor in graph.initializer:
            found = weight_facts(tensor, self.data_of(tensor))
            default = facts.get(tensor.name)
            if default is None:
                self._add_name(tensor.name)
                facts[tensor.name] = found
            elif (default.element, default.shape) != (found.element, found.shape):
                raise RefusedGraph(f"has an input {tensor.name[:100]!r} whose default is of another type or shape")
            if tensor.name in used or default is not None:
                kept.append(tensor)
        defaults = [tensor.name for tensor in graph.initializer]
        if len(set(defaults)) != len(defaults):
            raise RefusedGraph("must have different names for all values, but a weight is there twice")
        if len(kept) < len(graph.initializer):
            del graph.initializer[:]
            graph.initializer.extend(kept)

    def _run_nodes(
        self, graph: Any, facts: dict[str, TensorFacts], scope: Scope, last_use: Mapping[str, int]
    ) -> GraphFigures:
        figures = GraphFigures(nodes=len(graph.node))
        live = sum(facts[item.name].size_bytes for item in graph.input)
        ends: dict[int, list[str]] = {}
        for name, index in last_use.items():
            ends.setdefault(index, []).append(name)
        for index, node in enumerate(graph.node):
            if not any(name in last_use for name in node.output):
                raise RefusedGraph(f"has a node {node.op_type[:100]} that no output needs")
            try:
                result, inner = self._result(node, scope)
            except RefusedGraph as exc:
                if str(exc).startswith("has the operator"):
                    raise
                raise RefusedGraph(f"has {node.op_type[:100]} {node.output[0][:100]!r}, which {exc}") from exc
            for name, found in zip(node.output, result.outputs, strict=False):
                if not name:
                    continue
                self._add_name(name)
                facts[name] = found
                figures.total_bytes += found.size_bytes
                if found.constant:
                    figures.constant_bytes += found.size_bytes
                else:
                    live += found.size_bytes
            figures.nodes += inner.nodes
            figures.macs += result.macs + inner.macs
            figures.constant_bytes += inner.constant_bytes
            figures.total_bytes += inner.total_bytes
            figures.peak_bytes = max(figures.peak_bytes, live + result.scratch_bytes + inner.peak_bytes)
            unread = [name for name in node.output if name and name not in last_use]
            live -= sum(
                facts[name].size_bytes
                for name in (*ends.get(index, ()), *unread)
                if name in facts and not facts[name].constant
            )
        figures.peak_bytes = max(figures.peak_bytes, live)
        return figures

    def _result(self, node: Any, scope: Scope) -> tuple[OperatorResult, GraphFigures]:
        if node.domain not in STANDARD_DOMAINS:
            raise RefusedGraph(f"has the operator {f'{node.domain}.{node.op_type}'[:100]!r}, {_NOT_ALLOWED}")
        _keep_only(node, _KEPT_OF_NODE)
        inputs = tuple(_found(name, scope) if name else None for name in node.input)
        if node.op_type == "If" and self.branches:
            return self._branch(node, inputs, scope)
        if node.op_type == "Constant":
            return self._constant(node), GraphFigures()
        rule = OPERATORS.get(node.op_type)
        if rule is None:
            raise RefusedGraph(f"has the operator {node.op_type[:100]!r}, {_NOT_ALLOWED}")
        for item in node.attribute:
            if item.HasField("t"):
                weight_facts(item.t, self.data_of(item.t))
        result = rule.apply(node, inputs)
        if inputs and all(item is None or item.constant for item in inputs):
            result = replace(result, outputs=tuple(replace(item, constant=True) for item in result.outputs))
        return result, GraphFigures()

    def _constant(self, node: Any) -> OperatorResult:
        values = [item for item in node.attribute if item.name == "value" and item.type == type(item).TENSOR]
        if len(values) != 1 or len(node.attribute) != 1 or node.input or len(node.output) != 1:
            raise RefusedGraph("must have a tensor as its value, and nothing else")
        return OperatorResult((weight_facts(values[0].t, self.data_of(values[0].t)),))

    def _branch(
        self, node: Any, inputs: tuple[TensorFacts | None, ...], scope: Scope
    ) -> tuple[OperatorResult, GraphFigures]:
        graphs = {item.name: item.g for item in node.attribute if item.type == type(item).GRAPH}
        condition = inputs[0] if len(inputs) == 1 else None
        if set(graphs) != {"then_branch", "else_branch"} or len(node.attribute) != 2 or len(scope.maps) > _MAX_DEPTH:
            raise RefusedGraph(f"must have two branches, at most {_MAX_DEPTH} of them in each other")
        if condition is None or condition.element != BOOL or condition.count != 1:
            raise RefusedGraph("must have one boolean as condition")
        figures, results = [], []
        for name in ("then_branch", "else_branch"):
            found = self.run(graphs[name], scope)
            figures.append(found.figures)
            ends = [found.facts[item.name] for item in graphs[name].output]
            results.append(tuple(replace(item, content=None, constant=False, numbers=None) for item in ends))
        if results[0] != results[1] or len(results[0]) != len(node.output):
            raise RefusedGraph("must have branches with equal results, as many as it has outputs")
        together = GraphFigures(
            nodes=sum(item.nodes for item in figures),
            constant_bytes=sum(item.constant_bytes for item in figures),
            total_bytes=sum(item.total_bytes for item in figures),
            peak_bytes=max(item.peak_bytes for item in figures),
            macs=max(item.macs for item in figures),
        )
        return OperatorResult(results[0]), together


_NOT_ALLOWED = "which a bundle's graph must not have"


def input_facts(item: Any) -> TensorFacts:
    """Find what is known of an input of a graph, whose first size alone may be open.

    Args:
        item: The ONNX value.

    Returns:
        What is known.

    Raises:
        RefusedGraph: It is no tensor of known sizes.
    """
    kind = item.type
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        raise RefusedGraph(f"has an input {item.name[:100]!r} that is no tensor of known shape")
    dims: list[Size] = []
    for axis, dim in enumerate(kind.tensor_type.shape.dim):
        if dim.HasField("dim_value"):
            dims.append(dim.dim_value)
        elif axis == 0:
            dims.append(Batched(1))
        else:
            raise RefusedGraph(f"has an input {item.name[:100]!r} with more open sizes than the number of samples")
    return TensorFacts(kind.tensor_type.elem_type, tuple(dims))


def _found(name: str, scope: Scope) -> TensorFacts:
    found = scope.get(name)
    if found is None:
        raise RefusedGraph(f"reads {name[:100]!r} before anything computes it")
    return found


def _keep_only(message: Any, names: frozenset[str]) -> None:
    for item, _ in message.ListFields():
        if item.name not in names:
            message.ClearField(item.name)


def _last_uses(graph: Any) -> dict[str, int]:
    """The last node that reads each value; for outputs of the graph, the number of nodes."""
    uses: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in _reads(node):
            uses[name] = index
    outputs = [item.name for item in graph.output]
    if len(set(outputs)) != len(outputs) or not outputs:
        raise RefusedGraph("must have outputs with different names")
    uses.update(dict.fromkeys(outputs, len(graph.node)))
    return uses


def _reads(node: Any) -> list[str]:
    """Names that a node reads, also those that its branches take from outside, or from themselves."""
    names = [name for name in node.input if name]
    pending = [item.g for item in node.attribute if item.type == type(item).GRAPH]
    while pending:
        graph = pending.pop()
        names += [item.name for item in graph.output]
        for inner in graph.node:
            names += [name for name in inner.input if name]
            pending += [item.g for item in inner.attribute if item.type == type(item).GRAPH]
    return names


def _state_type(item: Any, found: TensorFacts) -> None:
    """Write what is known of an output, in place of what the file says."""
    kind = item.type
    stated = kind.tensor_type
    if stated.elem_type != found.element:
        raise RefusedGraph(f"has the output {item.name[:100]!r} of another type than the file says")
    if stated.HasField("shape"):
        sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in stated.shape.dim]
        pairs = zip(sizes, found.shape, strict=False)
        if len(sizes) != len(found.shape) or any(size is not None and size != other for size, other in pairs):
            raise RefusedGraph(f"has the output {item.name[:100]!r} of shape {shown(found.shape)}, not of {sizes[:16]}")
    _keep_only(item, frozenset({"name", "type"}))
    kind.ClearField("denotation")
    stated.ClearField("shape")
    stated.shape.SetInParent()
    for size in found.shape:
        if isinstance(size, Batched):
            stated.shape.dim.add(dim_param=str(size))
        else:
            stated.shape.dim.add(dim_value=size)
