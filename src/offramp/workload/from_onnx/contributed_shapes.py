"""Shapes of results of operators that ONNX has no shape inference for: of onnxruntime, QONNX, Deeploy and old files."""

from collections.abc import Callable, Sequence
from typing import Any

from offramp.workload.from_onnx.operator_equivalents import QUANTIZERS

Sizes = tuple[int | None, ...]


def contributed_shape(op: str, attributes: dict[str, Any], inputs: Sequence[Sizes | None]) -> Sizes | None:
    """Find the shape of the first result of an operator.

    Args:
        op: Operator type, with its domain if it is not a standard one.
        attributes: Integers and lists of integers among its attributes, by name.
        inputs: Shapes of its inputs; None where they are not known.

    Returns:
        The shape; None if there is no rule or not enough is known.
    """
    rule = _RULES.get(op)
    if rule is None or not inputs or inputs[0] is None:
        return None
    try:
        return rule(attributes, inputs)
    except LookupError:  # an input is missing; whoever needs the shape names it
        return None


def _same(_: dict[str, Any], inputs: Sequence[Sizes | None]) -> Sizes | None:
    return inputs[0]


def _matrix_product(attributes: dict[str, Any], inputs: Sequence[Sizes | None]) -> Sizes | None:
    left, right = inputs[0], inputs[1]
    if left is None or right is None or min(len(left), len(right)) < 2:
        return None
    leading = left[:-2] if len(left) >= len(right) else right[:-2]
    rows = left[-1] if attributes.get("transA") else left[-2]
    return (*leading, rows, right[-2] if attributes.get("transB") else right[-1])


def _global_pooling(attributes: dict[str, Any], inputs: Sequence[Sizes | None]) -> Sizes | None:
    shape = inputs[0]
    if shape is None or len(shape) < 3:
        return None
    ones = (1,) * (len(shape) - 2)
    return (shape[0], *ones, shape[-1]) if attributes.get("channels_last") else (*shape[:2], *ones)


def _attention(_: dict[str, Any], inputs: Sequence[Sizes | None]) -> Sizes | None:
    source, weight = inputs[0], inputs[1]
    if source is None or len(source) != 3 or weight is None or len(weight) != 2 or weight[1] is None:
        return None
    return (*source[:2], weight[1] // 3)


def _packed_product(attributes: dict[str, Any], inputs: Sequence[Sizes | None]) -> Sizes | None:
    return None if inputs[0] is None or not attributes.get("N") else (*inputs[0][:-1], attributes["N"])


def _cropped(attributes: dict[str, Any], inputs: Sequence[Sizes | None]) -> Sizes | None:
    """An image without its borders (left, top, right, bottom), or of a given size behind the first two."""
    shape, border, scale = inputs[0], attributes.get("border"), attributes.get("scale")
    if shape is None or len(shape) != 4 or shape[2] is None or shape[3] is None or not isinstance(border, list):
        return None
    if isinstance(scale, list) and len(scale) == 2:
        return (*shape[:2], *scale)
    left, top, right, bottom = border
    return (*shape[:2], shape[2] - top - bottom, shape[3] - left - right)


_Rule = Callable[[dict[str, Any], Sequence[Sizes | None]], Sizes | None]

_SAME_SHAPE = (
    {f"com.microsoft.{op}" for op in ("Gelu", "FastGelu", "QuickGelu", "BiasGelu", "QLinearLeakyRelu")}
    | {f"com.microsoft.{op}" for op in ("QLinearSigmoid", "QLinearSoftmax", "GroupNorm", "RotaryEmbedding")}
    | {f"com.microsoft.{op}" for op in ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")}
    | {"ImageScaler", "Affine", "ScaledTanh", "ParametricSoftplus"}
    | {"GroupNormalization", "SimplifiedLayerNormalization", "com.microsoft.SimplifiedLayerNormalization"}
    | {
        f"{domain}i{op}"
        for domain in ("", "PACTOps.")
        for op in ("GELU", "Softmax", "LayerNorm", "RMSNorm", "Hardswish")
    }
    | {"RMSNorm", "ITAMax", "ITAPartialMax"}
    | QUANTIZERS
)
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_SAME_SHAPE, _same),
    "Crop": _cropped,
    **dict.fromkeys(("com.microsoft.MatMulNBits", "com.microsoft.MatMulBnb4"), _packed_product),
    "com.microsoft.FusedMatMul": _matrix_product,
    "com.microsoft.TransposeMatMul": _matrix_product,
    "com.microsoft.QLinearGlobalAveragePool": _global_pooling,
    "com.microsoft.Attention": _attention,
    "com.microsoft.QAttention": _attention,
}


def rounded_up_pooling(op: str, attributes: dict[str, Any], source: Sizes, result: Sizes) -> Sizes:
    """Correct the shape of a pooling that rounds up, for which ONNX may infer one row and column too many.

    A window that would start in the padding at the end is left out, as in torch and onnxruntime.

    Args:
        op: Operator type.
        attributes: Its attributes by name.
        source: Shape of the input.
        result: Shape of the result as inferred.

    Returns:
        The shape of the result; as inferred if the operator is no pooling that rounds up.
    """
    kernel = attributes.get("kernel_shape", ())
    spatial = source[2:]
    if op not in ("MaxPool", "AveragePool", "LpPool") or not attributes.get("ceil_mode") or len(spatial) != len(kernel):
        return result
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", "NOTSET") or len(result) != len(source):
        return result
    ones, zeros = (1,) * len(kernel), (0,) * (2 * len(kernel))
    strides, dilations, pads = (attributes.get(key) or default for key, default in
                                (("strides", ones), ("dilations", ones), ("pads", zeros)))  # fmt: skip
    if min(strides, default=0) < 1 or not len(kernel) == len(strides) == len(dilations) == len(pads) // 2:
        return result
    sizes = []
    for axis, size in enumerate(spatial):
        if size is None:
            return result
        before, after = pads[axis], pads[axis + len(kernel)]
        steps = -(-(size + before + after - dilations[axis] * (kernel[axis] - 1) - 1) // strides[axis])
        sizes.append(steps if steps * strides[axis] >= size + before else steps + 1)
    return (*result[:2], *sizes)
