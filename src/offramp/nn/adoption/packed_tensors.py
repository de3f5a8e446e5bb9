"""Models in which several tensors go on side by side: where they are cut, the tensors are packed into one."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from offramp.nn.adoption.cutting import CallGraph, call_graph, live_values, shapes_of_samples
from offramp.nn.adoption.feature_layout import PackedPart
from offramp.nn.adoption.tap_choice import LAYERS_WITH_MACS, is_block
from offramp.nn.adoption.tracing import MODEL

MOST_TENSORS = 4
"""The largest number of tensors that are packed into one."""


@dataclass(frozen=True)
class _Place:
    """Where several tensors go on.

    Attributes:
        last: The call before the place.
        tensors: What the rest of the model needs; an exit reads the last one.
    """

    last: fx.Node
    tensors: tuple[fx.Node, ...]


def with_packed_tensors(calls: CallGraph, example: Tensor, names: Sequence[str] | None, max_taps: int) -> CallGraph:
    """Add places to cut a model where no single tensor goes on.

    At each of them the tensors are flattened and concatenated, and taken apart again for the calls behind it. The model
    computes the same.

    Args:
        calls: The calls of the model; its graph is changed.
        example: Images (batch, channels, height, width).
        names: Names of modules behind which to cut; None: places are spread evenly.
        max_taps: The largest number of places for early exits; one more is before the head.

    Returns:
        The calls with these cuts; the same ones if there is no such place.
    """
    shapes = shapes_of_samples(calls.traced, example)
    places = _spread(_named(calls, _places(calls, shapes), names), max_taps + 1)
    if len(places) < 2:
        return calls
    graph, parts = calls.traced.graph, dict[fx.Node, PackedPart]()
    now: dict[fx.Node, fx.Node] = {}
    for place in places:
        packed = _pack(graph, place, now, shapes)
        sizes = [math.prod(shapes[node][1:]) for node in place.tensors]
        parts[packed] = PackedPart(sum(sizes[:-1]), shapes[place.tensors[-1]][1:])
        calls.traced.outputs[packed] = calls.traced.outputs.get(place.tensors[-1], ())
    graph.lint()
    return replace(call_graph(calls.traced, example), packed=parts)


def _places(calls: CallGraph, shapes: dict[fx.Node, tuple[int, ...]]) -> list[_Place]:
    """The places behind modules where the fewest tensors go on, all of them with an entry for each sample."""
    order = {node: number for number, node in enumerate(calls.traced.graph.nodes)}
    found = []
    for node, live in zip(calls.calls, live_values(calls.traced.graph, calls.calls), strict=True):
        # The image itself is larger than what is computed from it.
        inside = all(value in shapes and value.op != "placeholder" for value in live)
        # An exit reads what the module before the place computes.
        read = node in live and len(shapes.get(node, ())) in (3, 4) and _computes(calls, node)
        if inside and read and 2 <= len(live) <= MOST_TENSORS:
            found.append(_Place(node, tuple(sorted(live, key=order.__getitem__))))
    fewest = min((len(place.tensors) for place in found), default=0)
    found = [place for place in found if len(place.tensors) == fewest]
    return [place for place in found if any(is_block(calls, x) for x in _names(calls, place.last))] or found


def _computes(calls: CallGraph, node: fx.Node) -> bool:
    """Whether it is the result of a module with MACs, so that two places never have equal MACs."""
    names = calls.traced.outputs.get(node, ())
    modules = (part for name in names for part in calls.traced.root.get_submodule(name).modules())
    return any(isinstance(part, LAYERS_WITH_MACS) for part in modules)


def _names(calls: CallGraph, node: fx.Node) -> list[str]:
    """Names of the modules in the model whose result it is."""
    return [x.removeprefix(f"{MODEL}.") for x in calls.traced.outputs.get(node, ()) if x != MODEL]


def _named(calls: CallGraph, places: list[_Place], names: Sequence[str] | None) -> list[_Place]:
    """The places behind the named modules, and the last one."""
    if names is None:
        return places
    return [x for x in places if x is places[-1] or not set(names).isdisjoint(_names(calls, x.last))]


def _spread(places: list[_Place], count: int) -> list[_Place]:
    """At most ``count`` places at even distances, the last one among them."""
    if len(places) <= count:
        return places
    return [places[(index + 1) * len(places) // count - 1] for index in range(count)]


def _pack(
    graph: fx.Graph, place: _Place, now: dict[fx.Node, fx.Node], shapes: dict[fx.Node, tuple[int, ...]]
) -> fx.Node:
    """Write the packing and the unpacking behind a place; ``now`` has what stands for each tensor behind the last."""
    sources = [now.get(node, node) for node in place.tensors]
    with graph.inserting_after(now.get(place.last, place.last)):
        behind = graph.call_function(torch.flatten, (sources[0], 1))
    rows = [behind]
    for source in sources[1:]:
        with graph.inserting_after(rows[-1]):
            rows.append(graph.call_function(torch.flatten, (source, 1)))
    with graph.inserting_after(rows[-1]):
        packed = graph.call_function(torch.cat, (tuple(rows), 1))
    last, start = packed, 0
    taken: list[fx.Node] = []
    for node in place.tensors:
        shape = shapes[node][1:]
        stop = start + math.prod(shape)
        with graph.inserting_after(last):
            part = graph.call_function(operator.getitem, (packed, (slice(None), slice(start, stop))))
        with graph.inserting_after(part):
            last = graph.call_function(torch.reshape, (part, (-1, *shape)))
        taken.append(last)
        start = stop
    order = {node: number for number, node in enumerate(graph.nodes)}
    for node, source, new in zip(place.tensors, sources, taken, strict=True):
        source.replace_all_uses_with(new, delete_user_cb=lambda user: order[user] > order[last])
        now[node] = new
    return packed
