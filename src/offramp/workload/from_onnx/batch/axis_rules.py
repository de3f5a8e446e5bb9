"""What each operator does to the batch axis of its operands."""

import math
from collections.abc import Callable, Mapping

from offramp.workload.from_onnx.batch.batch_axis import BatchAxes, BatchAxis, Sizes, Step
from offramp.workload.from_onnx.batch.kept_axes import combined_axes


def _operand(axes: BatchAxes, step: Step, position: int = 0) -> tuple[BatchAxis, Sizes]:
    """Batch axis and shape of the operand that carries the batch; it must be the one at ``position``."""
    name = step.names[position] if position < len(step.names) else ""
    place, sizes = axes.place(name), axes.sizes(name)
    if place is None or sizes is None or any(axes.place(other) for other in step.names if other != name):
        raise step.unknown
    return place, sizes


def _view(axes: BatchAxes, step: Step) -> BatchAxis:
    """The values keep their order: the distance between samples decides where they lie."""
    place, sizes = _operand(axes, step)
    distance = place.inner * math.prod(sizes[place.axis + 1 :])
    for axis, size in enumerate(step.result):
        below = math.prod(step.result[axis + 1 :])
        if distance % below == 0 and size % (distance // below * axes.batch) == 0:
            return BatchAxis(axis, distance // below)
    raise step.combines


def _transposed(axes: BatchAxes, step: Step) -> BatchAxis:
    place, sizes = _operand(axes, step)
    order = step.node.integers("perm", tuple(reversed(range(len(sizes)))))
    return BatchAxis(order.index(place.axis), place.inner)


def _aligned(axes: BatchAxes, step: Step, shifts: Mapping[str, int] | None = None) -> BatchAxis:
    """Operands are aligned at the last axis, or by ``shifts``; all that carry the batch do so on one axis."""
    found: set[BatchAxis] = set()
    for name in dict.fromkeys(step.names):
        place, sizes = axes.place(name), axes.sizes(name)
        if place is None or sizes is None:
            continue
        shift = len(step.result) - len(sizes) if shifts is None else shifts[name]
        if step.result[place.axis + shift] != sizes[place.axis]:
            raise step.combines
        found.add(BatchAxis(place.axis + shift, place.inner))
    if len(found) != 1:
        raise step.combines
    (place,) = found
    for name in dict.fromkeys(step.names):
        sizes = axes.sizes(name)
        if axes.place(name) is None and sizes is not None:
            shift = len(step.result) - len(sizes) if shifts is None else shifts[name]
            if place.axis - shift < len(sizes):
                axes.take_constant(name, place.axis - shift, step, place.inner)
    return place


def _expanded(axes: BatchAxes, step: Step) -> BatchAxis:
    place, sizes = _operand(axes, step)
    axis = place.axis + len(step.result) - len(sizes)
    if step.result[axis] != sizes[place.axis]:
        raise step.combines
    return BatchAxis(axis, place.inner)


def _joined(axes: BatchAxes, step: Step) -> BatchAxis:
    place = _aligned(axes, step)
    if place.axis == step.node.integer("axis", 0) % len(step.result):
        raise step.combines
    return place


def _product(axes: BatchAxes, step: Step) -> BatchAxis:
    """Matrices: the inner axes are summed over, the leading ones are aligned. The axis of a vector is summed over."""
    left, right = step.names[:2]
    summed = {left: -1, right: -2}
    for name in (left, right):
        place, sizes = axes.place(name), axes.sizes(name)
        if place is not None and sizes is not None and place.axis == max(len(sizes) + summed[name], 0):
            raise step.combines
    ranks = {name: len(axes.sizes(name) or ()) for name in (left, right)}
    rank = max(ranks.values())
    if sorted(ranks.values()) == [1, rank] and rank > 1:
        place, sizes = _operand(axes, step, 0 if ranks[right] == 1 else 1)
        return BatchAxis(place.axis - (ranks[left] == 1 and place.axis == len(sizes) - 1), place.inner)
    if len(step.result) != rank:
        raise step.unknown
    for name, other, own in ((left, right, -2), (right, left, -1)):
        place = axes.place(name)
        if place is not None and place.axis == len(axes.sizes(name) or ()) + own:
            if axes.place(other) is not None:
                raise step.combines
            return BatchAxis(rank + own, place.inner)
    return _aligned(axes, Step(step.node, step.op, (left, right), step.result, step.position))


def _dense(axes: BatchAxes, step: Step) -> BatchAxis:
    """A product of two matrices, either of which may hold the samples: as rows on the left, as columns on the right."""
    left, right = (axes.place(name) for name in step.names[:2])
    transposed = step.node.integer("transB", 0) if left is None else step.node.integer("transA", 0)
    place = right if left is None else left
    if place is None or (left is not None and right is not None):
        raise step.combines
    own = 1 if left is None else 0
    if place.axis != (1 - own if transposed else own):
        raise step.combines
    result = BatchAxis(own, place.inner)
    for name in step.names[2:]:
        added = axes.place(name)
        sizes = axes.sizes(name) or ()
        if added is not None and added != BatchAxis(own - 2 + len(sizes), place.inner):
            raise step.combines
        if added is None:
            axes.take_constant(name, own - 2 + len(sizes), step, place.inner)
    return result


def _scattered(axes: BatchAxes, step: Step) -> BatchAxis:
    """The result has the shape of the first operand; updates lie at the same axis."""
    places = {axes.place(name) for name in (step.names[0], step.names[-1])} - {None}
    place = places.pop() if len(places) == 1 else None
    if place is None:
        raise step.unknown
    for name in (step.names[0], step.names[-1]):
        sizes = axes.sizes(name)
        if sizes is None or place.axis >= len(sizes) or sizes[place.axis] != step.result[place.axis]:
            raise step.combines
        if axes.place(name) is None:
            axes.take_constant(name, place.axis, step, place.inner)
    if step.op != "ScatterND" and place.axis == step.node.integer("axis", 0) % len(step.result):
        raise step.combines
    return place


def _gathered(axes: BatchAxes, step: Step) -> BatchAxis:
    """Entries along one axis, in whose place the axes of the indices come."""
    table, indices = (axes.sizes(name) for name in step.names[:2])
    place = axes.place(step.names[0])
    if table is None or indices is None:
        raise step.unknown
    axis = step.node.integer("axis", 0) % len(table)
    if place is None:
        place = axes.place(step.names[1])
        if place is None:
            raise step.unknown
        return BatchAxis(place.axis + axis, place.inner)
    if axes.place(step.names[1]) is not None or place.axis == axis:
        raise step.combines
    return BatchAxis(place.axis + (len(indices) - 1 if place.axis > axis else 0), place.inner)


def _reduced(axes: BatchAxes, step: Step) -> BatchAxis:
    place, sizes = _operand(axes, step)
    rank = len(sizes)
    if step.op in ("ArgMax", "ArgMin"):
        given: tuple[int, ...] = (step.node.integer("axis", 0),)
    else:
        given = step.node.integers("axes")
        if not given and len(step.names) > 1:
            value = axes.facts.values.get(step.names[1])
            if value is None:
                raise step.unknown
            given = tuple(int(axis) for axis in value.reshape(-1))
    reduced = {axis % rank for axis in given}
    if not reduced and not step.node.integer("noop_with_empty_axes", 0):
        reduced = set(range(rank))
    if place.axis in reduced:
        raise step.combines
    kept = step.node.integer("keepdims", 1) != 0
    return BatchAxis(place.axis if kept else place.axis - sum(axis < place.axis for axis in reduced), place.inner)


def _recurrent(axes: BatchAxes, step: Step) -> BatchAxis:
    """Sequences (time, batch, features), or batch first with layout 1; states have the directions first."""
    place = axes.place(step.names[0])
    batch_first = step.node.integer("layout", 0)
    if place is None or place.axis != (0 if batch_first else 1):
        raise step.combines
    return BatchAxis(0 if batch_first else (2 if step.position == 0 else 1), place.inner)


def _summed(axes: BatchAxes, step: Step) -> BatchAxis:
    """Einstein notation: a letter that the result keeps is not summed over."""
    terms, _, result = str(step.node.attributes.get("equation", "")).replace(" ", "").partition("->")
    letters = set()
    inner = 1
    for name, term in zip(step.names, terms.split(","), strict=False):
        place = axes.place(name)
        if place is not None and "." not in term and place.axis < len(term):
            letters.add(term[place.axis])
            inner = place.inner
    if len(letters) != 1 or "." in result or not result:
        raise step.unknown
    (letter,) = letters
    if letter not in result:
        raise step.combines
    for name, term in zip(step.names, terms.split(","), strict=False):
        if axes.place(name) is None and letter in term:
            axes.take_constant(name, term.index(letter), step, inner)
    return BatchAxis(result.index(letter), inner)


def kept_axis(axes: BatchAxes, step: Step) -> BatchAxis:
    """Follow the batch through a node that leaves the axes where they are and does not combine samples.

    Args:
        axes: The batch axes so far.
        step: The output of the node.

    Returns:
        The batch axis of the output.

    Raises:
        CombinesSamples: The node combines entries of the batch axis.
        LosesBatch: It is not known what the node does to the axis.
    """
    first = next(name for name in step.names if axes.place(name) is not None)
    place, sizes = axes.place(first), axes.sizes(first)
    others = {axes.place(name) for name in step.names if axes.place(name) is not None}
    if place is None or sizes is None or len(others) > 1 or len(step.result) != len(sizes):
        raise step.unknown
    blocked = combined_axes(step.node, step.op, len(sizes), axes.facts.values)
    if place.axis in blocked or step.result[place.axis] != sizes[place.axis]:
        raise step.combines
    return place


_Rule = Callable[[BatchAxes, Step], BatchAxis]
_ELEMENTWISE = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "Where", "PRelu", "BitShift"),
    *("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", "And", "Or", "Xor"),
)
_REDUCTIONS = (
    *("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum"),
    *("ReduceLogSumExp", "ReduceSumSquare", "ArgMax", "ArgMin"),
)
AXIS_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _view),
    **dict.fromkeys(_ELEMENTWISE, _aligned),
    **dict.fromkeys(_REDUCTIONS, _reduced),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    **dict.fromkeys(("ScatterND", "ScatterElements", "Scatter"), _scattered),
    "Transpose": _transposed,
    "Expand": _expanded,
    "Concat": _joined,
    "MatMul": _product,
    "Gemm": _dense,
    "Gather": _gathered,
    "Einsum": _summed,
}
"""Where the samples lie in the result, by operator; `kept_axis` for all others."""
