"""How the torch functions of transformers become loop sizes; `offramp.workload.layer_constructors` states the rules."""

from collections.abc import Callable

from torch import Tensor

from offramp.nn.lowering.call_rules import Call, NotPriceableError, written_values
from offramp.workload.layer import LayerShape
from offramp.workload.layer_constructors import BitWidths, FeatureMap, dense, normalization, stacked_product

# fmt: off
MOVES = frozenset({
    "getitem", "get", "permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "adjoint", "unbind",
    "chunk", "split", "split_with_sizes", "tensor_split", "narrow", "select", "unflatten", "expand", "pad", "roll",
    "index_select", "flip", "fliplr", "flipud", "rot90", "repeat", "repeat_interleave", "tile", "unfold", "im2col",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "diagonal", "diag_embed", "tril", "triu", "gather",
    "take_along_dim", "take", "broadcast_to", "meshgrid", "hsplit", "vsplit",
})
SHAPES_OF_OTHERS = frozenset({"expand_as", "view_as", "reshape_as", "type_as"})
"""They read no values of their second operand."""
NEW_TENSORS = frozenset({
    "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty",
    "new_tensor",
})
"""Their results depend on no value of their operand."""
# fmt: on


def _normalization(call: Call, *_: object, **__: object) -> LayerShape:
    """A norm or a softmax: all its values are needed before the first result."""
    return normalization(written_values(call), call.bits)


def _matmul(call: Call, input: Tensor, other: Tensor) -> LayerShape:
    if len(call.inputs) == 1 and call.inputs[0] is input:
        if other.dim() != 2:
            raise NotPriceableError(f"a fixed second matrix must have two axes, got {other.dim()}")
        inputs, outputs = other.shape
        bits = BitWidths(call.precision.weight_bits, call.precision.activation_bits)
        return dense(call.output.numel() // outputs, inputs, outputs, bits)
    return _product(call, tuple(input.shape), tuple(other.shape))


def _scaled_dot_product_attention(
    call: Call,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[LayerShape, ...]:
    if enable_gqa:
        raise NotPriceableError("attention must have as many keys as queries per head (enable_gqa=False)")
    *leading, rows, width = query.shape
    columns = key.shape[-2]
    scores = _product(call, (*leading, rows, width), (*leading, width, columns))
    bits = BitWidths(call.precision.weight_bits, call.precision.activation_bits)
    softmaxed = normalization(FeatureMap(scores.g, rows, columns), bits)
    weighted = _product(call, (*leading, rows, columns), (*leading, columns, value.shape[-1]))
    return scores, softmaxed, weighted


def _product(call: Call, left: tuple[int, ...], right: tuple[int, ...]) -> LayerShape:
    return stacked_product(left, right, call.precision.activation_bits)


ATTENTION_RULES: dict[str, Callable[..., LayerShape | tuple[LayerShape, ...]]] = {
    **dict.fromkeys(("layer_norm", "rms_norm", "group_norm", "instance_norm", "local_response_norm"), _normalization),
    **dict.fromkeys(("normalize", "softmax"), _normalization),
    "matmul": _matmul,
    "bmm": _matmul,
    "rmatmul": lambda call, input, other: _matmul(call, other, input),
    "scaled_dot_product_attention": _scaled_dot_product_attention,
}
