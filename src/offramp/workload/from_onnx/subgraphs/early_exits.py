"""Early exits that a graph takes by itself: an `If`, one branch of which hands on what was computed before it."""

from typing import Any

from offramp.errors import WorkloadError
from offramp.workload.from_onnx.subgraphs.graph_writer import GraphWriter, subgraphs_of

_HANDS_ON = frozenset(
    {"Identity", "Constant", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Softmax", "LogSoftmax", "Sigmoid"}
)
_WITH_WEIGHTS = ("Conv", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN", "Attention")
_ANSWER = ["logits", "exit", "confidence"]
"""Outputs of a bundle's file that takes its exits itself."""


class EarlyExits:
    """The early exits of a graph in its `If` nodes.

    An `If` is an early exit if one of its branches only hands on tensors that were computed before, and its results are
    outputs of the graph. Both branches are written out: what the one hands on becomes an output of its own, and the
    results of the other stay the output. In this form the graph is the early-exit network with all its exits.

    Args:
        graph: The ONNX graph, which is changed in place.

    Attributes:
        graph: The ONNX graph.
        notes: Sentences about how the `If` nodes were read.
    """

    def __init__(self, graph: Any) -> None:
        """Begin without notes.

        Args:
            graph: The ONNX graph, which will be changed in place.
        """
        self.graph = graph
        self.notes: tuple[str, ...] = ()
        self._left_by: dict[str, list[str]] = {}
        self._conditions: dict[str, str] = {}

    def write_out(self, node: Any) -> bool:
        """Write out an `If`, if it is an early exit.

        Args:
            node: The `If`.

        Returns:
            Whether it was one.
        """
        from onnx import helper

        branches = subgraphs_of(node)
        stops = [branch for branch in branches if all(inner.op_type in _HANDS_ON for inner in branch.node)]
        results = [self._output_of(name) for name in node.output]
        complete = all(len(branch.output) == len(results) for branch in branches)
        if len(branches) != 2 or len(stops) != 1 or None in results or not complete:
            return False
        (stop,) = stops
        further = branches[1] if stop is branches[0] else branches[0]
        writer, label = GraphWriter(self.graph), node.name or node.output[0]
        self._conditions[label] = node.input[0]
        nodes, names = writer.nodes(further, label, writer.constants(further, label))
        handed, stop_names = writer.nodes(stop, f"{label}/stop", writer.constants(stop, f"{label}/stop"))
        for position, (output, result) in enumerate(zip(node.output, results, strict=True)):
            last, early = further.output[position].name, stop.output[position].name
            nodes.append(helper.make_node("Identity", [names.get(last, last)], [output]))
            name = writer.free(f"{result} ({label})", label)
            handed.append(helper.make_node("Identity", [stop_names.get(early, early)], [name]))
            self._left_by.setdefault(str(result), []).append(name)
        writer.replace(node, [*handed, *nodes])
        return True

    def finish(self) -> str | None:
        """Make the early exits outputs of the graph.

        Results that are constants, or that are computed from another result of the same exit, such as its confidence,
        are no longer outputs.

        Returns:
            Name of the output that is the final exit; None if there are no early exits or several such outputs.

        Raises:
            WorkloadError: A decision is computed by layers with weights that lead to no exit.
        """
        if not self._left_by:
            return self._only_exit()
        before = {name: self._computed_from(names[0]) for name, names in self._left_by.items()}
        inputs = {item.name for item in self.graph.input}
        kept = [
            name
            for name, sources in before.items()
            if sources & inputs and not any(self._is_derived(name, other, before) for other in before if other != name)
        ]
        from onnx import ValueInfoProto

        outputs = [item for item in self.graph.output if item.name not in self._left_by or item.name in kept]
        added = [ValueInfoProto(name=name) for result in kept for name in self._left_by[result]]
        copies = [ValueInfoProto.FromString(item.SerializeToString()) for item in (*added, *outputs)]
        del self.graph.output[:]
        self.graph.output.extend(copies)
        self._check_decisions()
        count = len(self._left_by[kept[0]]) if kept else 0
        self.notes = (
            f"The file decides itself whether a sample leaves, at {count} `If` node(s): the rows are its exits, and "
            "the decisions are not priced.",
        )
        return kept[0] if len(kept) == 1 else None

    def _only_exit(self) -> str | None:
        """The logits of a bundle's file with a single exit, which is left by every sample."""
        if [item.name for item in self.graph.output] != _ANSWER:
            return None
        del self.graph.output[1:]
        return str(self.graph.output[0].name)

    def _check_decisions(self) -> None:
        """Refuse a decision that layers with weights compute beside the exits: they would be left out."""
        priced: set[str] = set()
        for item in self.graph.output:
            priced |= self._computed_from(item.name)
        for label, condition in self._conditions.items():
            beside = self._computed_from(condition) - priced
            layers = [
                node.name or node.output[0]
                for node in self.graph.node
                if not beside.isdisjoint(node.output) and any(kind in node.op_type for kind in _WITH_WEIGHTS)
            ]
            if layers:
                raise WorkloadError(
                    f"The decision of `If` node '{label}' must be computed from the result that it hands on, but it "
                    f"has layers of its own: {', '.join(layers[:5])}. Make the result of the decision an output, too."
                )

    def _is_derived(self, name: str, other: str, before: dict[str, set[str]]) -> bool:
        """Whether one result of an exit is computed from another one, and not the other way round."""
        own, source = (self._handed(self._left_by[item][0]) for item in (name, other))
        return source in before[name] and own not in before[other]

    def _handed(self, name: str) -> str:
        """The tensor that an identity hands on, through any number of them."""
        makers = {output: node for node in self.graph.node for output in node.output}
        while name in makers and makers[name].op_type == "Identity":
            name = makers[name].input[0]
        return name

    def _computed_from(self, name: str) -> set[str]:
        """A tensor and all tensors that it is computed from."""
        makers = {output: node for node in self.graph.node for output in node.output}
        found: set[str] = set()
        waiting = [name]
        while waiting:
            item = waiting.pop()
            if item and item not in found:
                found.add(item)
                waiting += list(makers[item].input) if item in makers else []
        return found

    def _output_of(self, name: str) -> str | None:
        """The output of the graph that a tensor becomes, through nodes that hand it on; None if there is none."""
        for _ in range(len(self.graph.node) + 1):
            readers = [node for node in self.graph.node if name in node.input]
            if name in {item.name for item in self.graph.output}:
                return name if not readers else None
            if len(readers) != 1 or readers[0].op_type not in _HANDS_ON:
                return None
            name = readers[0].output[0]
        return None
