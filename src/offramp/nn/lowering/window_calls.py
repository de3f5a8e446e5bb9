"""How torch functions with a sliding window become layers: convolutions, pooling and resizing, of maps and of rows."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from offramp.nn.lowering.call_rules import Call, NotPriceableError, feature_map
from offramp.workload.layer import LayerShape, Op
from offramp.workload.layer_constructors import (
    INTERPOLATION_TAPS,
    BitWidths,
    FeatureMap,
    Window,
    adaptive_pooling,
    convolution,
    pooling,
    resizing,
)

Pair = int | Sequence[int]


def _conv2d(
    call: Call,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> LayerShape:
    kernel, spread = _pair(weight.shape[-2:]), _pair(dilation)
    window = Window(*kernel, *_pair(stride), *spread, _padding(padding, kernel, spread))
    return convolution(feature_map(input), feature_map(call.output), window, groups, _bits(call, input, weight))


def _bits(call: Call, input: Tensor, weight: Tensor) -> BitWidths:
    """The bit widths of a convolution, whose weights may be computed: these have the width of activations."""
    if call.inputs[0] is not input or any(own is not weight for own in call.inputs[1:]):
        raise NotPriceableError("its input must be computed, and its weights may be, but its bias must be a constant")
    if len(call.inputs) == 1:
        return call.bits
    return BitWidths(call.precision.activation_bits, call.precision.activation_bits)


def _analog_conv2d(
    call: Call,
    inputs: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair | str,
    dilation: Pair,
    compute: object,
) -> LayerShape:
    """One convolution; its analog channels are no layer of their own."""
    return _conv2d(call, inputs, weight, None, stride, padding, dilation)


def _conv1d(
    call: Call,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> LayerShape:
    """A convolution of rows: one pixel high."""
    kernel, spread = (1, weight.shape[-1]), (1, _pair(dilation)[0])
    if not isinstance(padding, str):
        padding = (0, _pair(padding)[0])
    window = Window(*kernel, 1, _pair(stride)[0], *spread, _padding(padding, kernel, spread))
    return convolution(_row(input), _row(call.output), window, groups, _bits(call, input, weight))


def _conv3d(
    call: Call,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> LayerShape:
    """A convolution of volumes along one of whose axes the window has one place: one convolution of maps per place."""
    kernel, steps = tuple(weight.shape[2:]), _each(stride)
    pads = (0, 0, 0) if padding == "valid" else (-1, -1, -1) if isinstance(padding, str) else _each(padding)
    flat = [axis for axis in range(3) if kernel[axis] == steps[axis] == 1 and pads[axis] == 0]
    if not flat or min(pads) < 0:
        raise NotPriceableError("windows over three axes have no rule; over one of them, kernel and stride must be 1")
    kept = [axis for axis in range(3) if axis != flat[0]]
    (fy, fx), (top, left), (down, across) = ((kind[kept[0]], kind[kept[1]]) for kind in (kernel, pads, steps))
    spread = [_each(dilation)[axis] for axis in kept]
    window = Window(fy, fx, down, across, spread[0], spread[1], (top, left, top, left))
    source, result = (
        FeatureMap(x.shape[1], x.shape[2 + kept[0]], x.shape[2 + kept[1]], x.shape[0] * x.shape[2 + flat[0]])
        for x in (input, call.output)
    )
    return convolution(source, result, window, groups, _bits(call, input, weight))


def _each(value: int | Sequence[int]) -> tuple[int, int, int]:
    values = (value,) * 3 if isinstance(value, int) else tuple(value)
    return values[0], values[-2], values[-1]


def _row(tensor: Tensor) -> FeatureMap:
    batch, channels, width = tensor.shape if tensor.dim() == 3 else (1, *tensor.shape)
    return FeatureMap(channels, 1, width, batch)


def _max_pool(
    call: Call,
    input: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> LayerShape:
    return _pool(call, Op.MAX_POOL, kernel_size, stride, padding, dilation)


def _avg_pool(
    call: Call,
    input: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> LayerShape:
    return _pool(call, Op.AVG_POOL, kernel_size, stride, padding, 1)


def _lp_pool(
    call: Call,
    input: Tensor,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
) -> LayerShape:
    return _pool(call, Op.AVG_POOL, kernel_size, stride, 0, 1)


def _pool(call: Call, op: Op, kernel: Pair, stride: Pair | None, padding: Pair, dilation: Pair) -> LayerShape:
    source, result = (_image_or_row(tensor, call.function) for tensor in (call.single_input, call.output))
    sizes = (kernel, kernel if stride is None or stride == [] else stride, dilation, padding)
    if call.function in _ROWS:
        (fy, fx), (stride_y, stride_x), (dilation_y, dilation_x) = ((1, _pair(size)[0]) for size in sizes[:3])
        top, left = 0, _pair(padding)[0]
    else:
        (fy, fx), (stride_y, stride_x), (dilation_y, dilation_x), (top, left) = map(_pair, sizes)
    window = Window(fy, fx, stride_y, stride_x, dilation_y, dilation_x, (top, left, top, left))
    return pooling(op, source, result, window, call.bits)


def _adaptive_avg_pool(call: Call, input: Tensor, output_size: object) -> LayerShape:
    return _adaptive_pool(call, Op.AVG_POOL)


def _adaptive_max_pool(call: Call, input: Tensor, output_size: object, return_indices: bool = False) -> LayerShape:
    return _adaptive_pool(call, Op.MAX_POOL)


def _adaptive_pool(call: Call, op: Op) -> LayerShape:
    if call.function in _ROWS and call.output.shape[-1] == 1:
        # A sequence that is pooled to one value is a column, like the mean over tokens.
        row = _row(call.single_input)
        column = FeatureMap(row.channels, row.width, 1, row.batch)
        return adaptive_pooling(op, column, FeatureMap(row.channels, batch=row.batch), call.bits)
    source, result = (_image_or_row(tensor, call.function) for tensor in (call.single_input, call.output))
    return adaptive_pooling(op, source, result, call.bits)


def _image_or_row(tensor: Tensor, function: str) -> FeatureMap:
    return _row(tensor) if function in _ROWS else feature_map(tensor)


_INTERPOLATIONS = {"linear": "linear", "bilinear": "linear", "bicubic": "cubic"}


def _interpolate(
    call: Call,
    input: Tensor,
    size: object = None,
    scale_factor: object = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> LayerShape | tuple[LayerShape, ...]:
    if mode in ("nearest", "nearest-exact"):
        return ()  # each value of the result is a copy of one
    if mode != "area" and mode not in _INTERPOLATIONS:
        raise NotPriceableError(f"`mode` must be nearest, area, linear, bilinear or bicubic, got {mode!r}")
    maps = (_row(input), _row(call.output)) if input.dim() == 3 else (feature_map(input), feature_map(call.output))
    if mode == "area":
        return adaptive_pooling(Op.AVG_POOL, *maps, call.bits)
    taps = INTERPOLATION_TAPS[_INTERPOLATIONS[mode]]
    return resizing(*maps, taps, antialias=antialias, bits=call.bits)


def _pair(value: Pair) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    values = tuple(int(x) for x in value)
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def _padding(padding: Pair | str, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int, int, int]:
    """Padding as (top, left, bottom, right)."""
    if padding == "valid":
        return 0, 0, 0, 0
    if isinstance(padding, str):  # "same": an odd pixel goes below and to the right
        totals = [spread * (size - 1) for size, spread in zip(kernel, dilation, strict=True)]
        return totals[0] // 2, totals[1] // 2, math.ceil(totals[0] / 2), math.ceil(totals[1] / 2)
    top, left = _pair(padding)
    return top, left, top, left


_ROWS = frozenset(
    {"max_pool1d", "max_pool1d_with_indices", "avg_pool1d", "lp_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool1d"}
)
"""Pooling along one axis."""

WINDOW_RULES: dict[str, Callable[..., LayerShape | tuple[LayerShape, ...]]] = {
    "conv1d": _conv1d,
    "conv2d": _conv2d,
    "conv3d": _conv3d,
    "analog_conv2d": _analog_conv2d,
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool1d_with_indices", "max_pool2d_with_indices"), _max_pool),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d"), _avg_pool),
    **dict.fromkeys(("lp_pool1d", "lp_pool2d"), _lp_pool),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d"), _adaptive_avg_pool),
    **dict.fromkeys(("adaptive_max_pool1d", "adaptive_max_pool2d"), _adaptive_max_pool),
    "interpolate": _interpolate,
}
"""The rule of each function, as in `offramp.nn.lowering.call_rules`."""
