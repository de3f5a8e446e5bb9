"""How each torch function becomes the loop sizes of a layer.

A rule has the parameters of its torch function, after a `Call`: what was observed of the call.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from offramp.space.architecture import Precision
from offramp.workload.layer import LayerShape, Op
from offramp.workload.layer_constructors import BitWidths, FeatureMap, dense, elementwise


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
        function: Name of the torch function, without underscores around it.
    """

    inputs: tuple[Tensor, ...]
    output: Tensor
    precision: Precision
    input_bits: tuple[int, ...] = ()
    function: str = ""

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
    """The sizes of a call's result, for layers that treat every value alike.

    Args:
        call: The call.

    Returns:
        The sizes of its result; more than four axes are tokens, and one axis holds the values of a vector.
    """
    sizes = tuple(call.output.shape)
    if len(sizes) < 2:
        return FeatureMap(call.output.numel())
    return FeatureMap.of_tokens(sizes) if len(sizes) > 4 else feature_map(call.output)


def _linear(call: Call, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> LayerShape:
    outputs, inputs = weight.shape
    return dense(call.single_input.numel() // inputs, inputs, outputs, call.bits)


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
    return elementwise(Op.CONCAT, written_values(call), call.bits)


def _setitem(call: Call, *_: object, **__: object) -> LayerShape:
    """What is written into a tensor that has other layers' values, too, is joined to them."""
    return elementwise(Op.CONCAT, written_values(call), call.bits)


def _scatter_add(call: Call, *_: object, **__: object) -> LayerShape:
    """Values that are added to those of a tensor, at given places."""
    return _add(call)


def _running_sum(call: Call, *_: object, **__: object) -> LayerShape:
    """Each value is added to the sum before it."""
    return _add(call)


_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne", "less", "less_equal", "greater", "greater_equal", "not_equal")
_LOGICAL = ("logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "and", "or", "xor")
_SHIFTS = ("lshift", "rshift", "bitwise_left_shift", "bitwise_right_shift")
_SUMS = ("add", "iadd", "radd", "sub", "isub", "rsub", "subtract")
_PRODUCTS = ("mul", "imul", "rmul", "multiply", "div", "idiv", "truediv", "itruediv", "divide")
_POWERS = ("pow", "rpow", "ipow", "float_power", "fmod", "remainder", "mod", "rmod", "floor_divide", "floordiv")

LAYER_RULES: dict[str, Callable[..., LayerShape | tuple[LayerShape, ...]]] = {
    "linear": _linear,
    **dict.fromkeys((*_SUMS, "maximum", "minimum", "where", "masked_fill", *_COMPARISONS, *_LOGICAL, *_SHIFTS), _add),
    **dict.fromkeys((*_PRODUCTS, *_POWERS), _mul),
    **dict.fromkeys(("addcmul", "addcdiv"), _addcmul),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack"), _cat),
    **dict.fromkeys(("setitem", "scatter", "index_put", "index_copy", "index_fill", "masked_scatter"), _setitem),
    **dict.fromkeys(("scatter_add", "scatter_reduce", "index_add"), _scatter_add),
    **dict.fromkeys(("cumsum", "cumprod"), _running_sum),
}

# fmt: off
# Functions without a cost: the layer before does them, or there is nothing to compute.
ACTIVATIONS = frozenset({
    "relu", "relu6", "hardtanh", "leaky_relu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish", "sigmoid",
    "hardsigmoid", "hardswish", "tanh", "softplus", "softmax", "log_softmax", "clamp", "clip", "clamp_min", "clamp_max",
    "batch_norm", "round", "floor", "ceil", "trunc", "frac", "sign", "abs", "neg", "negative", "positive", "exp",
    "exp2", "expm1", "sqrt", "rsqrt", "log", "log2", "log10", "log1p", "erf", "erfc", "square", "reciprocal", "pow",
    "logsigmoid", "softsign", "threshold", "rrelu", "glu", "hardshrink", "softshrink", "tanhshrink", "sin", "cos",
    "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "arcsin", "arccos", "arctan", "isnan",
    "isinf", "isfinite", "logical_not", "bitwise_not", "invert", "nan_to_num", "fake_quantize_per_tensor_affine",
    "fake_quantize_per_channel_affine",
})
RESHAPES = frozenset({
    "flatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "clone", "detach", "to", "float", "half",
    "bfloat16", "double", "type", "int", "long", "bool", "dropout", "dropout1d", "dropout2d", "dropout3d",
    "feature_dropout", "alpha_dropout", "ravel", "embedding",
})
# With one operand from the image and one constant, these are folded into the layer before.
AFFINE = frozenset({
    *_SUMS, *_PRODUCTS, *_POWERS, *_COMPARISONS, *_LOGICAL, *_SHIFTS, "addcmul", "addcdiv", "rdiv", "rtruediv",
    "maximum", "minimum", "where", "masked_fill", "scatter", "index_put", "index_copy", "index_fill", "masked_scatter",
    "scatter_add", "index_add",
})
# fmt: on
PASS_THROUGH = ACTIVATIONS | RESHAPES | AFFINE
