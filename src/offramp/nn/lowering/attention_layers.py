"""Loop sizes of what transformers are made of: token norms, softmax, and products of two computed matrices.

The rules, none of which makes a part of the network free that computes something:

- A product of two matrices that both depend on the image is a convolution with 1x1 kernels, one group per head, whose
  rows are its pixels. Its second operand stands where the weights do, at the width of activations, and is fetched and
  stored as weights are.
- Attention is the product of queries and keys, the softmax of the scores, and the product with the values. The scale is
  folded into the queries.
- Layer, group and root-mean-square norms and the softmax of a map need all of their values before they can give the
  first, so that no producing layer can do them on its way out. Each is priced as an element-wise product of its size:
  two reads and one write per value.
- Transposing, slicing, padding and rolling are ways of addressing what is there: they cost nothing.
"""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from offramp.nn.lowering.call_rules import Call, NotPriceableError, element_wise
from offramp.workload.layer import LayerShape, Op

# fmt: off
MOVES = frozenset({
    "getitem", "get", "permute", "transpose", "swapaxes", "swapdims", "movedim", "t", "unbind", "chunk", "split",
    "tensor_split", "narrow", "select", "unflatten", "expand", "expand_as", "view_as", "reshape_as", "pad", "roll",
})
# fmt: on


def layer_norm(
    call: Call, input: Tensor, normalized_shape: object, weight: object = None, bias: object = None, eps: float = 0.0
) -> LayerShape:
    return element_wise(call, Op.MULTIPLY)


def rms_norm(call: Call, input: Tensor, normalized_shape: object, weight: object = None, eps: object = 0) -> LayerShape:
    return element_wise(call, Op.MULTIPLY)


def group_norm(
    call: Call, input: Tensor, num_groups: int, weight: object = None, bias: object = None, eps: float = 0.0
) -> LayerShape:
    return element_wise(call, Op.MULTIPLY)


def softmax(
    call: Call, input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: object = None
) -> LayerShape:
    return element_wise(call, Op.MULTIPLY)


def matmul(call: Call, input: Tensor, other: Tensor) -> LayerShape:
    if len(call.inputs) == 1 and call.inputs[0] is input:
        if other.dim() != 2:
            raise NotPriceableError(f"a fixed second matrix must have two axes, got {other.dim()}")
        return LayerShape(
            Op.DENSE,
            b=call.output.numel() // other.shape[1],
            k=other.shape[1],
            c=other.shape[0],
            weight_bits=call.precision.weight_bits,
            activation_bits=call.precision.activation_bits,
        )
    return _product(call, tuple(input.shape), tuple(other.shape))


def scaled_dot_product_attention(
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
    heads = scores.g
    normed = replace(scores, op=Op.MULTIPLY, g=heads, k=1, c=1, oy=rows, ox=columns, iy=rows, ix=columns)
    weighted = _product(call, (*leading, rows, columns), (*leading, columns, value.shape[-1]))
    return scores, replace(normed, weight_bits=call.precision.weight_bits), weighted


def _product(call: Call, left: tuple[int, ...], right: tuple[int, ...]) -> LayerShape:
    """(..., rows, inner) times (..., inner, columns)."""
    if min(len(left), len(right)) < 2 or left[:-2] != right[:-2]:
        raise NotPriceableError(f"both matrices must have the same leading axes, got shapes {left} and {right}")
    groups = 1
    for size in left[:-2]:
        groups *= size
    rows = left[-2]
    return LayerShape(
        Op.CONV,
        g=groups,
        k=right[-1],
        c=left[-1],
        oy=rows,
        iy=rows,
        weight_bits=call.precision.activation_bits,
        activation_bits=call.precision.activation_bits,
    )


ATTENTION_RULES: dict[str, Callable[..., LayerShape | tuple[LayerShape, ...]]] = {
    rule.__name__: rule for rule in (layer_norm, rms_norm, group_norm, softmax, matmul, scaled_dot_product_attention)
} | {"bmm": matmul, "rmatmul": lambda call, input, other: matmul(call, other, input)}
