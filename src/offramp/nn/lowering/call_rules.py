"""How each torch function becomes the loop sizes of a layer.

A rule has the parameters of its torch function, after a `Call`: what was observed of the call.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from offramp.space.architecture import Precision
from offramp.workload.layer import LayerShape, Op
from offramp.workload.layer_constructors import (
    INTERPOLATION_TAPS,
    BitWidths,
    FeatureMap,
    Window,
    convolution,
    dense,
    elementwise,
    global_pooling,
    pooling,
    resizing,
)

Pair = int | Sequence[int]


class NotPriceableError(Exception):
    """A call of a known function has no form in a workload; the message says why."""


@dataclass(frozen=True)
class Call:
    """One call of a torch function, for one image.

    Attributes:
        inputs: The operands that are computed from the image, in order.
        output: The result.
        precision: Bit widths of the layer.
        input_bits: The width at which it reads each of ``inputs``.
    """

    inputs: tuple[Tensor, ...]
    output: Tensor
    precision: Precision
    input_bits: tuple[int, ...] = ()

    @property
    def single_input(self) -> Tensor:
        """The only operand that depends on the image.

        Raises:
            NotPriceableError: There is none, or more than one.
        """
        if len(self.inputs) != 1:
            raise NotPriceableError("only one operand may depend on the image")
        return self.inputs[0]

    @property
    def bits(self) -> BitWidths:
        """The layer's bit widths, those of its inputs included."""
        return BitWidths(self.precision.weight_bits, self.precision.activation_bits, self.input_bits)


def feature_map(tensor: Tensor) -> FeatureMap:
    """The sizes of a tensor: flat features (1, C), tokens (1, N, C) as a column, or a map (1, C, H, W).

    Args:
        tensor: A tensor of one image.

    Returns:
        Its sizes.

    Raises:
        NotPriceableError: It has another number of axes.
    """
    sizes = tuple(tensor.shape)
    if len(sizes) == 3:
        return FeatureMap(sizes[2], sizes[1], 1, sizes[0])
    if len(sizes) not in (2, 4):
        raise NotPriceableError(f"tensors must have shape (1, C), (1, N, C) or (1, C, H, W), got {sizes}")
    batch, channels, height, width = sizes if len(sizes) == 4 else (*sizes, 1, 1)
    return FeatureMap(channels, height, width, batch)


def written_values(call: Call) -> FeatureMap:
    """The sizes of a call's result, for layers that treat every value alike; more than four axes are tokens.

    Args:
        call: The call.

    Returns:
        The sizes of its result.

    Raises:
        NotPriceableError: The result has one axis.
    """
    sizes = tuple(call.output.shape)
    return FeatureMap.of_tokens(sizes) if len(sizes) > 4 else feature_map(call.output)


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
    return convolution(feature_map(call.single_input), feature_map(call.output), window, groups, call.bits)


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
    source, result = _row(call.single_input), _row(call.output)
    return convolution(source, result, window, groups, call.bits)


def _row(tensor: Tensor) -> FeatureMap:
    batch, channels, width = tensor.shape if tensor.dim() == 3 else (1, *tensor.shape)
    return FeatureMap(channels, 1, width, batch)


def _linear(call: Call, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> LayerShape:
    outputs, inputs = weight.shape
    return dense(call.single_input.numel() // inputs, inputs, outputs, call.bits)


def _max_pool2d(
    call: Call,
    input: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> LayerShape:
    top, left = _pair(padding)
    steps = _pair(stride or kernel_size)
    return _pool(call, Op.MAX_POOL, Window(*_pair(kernel_size), *steps, *_pair(dilation), (top, left, top, left)))


def _avg_pool2d(
    call: Call,
    input: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> LayerShape:
    top, left = _pair(padding)
    steps = _pair(stride or kernel_size)
    return _pool(call, Op.AVG_POOL, Window(*_pair(kernel_size), *steps, padding=(top, left, top, left)))


def _adaptive_avg_pool2d(call: Call, input: Tensor, output_size: object) -> LayerShape:
    return _adaptive_pool(call, Op.AVG_POOL)


def _adaptive_max_pool2d(call: Call, input: Tensor, output_size: object, return_indices: bool = False) -> LayerShape:
    return _adaptive_pool(call, Op.MAX_POOL)


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
    if mode not in _INTERPOLATIONS:
        raise NotPriceableError(f"`mode` must be nearest, linear, bilinear or bicubic, got {mode!r}")
    taps = INTERPOLATION_TAPS[_INTERPOLATIONS[mode]]
    maps = (_row(input), _row(call.output)) if mode == "linear" else (feature_map(input), feature_map(call.output))
    return resizing(*maps, taps, antialias=antialias, bits=call.bits)


def _addcmul(call: Call, *_: object, **__: object) -> tuple[LayerShape, ...]:
    """A product or quotient of two tensors, added to a third."""
    return _mul(call), _add(call)


def _add(call: Call, *_: object, **__: object) -> LayerShape:
    """A sum, a difference, or one of two values at each place."""
    return elementwise(Op.ADD, written_values(call), call.bits)


def _mul(call: Call, *_: object, **__: object) -> LayerShape:
    """A product or a quotient at each place."""
    return elementwise(Op.MULTIPLY, written_values(call), call.bits)


def _cat(call: Call, tensors: Sequence[Tensor], dim: int = 0) -> LayerShape:
    if dim % call.output.dim() == 0:
        raise NotPriceableError(f"tensors can be concatenated behind the batch only, got `dim` {dim}")
    return elementwise(Op.CONCAT, written_values(call), call.bits)


def _setitem(call: Call, target: Tensor, place: object, values: Tensor) -> LayerShape:
    """What is written into a tensor that has other layers' values, too, is joined to them."""
    return elementwise(Op.CONCAT, written_values(call), call.bits)


def _pool(call: Call, op: Op, window: Window) -> LayerShape:
    return pooling(op, feature_map(call.single_input), feature_map(call.output), window, call.bits)


def _adaptive_avg_pool1d(call: Call, input: Tensor, output_size: object) -> LayerShape:
    if call.output.shape[-1] != 1:
        raise NotPriceableError(f"tokens must be pooled to one, got {call.output.shape[-1]}")
    _, channels, tokens = input.shape
    return global_pooling(Op.AVG_POOL, FeatureMap(channels, tokens, 1), call.bits)


def _adaptive_pool(call: Call, op: Op) -> LayerShape:
    source, result = feature_map(call.single_input), feature_map(call.output)
    if (result.height, result.width) == (1, 1):
        return global_pooling(op, source, call.bits)
    if source.height % result.height or source.width % result.width:
        raise NotPriceableError(
            f"windows differ in size where {source.height}x{source.width} is pooled to {result.height}x{result.width}"
        )
    kernel = (source.height // result.height, source.width // result.width)
    return _pool(call, op, Window(*kernel, *kernel))


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


LAYER_RULES: dict[str, Callable[..., LayerShape | tuple[LayerShape, ...]]] = {
    "conv1d": _conv1d,
    "conv2d": _conv2d,
    "analog_conv2d": _analog_conv2d,
    "linear": _linear,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool1d": _adaptive_avg_pool1d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "adaptive_max_pool2d": _adaptive_max_pool2d,
    **dict.fromkeys(("add", "iadd", "radd", "sub", "isub", "rsub", "subtract"), _add),
    **dict.fromkeys(("maximum", "minimum", "where", "masked_fill"), _add),
    **dict.fromkeys(("mul", "imul", "rmul", "multiply", "div", "idiv", "truediv", "itruediv", "divide"), _mul),
    "interpolate": _interpolate,
    **dict.fromkeys(("addcmul", "addcdiv"), _addcmul),
    "cat": _cat,
    "concat": _cat,
    "concatenate": _cat,
    "stack": _cat,
    "setitem": _setitem,
}

# fmt: off
# Functions without a cost: the layer before does them, or there is nothing to compute.
ACTIVATIONS = frozenset({
    "relu", "relu6", "hardtanh", "leaky_relu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish", "sigmoid",
    "hardsigmoid", "hardswish", "tanh", "softplus", "softmax", "log_softmax", "clamp", "clip", "clamp_min", "clamp_max",
    "batch_norm", "round", "floor", "ceil", "sign", "abs", "neg", "exp", "sqrt", "rsqrt", "log", "erf", "square",
    "reciprocal", "pow", "logsigmoid", "softsign", "threshold", "fake_quantize_per_tensor_affine",
    "fake_quantize_per_channel_affine",
})
RESHAPES = frozenset({
    "flatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "clone", "detach", "to", "float", "half",
    "bfloat16", "double", "type", "dropout", "dropout2d", "feature_dropout", "alpha_dropout",
})
# With one operand from the image and one constant, these are folded into the layer before.
AFFINE = frozenset({
    "add", "iadd", "radd", "sub", "isub", "rsub", "subtract", "mul", "imul", "rmul", "multiply", "div", "idiv",
    "truediv", "itruediv", "divide", "addcmul", "addcdiv", "rdiv", "rtruediv", "maximum", "minimum", "where",
    "masked_fill",
})
# fmt: on
PASS_THROUGH = ACTIVATIONS | RESHAPES | AFFINE
