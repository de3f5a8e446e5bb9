"""Rules of operators that move values, or make tensors of given shapes."""

import math
from collections.abc import Sequence

from offramp.deploy.graph_rules.operator_call import (
    AttributeKind,
    OperatorCall,
    OperatorResult,
    OperatorRule,
    positive_axis,
    same_type,
)
from offramp.deploy.graph_rules.tensor_facts import (
    INT64,
    MAX_CONTENT,
    SHAPE_TYPES,
    Batched,
    RefusedGraph,
    Shape,
    Size,
    TensorFacts,
    broadcast,
    fixed,
    for_one,
    product,
    shown,
    total,
)


def _moved(source: TensorFacts, shape: Shape) -> OperatorResult:
    """The values of ``source`` in order, in another shape."""
    content = source.content if len(shape) <= 1 else None
    return OperatorResult((TensorFacts(source.element, shape, content),))


def _reshape(call: OperatorCall) -> OperatorResult:
    source, wanted = call.tensor(0), list(call.content(1))
    whole = product(source.shape)
    if not call.integer("allowzero", 0):
        if 0 in wanted[len(source.shape) :]:
            raise RefusedGraph("keeps the size of an axis that is not there")
        wanted = [source.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    if wanted.count(-1) == 1:
        place = wanted.index(-1)
        wanted[place] = _quotient(whole, product((*wanted[:place], *wanted[place + 1 :])))
    if any(isinstance(size, int) and size < 0 for size in wanted) or product(tuple(wanted)) != whole:
        raise RefusedGraph(
            f"is not a graph whose shapes fit together: {shown(source.shape)} cannot become {shown(tuple(wanted))}"
        )
    return _moved(source, tuple(wanted))


def _quotient(whole: Size, part: Size) -> Size:
    """The size of an axis that takes what the others leave over."""
    first, second = for_one(whole), for_one(part)
    if second <= 0 or first % second or (isinstance(part, Batched) and not isinstance(whole, Batched)):
        raise RefusedGraph(f"is not a graph whose shapes fit together: {whole} values in rows of {part}")
    size = first // second
    return Batched(size) if isinstance(whole, Batched) and not isinstance(part, Batched) else size


def _flatten(call: OperatorCall) -> OperatorResult:
    source = call.tensor(0)
    rank, axis = len(source.shape), call.integer("axis", 1)
    if not -rank <= axis <= rank:
        raise RefusedGraph(f"names axis {axis} of a tensor with {rank} axes")
    axis = axis + rank if axis < 0 else axis
    return _moved(source, (product(source.shape[:axis]), product(source.shape[axis:])))


def _squeeze(call: OperatorCall) -> OperatorResult:
    source, axes = call.tensor(0), call.numbers(1, "axes")
    if axes is None:
        raise RefusedGraph("must name the axes that it removes")
    chosen = {positive_axis(axis, len(source.shape)) for axis in axes}
    if any(source.shape[axis] != 1 for axis in chosen):
        raise RefusedGraph(f"is not a graph whose shapes fit together: it removes axes of {shown(source.shape)}")
    return _moved(source, tuple(size for axis, size in enumerate(source.shape) if axis not in chosen))


def _unsqueeze(call: OperatorCall) -> OperatorResult:
    source, axes = call.tensor(0), call.numbers(1, "axes") or ()
    rank = len(source.shape) + len(axes)
    chosen = {positive_axis(axis, rank) for axis in axes}
    if len(chosen) != len(axes):
        raise RefusedGraph("names an axis twice")
    rest = iter(source.shape)
    return _moved(source, tuple(1 if axis in chosen else next(rest) for axis in range(rank)))


def _transpose(call: OperatorCall) -> OperatorResult:
    source = call.tensor(0)
    order = list(call.attributes.get("perm", range(len(source.shape) - 1, -1, -1)))
    if sorted(order) != list(range(len(source.shape))):
        raise RefusedGraph(f"must have all axes in its `perm`, got {order}")
    return _moved(source, tuple(source.shape[axis] for axis in order))


def _expand(call: OperatorCall) -> OperatorResult:
    source = call.tensor(0)
    return OperatorResult((TensorFacts(source.element, broadcast(source.shape, _as_shape(call.content(1)))),))


def _as_shape(content: Sequence[Size]) -> Shape:
    if any(isinstance(size, int) and size < 0 for size in content):
        raise RefusedGraph(f"has a negative size: {shown(tuple(content))}")
    return tuple(content)


def _tile(call: OperatorCall) -> OperatorResult:
    source, repeats = call.tensor(0), call.content(1)
    if len(repeats) != len(source.shape) or any(isinstance(size, int) and size < 0 for size in repeats):
        raise RefusedGraph(f"must have one repeat >= 0 for each axis, got {shown(repeats)}")
    pairs = zip(source.shape, repeats, strict=True)
    return OperatorResult((TensorFacts(source.element, tuple(product(pair) for pair in pairs)),))


def _concat(call: OperatorCall) -> OperatorResult:
    parts = [call.tensor(index) for index in range(len(call.inputs))]
    element, rank = same_type(call), len(parts[0].shape)
    axis = call.axis(0, rank)
    others = {(*part.shape[:axis], *part.shape[axis + 1 :]) for part in parts}
    if any(len(part.shape) != rank for part in parts) or len(others) != 1:
        raise RefusedGraph(
            f"is not a graph whose shapes fit together: {', '.join(shown(part.shape) for part in parts[:4])}"
        )
    shape = parts[0].shape
    joined = (*shape[:axis], total(tuple(part.shape[axis] for part in parts)), *shape[axis + 1 :])
    content = None
    known = [part.content for part in parts if part.content is not None]
    if rank == 1 and len(known) == len(parts) and for_one(joined[0]) <= MAX_CONTENT:
        content = tuple(size for values in known for size in values)
    return OperatorResult((TensorFacts(element, joined, content),))


def _split(call: OperatorCall) -> OperatorResult:
    source = call.tensor(0)
    axis = call.axis(0, len(source.shape))
    size, parts = fixed(source.shape[axis]), call.numbers(1)
    if parts is None:
        length = -(-size // call.num_outputs)
        parts = (*(length for _ in range(call.num_outputs - 1)), size - length * (call.num_outputs - 1))
    if len(parts) != call.num_outputs or min(parts) < 0 or sum(parts) != size:
        raise RefusedGraph(f"must split {size} into {call.num_outputs} parts, got {parts[:16]}")
    shapes = [(*source.shape[:axis], part, *source.shape[axis + 1 :]) for part in parts]
    return OperatorResult(tuple(TensorFacts(source.element, shape) for shape in shapes))


def _slice(call: OperatorCall) -> OperatorResult:
    source, starts, ends = call.tensor(0), call.numbers(1), call.numbers(2)
    if starts is None or ends is None:
        raise RefusedGraph("must state where it starts and ends")
    axes = call.numbers(3)
    axes, steps = tuple(range(len(starts))) if axes is None else axes, call.numbers(4) or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise RefusedGraph("must have one start, end and step for each axis")
    shape, content = list(source.shape), source.content
    chosen = [positive_axis(axis, len(shape)) for axis in axes]
    if len(set(chosen)) != len(chosen):
        raise RefusedGraph("names an axis twice")
    for axis, start, end, step in zip(chosen, starts, ends, steps, strict=True):
        size = shape[axis]
        if isinstance(size, Batched):
            if start != 0 or end < 2**31 - 1 or step != 1:
                raise RefusedGraph("takes a part of the samples")
            continue
        bounds = slice(start, end, step)
        shape[axis] = len(range(*bounds.indices(size)))
        # From the back, an end before the first value is one that Python cannot write as a number.
        if step < 0 and end < -size:
            shape[axis] = len(range(*slice(start, None, step).indices(size)))
            bounds = slice(start, None, step)
        content = content[bounds] if content is not None and len(shape) == 1 else None
    return OperatorResult((TensorFacts(source.element, tuple(shape), content),))


def _gather(call: OperatorCall) -> OperatorResult:
    source, indices = call.tensor(0), call.tensor(1)
    axis = call.axis(0, len(source.shape))
    if indices.element not in SHAPE_TYPES:
        raise RefusedGraph("must have whole numbers as indices")
    size, numbers = source.shape[axis], indices.content
    if numbers is not None:
        most = for_one(size)
        if any(not -most <= fixed(number) < most for number in numbers):
            raise RefusedGraph(f"takes values beyond the {most} that there are")
    shape = (*source.shape[:axis], *indices.shape, *source.shape[axis + 1 :])
    content = None
    if source.content is not None and numbers is not None and len(shape) <= 1:
        content = tuple(source.content[fixed(number)] for number in numbers)
    return OperatorResult((TensorFacts(source.element, shape, content),))


def _pad(call: OperatorCall) -> OperatorResult:
    source, pads, axes = call.tensor(0), call.numbers(1), call.numbers(3)
    chosen = [positive_axis(axis, len(source.shape)) for axis in (range(len(source.shape)) if axes is None else axes)]
    if pads is None or len(pads) != 2 * len(chosen) or len(set(chosen)) != len(chosen):
        raise RefusedGraph("must have two pads for each axis")
    shape = list(source.shape)
    for place, axis in enumerate(chosen):
        added = pads[place] + pads[len(chosen) + place]
        if added or pads[place]:
            shape[axis] = fixed(shape[axis]) + added
    return OperatorResult((TensorFacts(source.element, tuple(shape)),))


def _blocks(call: OperatorCall) -> OperatorResult:
    source, side = call.tensor(0), call.integer("blocksize", 0)
    if len(source.shape) != 4 or side < 1:
        raise RefusedGraph("needs a feature map and blocks of at least one value")
    channels, height, width = (fixed(size) for size in source.shape[1:])
    if call.operator == "DepthToSpace":
        fits, shape = channels % side**2 == 0, (channels // side**2, height * side, width * side)
    else:
        fits, shape = not (height % side or width % side), (channels * side**2, height // side, width // side)
    if not fits:
        raise RefusedGraph(f"must have sizes that {side} divides, got {shown(source.shape)}")
    return OperatorResult((TensorFacts(source.element, (source.shape[0], *shape)),))


def _shape(call: OperatorCall) -> OperatorResult:
    shape = call.tensor(0).shape
    start, end = call.integer("start", 0), call.integer("end", len(shape))
    part = shape[slice(start, end)]
    return OperatorResult((TensorFacts(INT64, (len(part),), part),))


def _constant_of_shape(call: OperatorCall) -> OperatorResult:
    value = call.attributes.get("value")
    if value is not None and math.prod(value.dims) != 1:
        raise RefusedGraph("must have one value")
    element = 1 if value is None else int(value.data_type)
    return OperatorResult((TensorFacts(element, _as_shape(call.content(0))),))


_AXES: dict[str, AttributeKind] = {"axes": "ints"}

MOVEMENT_RULES: dict[str, OperatorRule] = {
    "Reshape": OperatorRule(_reshape, (2, 2), 1, {"allowzero": "int"}),
    "Flatten": OperatorRule(_flatten, (1, 1), 1, {"axis": "int"}),
    "Squeeze": OperatorRule(_squeeze, (1, 2), 1, _AXES),
    "Unsqueeze": OperatorRule(_unsqueeze, (1, 2), 1, _AXES),
    "Transpose": OperatorRule(_transpose, (1, 1), 1, {"perm": "ints"}),
    "Expand": OperatorRule(_expand, (2, 2)),
    "Tile": OperatorRule(_tile, (2, 2)),
    "Concat": OperatorRule(_concat, (1, 256), 1, {"axis": "int"}),
    "Split": OperatorRule(_split, (1, 2), 64, {"axis": "int", "num_outputs": "int"}),
    "Slice": OperatorRule(_slice, (3, 5)),
    "Gather": OperatorRule(_gather, (2, 2), 1, {"axis": "int"}),
    "Pad": OperatorRule(_pad, (2, 4), 1, {"mode": frozenset({"constant", "reflect", "edge", "wrap"})}),
    "DepthToSpace": OperatorRule(_blocks, (1, 1), 1, {"blocksize": "int", "mode": frozenset({"DCR", "CRD"})}),
    "SpaceToDepth": OperatorRule(_blocks, (1, 1), 1, {"blocksize": "int"}),
    "Shape": OperatorRule(_shape, (1, 1), 1, {"start": "int", "end": "int"}),
    "ConstantOfShape": OperatorRule(_constant_of_shape, (1, 1), 1, {"value": "tensor"}),
}
"""The operators that move values or make tensors of given shapes."""
