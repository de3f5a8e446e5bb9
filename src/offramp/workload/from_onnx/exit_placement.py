"""The exits of a graph, their order, and the stage and role of every layer."""

from dataclasses import dataclass
from pathlib import Path

from offramp.errors import WorkloadError
from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.found_layers import FoundLayer, FoundLayers
from offramp.workload.graph import GRAPH_INPUT, Layer, Role
from offramp.workload.layer import POOL_OPS, Op


def exit_layers(graph: OnnxGraph, found: FoundLayers, path: Path) -> tuple[str, ...]:
    """The layer that computes each output, in the order of the file; outputs of one layer are one exit."""
    layers: list[str] = []
    for output in graph.outputs:
        origin = found.origin.get(output)
        if origin is None or origin == GRAPH_INPUT:
            raise WorkloadError(
                f"Output '{output}' of '{path}' must be computed by layers from the input, but it is not."
            )
        layers.append(origin)
    if not layers:
        raise WorkloadError(f"'{path}' has no output.")
    return tuple(dict.fromkeys(layers))


@dataclass(frozen=True)
class _Placed:
    layers: tuple[Layer, ...]
    exits: tuple[str, ...]


def place_layers(raw: tuple[FoundLayer, ...], producers: tuple[str, ...]) -> _Placed:
    """Find stage and role of every layer, and sort layers in order of execution: stage by stage, the branch last."""
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


def _leads_to(raw: tuple[FoundLayer, ...], producers: tuple[str, ...]) -> dict[str, set[str]]:
    """The exits that need each layer."""
    leads_to: dict[str, set[str]] = {layer.name: set() for layer in raw}
    for name in producers:
        leads_to[name].add(name)
    for layer in reversed(raw):
        for source in layer.inputs:
            if source != GRAPH_INPUT:
                leads_to[source] |= leads_to[layer.name]
    return leads_to


def _exit_order(
    raw: tuple[FoundLayer, ...], leads_to: dict[str, set[str]], producers: tuple[str, ...]
) -> tuple[str, ...]:
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
