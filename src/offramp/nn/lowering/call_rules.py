"""How each torch function becomes the loop sizes of a layer.

A rule has the signature of the function it stands for, preceded by what was seen of the call.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from offramp.space.architecture import Precision
from offramp.workload.layer import LayerShape, Op

Pair = int | Sequence[int]


class NotPriceableError(Exception):
    """This call of a known function is outside what a workload can hold; the message says why."""


@dataclass(frozen=True)
class Call:
    """One call: the tensors computed from the image, in order, and the result, all for one image.

    ``precision`` is that of the layer, ``input_bits`` the widths at which it reads the tensors.
    """

    inputs: tuple[Tensor, ...]
    output: Tensor
    precision: Precision
    input_bits: tuple[int, ...] = ()

    @property
    def single_input(self) -> Tensor:
        if len(self.inputs) != 1:
            raise NotPriceableError("only one operand may depend on the image")
        return self.inputs[0]

    def map_size(self, tensor: Tensor) -> tuple[int, int, int, int]:
        """Batch, channels, height and width; flat features are a map of one pixel, tokens (1, N, C) a column."""
        sizes = tuple(tensor.shape)
        if len(sizes) == 3:
            return sizes[0], sizes[2], sizes[1], 1
        if len(sizes) not in (2, 4):
            raise NotPriceableError(f"tensors must have shape (1, C), (1, N, C) or (1, C, H, W), got {sizes}")
        batch, channels, height, width = sizes if len(sizes) == 4 else (*sizes, 1, 1)
        return batch, channels, height, width


def conv2d(
    call: Call,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> LayerShape:
    batch, channels, height, width = call.map_size(call.single_input)
    _, out_channels, out_height, out_width = call.map_size(call.output)
    kernel = _pair(weight.shape[-2:])
    steps, spread = _pair(stride), _pair(dilation)
    return LayerShape(
        Op.CONV,
        b=batch,
        g=groups,
        k=out_channels // groups,
        c=channels // groups,
        oy=out_height,
        ox=out_width,
        fy=kernel[0],
        fx=kernel[1],
        iy=height,
        ix=width,
        stride_y=steps[0],
        stride_x=steps[1],
        dilation_y=spread[0],
        dilation_x=spread[1],
        padding=_padding(padding, kernel, spread),
        weight_bits=call.precision.weight_bits,
        activation_bits=call.precision.activation_bits,
        input_bits=call.input_bits,
    )


def analog_conv2d(
    call: Call,
    inputs: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair | str,
    dilation: Pair,
    compute: object,
) -> LayerShape:
    """One convolution, though an analog core's part of it is computed by itself."""
    return conv2d(call, inputs, weight, None, stride, padding, dilation)


def linear(call: Call, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> LayerShape:
    rows = call.single_input.numel() // weight.shape[1]
    return LayerShape(
        Op.DENSE,
        b=rows,
        k=weight.shape[0],
        c=weight.shape[1],
        weight_bits=call.precision.weight_bits,
        activation_bits=call.precision.activation_bits,
        input_bits=call.input_bits,
    )


def max_pool2d(
    call: Call,
    input: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> LayerShape:
    return _pool(call, Op.MAX_POOL, _pair(kernel_size), _pair(stride or kernel_size), _pair(padding), _pair(dilation))


def avg_pool2d(
    call: Call,
    input: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> LayerShape:
    return _pool(call, Op.AVG_POOL, _pair(kernel_size), _pair(stride or kernel_size), _pair(padding), (1, 1))


def adaptive_avg_pool2d(call: Call, input: Tensor, output_size: object) -> LayerShape:
    return _adaptive_pool(call, Op.AVG_POOL)


def adaptive_max_pool2d(call: Call, input: Tensor, output_size: object, return_indices: bool = False) -> LayerShape:
    return _adaptive_pool(call, Op.MAX_POOL)


def mean(
    call: Call, input: Tensor, dim: Pair | None = None, keepdim: bool = False, *, dtype: object = None
) -> LayerShape:
    _check_axes(input, dim, "a mean")
    return _global_pool(call, Op.AVG_POOL)


def amax(call: Call, input: Tensor, dim: Pair = (), keepdim: bool = False) -> LayerShape:
    _check_axes(input, dim, "a maximum")
    return _global_pool(call, Op.MAX_POOL)


def _check_axes(input: Tensor, dim: Pair | None, what: str) -> None:
    """Height and width of a map (also of one with channels last), or the tokens of a sequence."""
    axes = {axis % input.dim() for axis in ([dim] if isinstance(dim, int) else dim or ())}
    if (input.dim(), tuple(sorted(axes))) not in {(4, (2, 3)), (4, (1, 2)), (3, (1,))}:
        raise NotPriceableError(f"{what} must be over height and width of a map or over tokens, got `dim` {dim}")


def add(call: Call, input: object, other: object, *, alpha: float = 1) -> LayerShape:
    return element_wise(call, Op.ADD)


def mul(call: Call, input: object, other: object) -> LayerShape:
    return element_wise(call, Op.MULTIPLY)


def cat(call: Call, tensors: Sequence[Tensor], dim: int = 0) -> LayerShape:
    if dim % call.output.dim() != 1:
        raise NotPriceableError(f"only channels or tokens can be concatenated (`dim` 1), got `dim` {dim}")
    return element_wise(call, Op.CONCAT)


def _pool(
    call: Call,
    op: Op,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> LayerShape:
    batch, channels, height, width = call.map_size(call.single_input)
    _, _, out_height, out_width = call.map_size(call.output)
    return LayerShape(
        op,
        b=batch,
        g=channels,
        oy=out_height,
        ox=out_width,
        fy=kernel[0],
        fx=kernel[1],
        iy=height,
        ix=width,
        stride_y=stride[0],
        stride_x=stride[1],
        dilation_y=dilation[0],
        dilation_x=dilation[1],
        padding=(padding[0], padding[1], padding[0], padding[1]),
        weight_bits=call.precision.weight_bits,
        activation_bits=call.precision.activation_bits,
        input_bits=call.input_bits,
    )


def _global_pool(call: Call, op: Op) -> LayerShape:
    batch, channels, height, width = call.map_size(call.single_input)
    if call.output.numel() == batch * width != batch * channels:  # channels are the last axis
        channels, height, width = width, channels, height
    return LayerShape(
        op,
        b=batch,
        g=channels,
        fy=height,
        fx=width,
        iy=height,
        ix=width,
        weight_bits=call.precision.weight_bits,
        activation_bits=call.precision.activation_bits,
        input_bits=call.input_bits,
    )


def _adaptive_pool(call: Call, op: Op) -> LayerShape:
    _, _, height, width = call.map_size(call.single_input)
    _, _, out_height, out_width = call.map_size(call.output)
    if (out_height, out_width) == (1, 1):
        return _global_pool(call, op)
    if height % out_height or width % out_width:
        raise NotPriceableError(f"windows differ in size where {height}x{width} is pooled to {out_height}x{out_width}")
    kernel = (height // out_height, width // out_width)
    return _pool(call, op, kernel, kernel, (0, 0), (1, 1))


def element_wise(call: Call, op: Op) -> LayerShape:
    """As many operations as the result has values; a result of more axes than a map counts as a column of tokens."""
    sizes = tuple(call.output.shape)
    if len(sizes) > 4:
        batch, channels, height, width = 1, sizes[-1], call.output.numel() // sizes[-1], 1
    else:
        batch, channels, height, width = call.map_size(call.output)
    return LayerShape(
        op,
        b=batch,
        g=channels,
        oy=height,
        ox=width,
        iy=height,
        ix=width,
        weight_bits=call.precision.weight_bits,
        activation_bits=call.precision.activation_bits,
        input_bits=call.input_bits,
    )


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


LAYER_RULES: dict[str, Callable[..., LayerShape]] = {
    rule.__name__: rule
    for rule in (
        conv2d,
        analog_conv2d,
        linear,
        max_pool2d,
        avg_pool2d,
        adaptive_avg_pool2d,
        adaptive_max_pool2d,
        mean,
        amax,
        add,
        mul,
        cat,
    )
} | {"iadd": add, "radd": add, "imul": mul, "rmul": mul, "concat": cat, "concatenate": cat}

# fmt: off
# Free: done by the layer before, or nothing to do at all.
ACTIVATIONS = frozenset({
    "relu", "relu6", "hardtanh", "leaky_relu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish", "sigmoid",
    "hardsigmoid", "hardswish", "tanh", "softplus", "softmax", "log_softmax", "clamp", "clip", "clamp_min", "clamp_max",
    "batch_norm", "round", "floor", "fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine",
})
RESHAPES = frozenset({
    "flatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "clone", "detach", "to", "float", "half",
    "bfloat16", "type_as", "dropout", "dropout2d", "feature_dropout", "alpha_dropout",
})
# With one operand from the image and the other fixed, these fold into the layer before.
AFFINE = frozenset({
    "add", "iadd", "radd", "sub", "isub", "rsub", "mul", "imul", "rmul", "div", "idiv", "truediv", "itruediv",
})
# fmt: on
PASS_THROUGH = ACTIVATIONS | RESHAPES | AFFINE
