"""Rules of layers: convolutions, matrix products, pooling, normalisation, reductions and choices of the largest."""

import math
from collections.abc import Sequence

from offramp.deploy.graph_rules.operator_call import (
    AttributeKind,
    OperatorCall,
    OperatorResult,
    OperatorRule,
    float_type,
    positive_axis,
    same_type,
)
from offramp.deploy.graph_rules.tensor_facts import (
    INT64,
    RefusedGraph,
    Shape,
    Size,
    TensorFacts,
    broadcast,
    fixed,
    for_one,
    shown,
)

_FLOAT_BYTES = 4
_AUTO_PADS = frozenset({"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"})
_WINDOW: dict[str, AttributeKind] = {
    "auto_pad": _AUTO_PADS,
    "dilations": "ints",
    "kernel_shape": "ints",
    "pads": "ints",
    "strides": "ints",
}


def _windowed(call: OperatorCall, before: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
    """Sizes after a window of ``kernel`` slid over sizes ``before``."""
    rank = len(before)
    strides, dilations, pads = (
        list(call.attributes.get(name, [default] * (rank * factor)))
        for name, default, factor in (("strides", 1, 1), ("dilations", 1, 1), ("pads", 0, 2))
    )
    right = len(kernel) == len(strides) == len(dilations) == rank and len(pads) == 2 * rank and rank
    if not right or min([*kernel, *strides, *dilations]) < 1 or min(pads) < 0:
        raise RefusedGraph("is not a graph whose shapes fit together: its window, strides, dilations and pads")
    after = []
    for axis in range(rank):
        extent = dilations[axis] * (kernel[axis] - 1) + 1
        padded = before[axis] + pads[axis] + pads[rank + axis]
        auto = call.attributes.get("auto_pad", "NOTSET")
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            after.append(-(-before[axis] // strides[axis]))
            continue
        room = (before[axis] if auto == "VALID" else padded) - extent
        if room < 0:
            raise RefusedGraph("has a window that is larger than its input")
        steps = room // strides[axis]
        # A window that is cut off counts where it begins before the padding at the end.
        if call.integer("ceil_mode", 0) and room % strides[axis]:
            steps += (steps + 1) * strides[axis] < before[axis] + pads[axis]
        after.append(steps + 1)
    return tuple(after)


def _feature_map(tensor: TensorFacts) -> tuple[int, tuple[int, ...]]:
    """Channels, and one to three sizes of space."""
    if not 3 <= len(tensor.shape) <= 5:
        raise RefusedGraph(f"needs a feature map, got {shown(tensor.shape)}")
    channels, *space = (fixed(size) for size in tensor.shape[1:])
    return channels, tuple(space)


def _conv(call: OperatorCall) -> OperatorResult:
    element = same_type(call)
    (channels, before), weight = _feature_map(call.tensor(0)), call.tensor(1).shape
    if len(weight) < 3:
        raise RefusedGraph(f"must have a weight with a window, got the shape {shown(weight)}")
    filters, depth, *kernel = (fixed(size) for size in weight)
    groups = call.integer("group", 1)
    if groups < 1 or channels != depth * groups or filters % groups or len(kernel) != len(before):
        raise RefusedGraph(f"is not a graph whose shapes fit together: its weight has the shape {shown(weight)}")
    if list(call.attributes.get("kernel_shape", kernel)) != kernel:
        raise RefusedGraph("has another `kernel_shape` than its weight")
    bias = call.optional(2)
    if bias is not None and bias.shape != (filters,):
        raise RefusedGraph("must have one bias for each filter")
    after = _windowed(call, before, kernel)
    result = TensorFacts(element, (call.tensor(0).shape[0], filters, *after))
    column = depth * math.prod(kernel)
    # Runtimes unfold the input for windows of more than one value, for one sample and one group at a time.
    scratch = column * math.prod(after) * _FLOAT_BYTES if math.prod(kernel) > 1 else 0
    return OperatorResult((result,), result.count * column, scratch)


def _pool(call: OperatorCall) -> OperatorResult:
    source = call.tensor(0)
    (channels, before), kernel = _feature_map(source), call.attributes.get("kernel_shape", ())
    shape = (source.shape[0], channels, *_windowed(call, before, kernel))
    result = TensorFacts(float_type(source), shape)
    return OperatorResult((result,), result.count * math.prod(kernel))


def _global_pool(call: OperatorCall) -> OperatorResult:
    source = call.tensor(0)
    channels, space = _feature_map(source)
    return OperatorResult((TensorFacts(float_type(source), (source.shape[0], channels, *(1 for _ in space))),))


def _matmul(call: OperatorCall) -> OperatorResult:
    first, second = call.tensor(0).shape, call.tensor(1).shape
    element = same_type(call)
    if len(first) < 2 or len(second) < 2 or first[-1] != second[-2]:
        raise RefusedGraph(f"is not a graph whose shapes fit together: {shown(first)} times {shown(second)}")
    result = TensorFacts(element, (*broadcast(first[:-2], second[:-2]), first[-2], second[-1]))
    return OperatorResult((result,), result.count * for_one(first[-1]))


def _gemm(call: OperatorCall) -> OperatorResult:
    first, second = call.tensor(0).shape, call.tensor(1).shape
    element = same_type(call)
    if len(first) != 2 or len(second) != 2:
        raise RefusedGraph("must multiply two matrices")
    first = first[::-1] if call.integer("transA", 0) else first
    second = second[::-1] if call.integer("transB", 0) else second
    added = call.optional(2)
    if first[1] != second[0]:
        raise RefusedGraph(f"is not a graph whose shapes fit together: {shown(first)} times {shown(second)}")
    shape = (first[0], second[1])
    if added is not None and broadcast(shape, added.shape) != shape:
        raise RefusedGraph(f"is not a graph whose shapes fit together: {shown(shape)} plus {shown(added.shape)}")
    result = TensorFacts(element, shape)
    return OperatorResult((result,), result.count * for_one(first[1]))


def _along_an_axis(call: OperatorCall) -> OperatorResult:
    source = call.tensor(0)
    call.axis(-1, len(source.shape))
    return OperatorResult((TensorFacts(float_type(source), source.shape),))


def _normalization(call: OperatorCall) -> OperatorResult:
    """Parameters are one for each channel, or have the shape of what is normalised."""
    source = call.tensor(0)
    same_type(call)
    if call.integer("training_mode", 0):
        raise RefusedGraph("must not be in training mode")
    channels = source.shape[1] if len(source.shape) > 1 else 1
    for item in call.given()[1:]:
        per_channel = item.shape == (channels,)
        if not per_channel and broadcast(source.shape, item.shape) != source.shape:
            raise RefusedGraph(f"has a parameter of the shape {shown(item.shape)} for {shown(source.shape)}")
    return OperatorResult((TensorFacts(float_type(source), source.shape),))


def _group_normalization(call: OperatorCall) -> OperatorResult:
    source = call.tensor(0)
    groups, channels = call.integer("num_groups", 0), fixed(source.shape[1]) if len(source.shape) > 1 else 0
    if groups < 1 or channels % groups:
        raise RefusedGraph(f"must have groups that divide {channels} channels, got {groups}")
    for item in call.given()[1:]:
        if item.shape not in ((channels,), (groups,)):
            raise RefusedGraph("must have one parameter for each channel or group")
    return OperatorResult((TensorFacts(same_type(call), source.shape),))


def _without(shape: Shape, axes: Sequence[int], keep: bool) -> Shape:
    chosen = {positive_axis(axis, len(shape)) for axis in axes}
    sizes: list[Size] = [1 if axis in chosen else size for axis, size in enumerate(shape)]
    return tuple(size for axis, size in enumerate(sizes) if keep or axis not in chosen)


def _reduce(call: OperatorCall) -> OperatorResult:
    source, axes = call.tensor(0), call.numbers(1, "axes")
    if not axes:
        axes = () if call.integer("noop_with_empty_axes", 0) else tuple(range(len(source.shape)))
    return OperatorResult(
        (TensorFacts(source.element, _without(source.shape, axes, bool(call.integer("keepdims", 1)))),)
    )


def _index_of_extreme(call: OperatorCall) -> OperatorResult:
    source = call.tensor(0)
    axis = call.axis(0, len(source.shape))
    return OperatorResult((TensorFacts(INT64, _without(source.shape, [axis], bool(call.integer("keepdims", 1)))),))


def _top_k(call: OperatorCall) -> OperatorResult:
    source, numbers = call.tensor(0), call.numbers(1)
    axis = call.axis(-1, len(source.shape))
    if numbers is None or len(numbers) != 1 or not 0 <= numbers[0] <= fixed(source.shape[axis]):
        raise RefusedGraph(f"must take 0 to {source.shape[axis]} values, got {numbers}")
    shape = (*source.shape[:axis], numbers[0], *source.shape[axis + 1 :])
    return OperatorResult((TensorFacts(source.element, shape), TensorFacts(INT64, shape)))


_POOL_ATTRIBUTES: dict[str, AttributeKind] = {**_WINDOW, "ceil_mode": "int"}
_REDUCTION = OperatorRule(_reduce, (1, 2), 1, {"axes": "ints", "keepdims": "int", "noop_with_empty_axes": "int"})
_EXTREME = OperatorRule(_index_of_extreme, (1, 1), 1, {"axis": "int", "keepdims": "int", "select_last_index": "int"})

LAYER_RULES: dict[str, OperatorRule] = {
    "Conv": OperatorRule(_conv, (2, 3), 1, {**_WINDOW, "group": "int"}),
    "MatMul": OperatorRule(_matmul, (2, 2)),
    "Gemm": OperatorRule(_gemm, (2, 3), 1, {"alpha": "float", "beta": "float", "transA": "int", "transB": "int"}),
    "MaxPool": OperatorRule(_pool, (1, 1), 1, {**_POOL_ATTRIBUTES, "storage_order": "int"}),
    "AveragePool": OperatorRule(_pool, (1, 1), 1, {**_POOL_ATTRIBUTES, "count_include_pad": "int"}),
    "LpPool": OperatorRule(_pool, (1, 1), 1, {**_POOL_ATTRIBUTES, "p": "int"}),
    "GlobalAveragePool": OperatorRule(_global_pool, (1, 1)),
    "GlobalMaxPool": OperatorRule(_global_pool, (1, 1)),
    "Softmax": OperatorRule(_along_an_axis, (1, 1), 1, {"axis": "int"}),
    "LogSoftmax": OperatorRule(_along_an_axis, (1, 1), 1, {"axis": "int"}),
    "LpNormalization": OperatorRule(_along_an_axis, (1, 1), 1, {"axis": "int", "p": "int"}),
    "BatchNormalization": OperatorRule(
        _normalization, (5, 5), 1, {"epsilon": "float", "momentum": "float", "training_mode": "int"}
    ),
    "InstanceNormalization": OperatorRule(_normalization, (3, 3), 1, {"epsilon": "float"}),
    "LayerNormalization": OperatorRule(
        _normalization, (2, 3), 1, {"axis": "int", "epsilon": "float", "stash_type": "int"}
    ),
    "RMSNormalization": OperatorRule(
        _normalization, (2, 2), 1, {"axis": "int", "epsilon": "float", "stash_type": "int"}
    ),
    "GroupNormalization": OperatorRule(
        _group_normalization, (3, 3), 1, {"epsilon": "float", "num_groups": "int", "stash_type": "int"}
    ),
    **dict.fromkeys(
        ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare"), _REDUCTION
    ),
    **dict.fromkeys(("ReduceProd", "ReduceLogSumExp", "ReduceLogSum"), _REDUCTION),
    "ArgMax": _EXTREME,
    "ArgMin": _EXTREME,
    "TopK": OperatorRule(_top_k, (2, 2), 2, {"axis": "int", "largest": "int", "sorted": "int"}),
}
"""The operators that are layers, and those that look along an axis."""
