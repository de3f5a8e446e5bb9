"""Rules of operators that read or write values at given places, and of running sums."""

from offramp.deploy.graph_rules.operator_call import (
    OperatorCall,
    OperatorResult,
    OperatorRule,
    positive_axis,
)
from offramp.deploy.graph_rules.tensor_facts import (
    INT64,
    SHAPE_TYPES,
    Batched,
    RefusedGraph,
    Size,
    TensorFacts,
    fixed,
    shown,
)


def _indices(call: OperatorCall, index: int) -> TensorFacts:
    indices = call.tensor(index)
    if indices.element not in SHAPE_TYPES:
        raise RefusedGraph("must have whole numbers as indices")
    return indices


def _gather_elements(call: OperatorCall) -> OperatorResult:
    source, indices = call.tensor(0), _indices(call, 1)
    call.axis(0, len(source.shape))
    if len(source.shape) != len(indices.shape):
        raise RefusedGraph(f"must have an index for each axis, got {shown(indices.shape)} for {shown(source.shape)}")
    return OperatorResult((TensorFacts(source.element, indices.shape),))


def _gather_nd(call: OperatorCall) -> OperatorResult:
    source, indices, shared = call.tensor(0), _indices(call, 1), call.integer("batch_dims", 0)
    depth = fixed(indices.shape[-1]) if indices.shape else 0
    rank = len(source.shape)
    if not 0 <= shared < min(rank, len(indices.shape)) or not 1 <= depth <= rank - shared:
        raise RefusedGraph(f"must have places in {shown(source.shape)}, got {shown(indices.shape)}")
    if source.shape[:shared] != indices.shape[:shared]:
        raise RefusedGraph(f"is not a graph whose shapes fit together: {shown(source.shape)}, {shown(indices.shape)}")
    return OperatorResult((TensorFacts(source.element, (*indices.shape[:-1], *source.shape[shared + depth :])),))


def _scatter_elements(call: OperatorCall) -> OperatorResult:
    source, indices, updates = call.tensor(0), _indices(call, 1), call.tensor(2)
    call.axis(0, len(source.shape))
    if indices.shape != updates.shape or len(source.shape) != len(indices.shape):
        raise RefusedGraph(f"must have a place for each of {shown(updates.shape)}, got {shown(indices.shape)}")
    return _changed(source, updates)


def _scatter_nd(call: OperatorCall) -> OperatorResult:
    source, indices, updates = call.tensor(0), _indices(call, 1), call.tensor(2)
    depth = fixed(indices.shape[-1]) if indices.shape else 0
    if not 1 <= depth <= len(source.shape):
        raise RefusedGraph(f"must have places in {shown(source.shape)}, got {shown(indices.shape)}")
    if updates.shape != (*indices.shape[:-1], *source.shape[depth:]):
        raise RefusedGraph(f"must have a place for each of {shown(updates.shape)}, got {shown(indices.shape)}")
    return _changed(source, updates)


def _changed(source: TensorFacts, updates: TensorFacts) -> OperatorResult:
    if source.element != updates.element:
        raise RefusedGraph("must write values of the type that is there")
    return OperatorResult((TensorFacts(source.element, source.shape),))


def _running(call: OperatorCall) -> OperatorResult:
    source, axis = call.tensor(0), call.content(1)
    if len(axis) != 1:
        raise RefusedGraph("must have one axis")
    positive_axis(fixed(axis[0]), len(source.shape))
    return OperatorResult((TensorFacts(source.element, source.shape),))


def _triangle(call: OperatorCall) -> OperatorResult:
    source = call.tensor(0)
    if len(source.shape) < 2:
        raise RefusedGraph("needs a matrix")
    if call.optional(1) is not None and len(call.content(1)) != 1:
        raise RefusedGraph("must have one diagonal")
    return OperatorResult((TensorFacts(source.element, source.shape),))


def _range(call: OperatorCall) -> OperatorResult:
    """Whole numbers from a start to a limit; the limit may be the number of samples."""
    numbers = [call.content(index) for index in range(3)]
    if any(len(values) != 1 for values in numbers) or {item.element for item in call.given()} != {INT64}:
        raise RefusedGraph("must count in whole numbers of 64 bits")
    (start,), (limit,), (step,) = numbers
    count: Size
    if isinstance(limit, Batched):
        if (start, step) != (0, 1):
            raise RefusedGraph("counts a part of the samples")
        count = limit
    else:
        count = len(range(fixed(start), limit, fixed(step)))
    return OperatorResult((TensorFacts(INT64, (count,)),))


def _one_hot(call: OperatorCall) -> OperatorResult:
    indices, depth, values = _indices(call, 0), call.content(1), call.tensor(2)
    if len(depth) != 1 or fixed(depth[0]) < 1 or values.shape != (2,):
        raise RefusedGraph("must have one depth and two values")
    axis = positive_axis(call.integer("axis", -1), len(indices.shape) + 1)
    return OperatorResult((TensorFacts(values.element, (*indices.shape[:axis], depth[0], *indices.shape[axis:])),))


_REDUCTIONS = frozenset({"none", "add", "mul", "max", "min"})

INDEXING_RULES: dict[str, OperatorRule] = {
    "GatherElements": OperatorRule(_gather_elements, (2, 2), 1, {"axis": "int"}),
    "GatherND": OperatorRule(_gather_nd, (2, 2), 1, {"batch_dims": "int"}),
    "ScatterElements": OperatorRule(_scatter_elements, (3, 3), 1, {"axis": "int", "reduction": _REDUCTIONS}),
    "ScatterND": OperatorRule(_scatter_nd, (3, 3), 1, {"reduction": _REDUCTIONS}),
    "CumSum": OperatorRule(_running, (2, 2), 1, {"exclusive": "int", "reverse": "int"}),
    "Trilu": OperatorRule(_triangle, (1, 2), 1, {"upper": "int"}),
    "Range": OperatorRule(_range, (3, 3)),
    "OneHot": OperatorRule(_one_hot, (3, 3), 1, {"axis": "int"}),
}
"""The operators that read or write values at given places."""
