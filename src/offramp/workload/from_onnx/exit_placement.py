"""The exits of a graph, their order, and the stage and role of every layer."""

import re
from dataclasses import dataclass
from pathlib import Path

from offramp.errors import WorkloadError
from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.found_layers import FoundLayer, FoundLayers
from offramp.workload.graph import GRAPH_INPUT, Layer, Role
from offramp.workload.layer import POOL_OPS, Op

CLEAR_RATIO = 2
"""The final exit is plain if its own layers have at least this many times the MACs of those of any other exit."""


@dataclass(frozen=True)
class PlacedLayers:
    """The layers of a graph in their stages.

    Attributes:
        layers: Layers in order of execution: stage by stage, the branch last.
        exits: The layer that computes each exit, in the order in which samples may leave.
        outputs: The output of the file at each exit; several names, separated by commas, if one layer computes them.
        notes: A sentence about outputs that are no exits.
    """

    layers: tuple[Layer, ...]
    exits: tuple[str, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()


def place_layers(graph: OnnxGraph, found: FoundLayers, path: Path, final: str | None = None) -> PlacedLayers:
    """Find the exits, and stage and role of every layer.

    The final exit is the output behind which nothing else of the graph runs longest (see `_final_exit`). The others
    come in the order in which they leave the layers that lead to it. A layer that does not lead to the final exit
    belongs to a branch.

    Args:
        graph: The graph.
        found: Its layers.
        path: The file, for messages.
        final: Name of the output that is the final exit; None to find it.

    Returns:
        The placed layers.

    Raises:
        WorkloadError: No output is computed from the input, or the final exit is unknown.
    """
    outputs, others = _outputs_of_exits(graph, found, path)
    leads_to = _leads_to(found.layers, tuple(outputs))
    last = _final_exit(found.layers, leads_to, outputs, path) if final is None else _named(final, outputs, path)
    exits = _exit_order(found.layers, leads_to, tuple(outputs), last)
    classifier = _final_classifier([layer for layer in found.layers if leads_to[layer.name] == {last}])
    stage_of = {name: stage for stage, name in enumerate(exits)}
    layers = []
    for layer in found.layers:
        targets = leads_to[layer.name]
        role = Role.BRANCH if last not in targets or layer.name in classifier else Role.BACKBONE
        layers.append(Layer(layer.name, layer.shape, layer.inputs, min(stage_of[name] for name in targets), role))
    layers.sort(key=lambda layer: (layer.stage, layer.role is Role.BRANCH))
    notes = (f"No layer computes {', '.join(repr(name) for name in others)}, so it is no exit.",) if others else ()
    return PlacedLayers(tuple(layers), exits, tuple(", ".join(outputs[name]) for name in exits), notes)


def _outputs_of_exits(graph: OnnxGraph, found: FoundLayers, path: Path) -> tuple[dict[str, list[str]], list[str]]:
    """The outputs that each exit layer computes, in the order of the file, and those that no layer computes."""
    outputs: dict[str, list[str]] = {}
    others: list[str] = []
    for output in graph.outputs:
        origin = found.origin.get(output)
        if origin is None or origin == GRAPH_INPUT:
            others.append(output)
        else:
            outputs.setdefault(origin, []).append(output)
    if not outputs and others:
        raise WorkloadError(
            f"Output '{others[0]}' of '{path}' must be computed by layers from the input, but it is not."
        )
    if not outputs:
        raise WorkloadError(f"'{path}' has no output.")
    return outputs, others


def _leads_to(layers: tuple[FoundLayer, ...], exits: tuple[str, ...]) -> dict[str, set[str]]:
    """The exits that need each layer."""
    leads_to: dict[str, set[str]] = {layer.name: set() for layer in layers}
    for name in exits:
        leads_to[name].add(name)
    for layer in reversed(layers):
        for source in layer.inputs:
            if source != GRAPH_INPUT:
                leads_to[source] |= leads_to[layer.name]
    return leads_to


def _named(final: str, outputs: dict[str, list[str]], path: Path) -> str:
    for layer, names in outputs.items():
        if final in names:
            return layer
    known = ", ".join(name for names in outputs.values() for name in names)
    raise WorkloadError(f"The final exit must be an output of '{path}', which are {known}; got '{final}'.")


def _final_exit(
    layers: tuple[FoundLayer, ...], leads_to: dict[str, set[str]], outputs: dict[str, list[str]], path: Path
) -> str:
    """The exit that runs longest, by the MACs of the layers that it does not share, on a path that is no shorter.

    It must be plain: twice the MACs of any other, or more MACs and the last place in the file. Names may say it, too
    (see `_final_by_name`), unless another exit plainly runs longer.
    """
    if len(outputs) == 1:
        return next(iter(outputs))
    run = {name: _Run.of(name, layers, leads_to) for name in outputs}
    plain = [a for a in run if all(run[a].plainly_exceeds(run[b]) for b in run if b != a)]
    last = tuple(outputs)[-1]
    longer = [a for a in run if a == last and all(run[a].exceeds(run[b]) for b in run if b != a)]
    named = _final_by_name(outputs)
    if named is not None:
        plain = [named] if plain in ([], [named]) else []
    candidates = plain if plain or named else longer
    if len(candidates) == 1:
        return candidates[0]
    names = ", ".join(name for group in outputs.values() for name in group)
    raise WorkloadError(
        f"It is not plain which output of '{path}' is the final exit, which runs longest. Name it with "
        f"`--final NAME` (in Python: `final=`); the outputs are {names}."
    )


@dataclass(frozen=True)
class _Run:
    """All layers that lead to an exit, with their MACs, and the number of layers on the longest path to it."""

    macs: dict[str, int]
    depth: int

    @classmethod
    def of(cls, name: str, layers: tuple[FoundLayer, ...], leads_to: dict[str, set[str]]) -> "_Run":
        depth: dict[str, int] = {GRAPH_INPUT: 0}
        for layer in layers:
            depth[layer.name] = 1 + max(depth[source] for source in layer.inputs)
        return cls({layer.name: layer.shape.macs for layer in layers if name in leads_to[layer.name]}, depth[name])

    def own(self, other: "_Run") -> int:
        """MACs of the layers that the other one does without."""
        return sum(macs for name, macs in self.macs.items() if name not in other.macs)

    def exceeds(self, other: "_Run") -> bool:
        own, others = self.own(other), other.own(self)
        return own >= others and self.depth >= other.depth and (own, self.depth) != (others, other.depth)

    def plainly_exceeds(self, other: "_Run") -> bool:
        return self.exceeds(other) and self.own(other) >= CLEAR_RATIO * other.own(self)


def _final_by_name(outputs: dict[str, list[str]]) -> str | None:
    """The only exit that is called final, or the last one of exits that are all numbered, as in exit_0 and exit_1."""
    layers = {name: layer for layer, names in outputs.items() for name in names}
    final = {layer for name, layer in layers.items() if "final" in name.lower()}
    if len(final) == 1:
        return final.pop()
    numbers = {name: int(match[1]) for name in layers if (match := re.fullmatch(r"(?i)exit[_.\-]?(\d+)", name))}
    return layers[max(numbers, key=lambda name: numbers[name])] if len(numbers) == len(layers) else None


def _exit_order(
    layers: tuple[FoundLayer, ...], leads_to: dict[str, set[str]], exits: tuple[str, ...], final: str
) -> tuple[str, ...]:
    """Exits by the last layer that each shares with the final one, which comes last."""
    leaves = dict.fromkeys(exits, -1)
    for position, layer in enumerate(layers):
        if final in leads_to[layer.name]:
            leaves |= dict.fromkeys(leads_to[layer.name], position)
    return (*sorted((name for name in exits if name != final), key=lambda name: leaves[name]), final)


def _final_classifier(tail: list[FoundLayer]) -> set[str]:
    """Names of the classifier's layers among those that lead to the final output alone."""
    start = 0
    for index, layer in enumerate(tail):
        on_a_map = layer.shape.oy * layer.shape.ox * layer.shape.iy * layer.shape.ix > 1
        if layer.shape.op is not Op.DENSE and layer.shape.op not in POOL_OPS and on_a_map:
            start = index + 1
    heads = [i for i in range(start, len(tail)) if tail[i].shape.op is Op.DENSE or tail[i].shape.op in POOL_OPS]
    first = heads[0] if heads else len(tail) - 1
    return {layer.name for layer in tail[max(first, 0) :]}
