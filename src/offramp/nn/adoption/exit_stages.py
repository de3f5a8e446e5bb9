"""Stages and branches of a model that gives the logits of several exits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from offramp.nn.adoption.recording_merge import SHAPE
from offramp.nn.adoption.tracing import TracedModel


@dataclass(frozen=True)
class ExitStages:
    """A model with several exits, cut.

    Attributes:
        stages: The backbone, one part per exit; each reads the features of the one before.
        branches: One branch per exit, from features to logits.
        order: For each exit, its place among the outputs of the model.
    """

    stages: tuple[fx.GraphModule, ...]
    branches: tuple[nn.Module, ...]
    order: tuple[int, ...]


class PackFeatures(nn.Module):
    """Joins several tensors to one row per sample, in which form they pass from one stage to the next."""

    def forward(self, *tensors: Tensor) -> Tensor:
        """The values of all tensors, (batch, values)."""
        return torch.cat([tensor.flatten(1) for tensor in tensors], dim=1)


def cut_at_exits(traced: TracedModel, logits: Sequence[fx.Node]) -> ExitStages:
    """Cut a traced model into stages that end at its exits.

    The final exit is the one that needs the most calls. The others come in the order in which the calls that they share
    with it run. Several tensors that pass from one stage to the next are joined to one.

    Args:
        traced: The traced model.
        logits: The outputs of the model.

    Returns:
        The parts.
    """
    calls = _dependent_calls(traced)
    needed = [_needed(node, calls) for node in logits]
    final = max(range(len(logits)), key=lambda index: (len(needed[index]), index))
    others = [index for index in range(len(logits)) if index != final]
    order = (*sorted(others, key=lambda index: len(needed[index] & needed[final])), final)
    return _Cutter(traced, calls, [logits[index] for index in order], [needed[index] for index in order]).run(order)


def _dependent_calls(traced: TracedModel) -> tuple[fx.Node, ...]:
    """The calls that use the images, in order of execution."""
    dependent: set[fx.Node] = set()
    calls = []
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            dependent.add(node)
        elif node.op != "output" and node not in traced.input_facts and dependent & set(node.all_input_nodes):
            dependent.add(node)
            calls.append(node)
    return tuple(calls)


def _needed(result: fx.Node, calls: Sequence[fx.Node]) -> frozenset[fx.Node]:
    """The calls that a result needs, itself included."""
    known, pending = set(calls), [result]
    found: set[fx.Node] = set()
    while pending:
        node = pending.pop()
        if node in known and node not in found:
            found.add(node)
            pending += node.all_input_nodes
    return frozenset(found)


class _Cutter:
    def __init__(
        self,
        traced: TracedModel,
        calls: Sequence[fx.Node],
        logits: Sequence[fx.Node],
        needed: Sequence[frozenset[fx.Node]],
    ) -> None:
        self.traced, self.calls, self.logits, self.needed = traced, calls, logits, needed

    def run(self, order: tuple[int, ...]) -> ExitStages:
        images = next(node for node in self.traced.graph.nodes if node.op == "placeholder")
        stages, branches = [], []
        source, done = [images], set[fx.Node]()
        for index, result in enumerate(self.logits[:-1]):
            later = frozenset[fx.Node]().union(*self.needed[index + 1 :])
            shared = self._with_items((self.needed[index] & later) - done)
            trunk = [node for node in self.calls if node in shared]
            done |= shared
            own = [node for node in self.calls if node in self.needed[index] - later - done]
            readers = {*own, *(later - done)}
            crossing = [
                node
                for node in (images, *self.calls)
                if (node in done or node is images) and (node is result or readers & set(node.users))
            ]
            stages.append(self._part(source, trunk, crossing))
            branches.append(self._part(crossing, own, [result]))
            source = crossing
        last = [node for node in self.calls if node in self.needed[-1] and node not in done]
        stages.append(self._part(source, last, [self.logits[-1]]))
        return ExitStages(tuple(stages), (*branches, nn.Identity()), order)

    def _with_items(self, nodes: frozenset[fx.Node]) -> set[fx.Node]:
        """The calls, and for those that give several tensors the calls that take them apart: tensors alone pass on."""
        known, pending = set(self.calls), list(nodes)
        found = set(nodes)
        while pending:
            node = pending.pop()
            if SHAPE not in node.meta:
                items = [user for user in node.users if user in known and user not in found]
                found |= set(items)
                pending += items
        return found

    def _part(self, source: Sequence[fx.Node], calls: Sequence[fx.Node], results: Sequence[fx.Node]) -> fx.GraphModule:
        root, graph = nn.ModuleDict({"model": cast(nn.Module, self.traced.root.model)}), fx.Graph()
        for name, value in self.traced.root.named_buffers(recurse=False):
            root.register_buffer(name, value)
        for name, part in self.traced.root.named_children():
            if name != "model":
                root.add_module(name, part)
        features = graph.placeholder("features")
        copies = _unpacked(graph, features, source)

        def copied(node: fx.Node) -> fx.Node:
            if node in self.traced.input_facts and node not in copies:
                copies[node] = graph.node_copy(node, lambda _: features)
            if node not in copies:
                copies[node] = graph.node_copy(node, copied)
            return copies[node]

        for node in calls:
            copied(node)
        if len(results) == 1:
            graph.output(copied(results[0]))
        else:
            root.add_module("pack", PackFeatures())
            graph.output(graph.call_module("pack", tuple(copied(node) for node in results)))
        return fx.GraphModule(root, graph)


def _unpacked(graph: fx.Graph, features: fx.Node, source: Sequence[fx.Node]) -> dict[fx.Node, fx.Node]:
    """The values that a part reads, taken out of the row that holds them where there are several."""
    if len(source) == 1:
        return {source[0]: features}
    copies: dict[fx.Node, Any] = {}
    begin = 0
    for node in source:
        shape = node.meta[SHAPE][1:]
        end = begin + math.prod(shape)
        row = graph.call_method("narrow", (features, 1, begin, end - begin))
        copies[node] = graph.call_method("reshape", (row, (-1, *shape)))
        begin = end
    return copies
