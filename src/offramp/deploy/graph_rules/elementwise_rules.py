"""Rules of operators that compute each value of the result from values at the same place."""

from dataclasses import replace

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
    BITS,
    BOOL,
    FLOATS,
    INT32,
    SHAPE_TYPES,
    Batched,
    RefusedGraph,
    Shape,
    Size,
    TensorFacts,
    broadcast,
    product,
    shown,
    total,
)

_QUANTISED = frozenset({2, 3, 4, 5, 21, 22, 25, 26})
_MAX_WHOLE = 2**31


def _unary(call: OperatorCall) -> OperatorResult:
    source = call.tensor(0)
    for item in call.given()[1:]:
        if broadcast(source.shape, item.shape) != source.shape:
            raise RefusedGraph(
                f"has an operand of the shape {shown(item.shape)}, which {shown(source.shape)} cannot hold"
            )
    return OperatorResult((TensorFacts(same_type(call), source.shape),))


def _identity(call: OperatorCall) -> OperatorResult:
    return OperatorResult((replace(call.tensor(0), constant=False),))


def _not(call: OperatorCall) -> OperatorResult:
    return OperatorResult((TensorFacts(BOOL, call.tensor(0).shape),))


def _broadcast_of(call: OperatorCall) -> Shape:
    return broadcast(*(item.shape for item in call.given()))


def _arithmetic(call: OperatorCall) -> OperatorResult:
    element = call.tensor(0).element if call.operator == "Pow" else same_type(call)
    shape = _broadcast_of(call)
    content = _computed_content(call) if element in SHAPE_TYPES and len(shape) <= 1 else None
    return OperatorResult((TensorFacts(element, shape, content),))


def _computed_content(call: OperatorCall) -> tuple[Size, ...] | None:
    """The values of a sum or product of shapes, as exporters write it; None for what is not needed for shapes."""
    operands = [item.content for item in call.given()]
    if len(operands) != 2 or call.operator not in ("Add", "Mul"):
        return None
    first, second = operands
    if first is None or second is None or (len(first) != len(second) and 1 not in (len(first), len(second))):
        return None
    length = max(len(first), len(second)) if first and second else 0
    pairs = zip(first * (length // max(len(first), 1)), second * (length // max(len(second), 1)), strict=True)
    return tuple(_computed(call.operator, a, b) for a, b in pairs)


def _computed(operator: str, first: Size, second: Size) -> Size:
    whole = [size for size in (first, second) if isinstance(size, int)]
    if any(abs(size) > _MAX_WHOLE for size in whole):
        raise RefusedGraph("computes a size from numbers out of range")
    if operator == "Add":
        return total((first, second))
    if len(whole) == 2:
        return whole[0] * whole[1]
    if any(size < 0 for size in whole):
        raise RefusedGraph("computes a negative size")
    return product((first, second))


def _divided(call: OperatorCall) -> OperatorResult:
    """A quotient or remainder; of whole numbers, processors end a program that divides by 0, or the smallest by -1."""
    divisor = call.tensor(1)
    if divisor.element not in FLOATS and (
        divisor.content is None or any(not isinstance(number, int) or number < 1 for number in divisor.content)
    ):
        raise RefusedGraph("must divide whole numbers by a constant above 0")
    return _arithmetic(call)


def _lrn(call: OperatorCall) -> OperatorResult:
    source, size = call.tensor(0), call.integer("size", 0)
    channels = source.shape[1] if len(source.shape) == 4 else 0
    if not isinstance(channels, int) or not 1 <= size <= 2 * channels + 1:
        raise RefusedGraph(f"must look at 1 to {channels} channels on both sides, got a size of {size}")
    return OperatorResult((TensorFacts(float_type(source), source.shape),), source.count * size)


def _comparison(call: OperatorCall) -> OperatorResult:
    same_type(call)
    return OperatorResult((TensorFacts(BOOL, _broadcast_of(call)),))


def _where(call: OperatorCall) -> OperatorResult:
    condition, chosen, other = (call.tensor(index) for index in range(3))
    if condition.element != BOOL or chosen.element != other.element:
        raise RefusedGraph("must choose by booleans between two tensors of one type")
    return OperatorResult((TensorFacts(chosen.element, _broadcast_of(call)),))


def _cast(call: OperatorCall) -> OperatorResult:
    source, element = call.tensor(0), call.integer("to", 0)
    if element not in BITS:
        raise RefusedGraph(f"must cast to an element type that bundles have, got {element}")
    content = source.content if {source.element, element} <= SHAPE_TYPES else None
    if content is not None and any(isinstance(size, Batched) or abs(size) >= _MAX_WHOLE for size in content):
        content = content if element == source.element else None
    return OperatorResult((TensorFacts(element, source.shape, content),))


def _cast_like(call: OperatorCall) -> OperatorResult:
    return OperatorResult((TensorFacts(call.tensor(1).element, call.tensor(0).shape),))


def _check_scale(call: OperatorCall) -> None:
    source, scale, zero = call.tensor(0), call.tensor(1), call.optional(2)
    if float_type(scale) and scale.count != 1:
        axis = positive_axis(call.integer("axis", 1), len(source.shape))
        if len(scale.shape) != 1 or scale.shape[0] != source.shape[axis]:
            raise RefusedGraph("must have one scale, or one for each channel of an axis")
    if zero is not None and zero.count != scale.count:
        raise RefusedGraph("must have as many zero points as scales")


def _quantize(call: OperatorCall) -> OperatorResult:
    _check_scale(call)
    zero = call.optional(2)
    element = 2 if zero is None else zero.element
    if call.tensor(0).element not in FLOATS or element not in _QUANTISED:
        raise RefusedGraph("must turn floating-point numbers into short integers")
    return OperatorResult((TensorFacts(element, call.tensor(0).shape),))


def _dequantize(call: OperatorCall) -> OperatorResult:
    _check_scale(call)
    source = call.tensor(0)
    if source.element not in _QUANTISED | {INT32}:
        raise RefusedGraph("must turn short integers into floating-point numbers")
    return OperatorResult((TensorFacts(call.tensor(1).element, source.shape),))


def _float_unary(names: str, **attributes: AttributeKind) -> dict[str, OperatorRule]:
    return dict.fromkeys(names.split(), OperatorRule(_unary, (1, 1), 1, attributes))


_BINARY = OperatorRule(_arithmetic, (2, 2))
_VARIADIC = OperatorRule(_arithmetic, (1, 16))

ELEMENTWISE_RULES: dict[str, OperatorRule] = {
    **_float_unary("Relu Sigmoid HardSwish Mish Tanh Softplus Softsign Erf Abs Neg Exp Log Sqrt Reciprocal"),
    **_float_unary("Floor Ceil Round Sign Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh"),
    **_float_unary("Shrink", bias="float", lambd="float"),
    **_float_unary("LeakyRelu Elu Celu ThresholdedRelu Swish", alpha="float"),
    **_float_unary("HardSigmoid", alpha="float", beta="float"),
    **_float_unary("Selu", alpha="float", gamma="float"),
    **_float_unary("Gelu", approximate=frozenset({"none", "tanh"})),
    "Clip": OperatorRule(_unary, (1, 3)),
    "PRelu": OperatorRule(_unary, (2, 2)),
    "Identity": OperatorRule(_identity, (1, 1)),
    "Not": OperatorRule(_not, (1, 1)),
    "IsNaN": OperatorRule(_not, (1, 1)),
    "IsInf": OperatorRule(_not, (1, 1), 1, {"detect_negative": "int", "detect_positive": "int"}),
    "BitwiseNot": OperatorRule(_unary, (1, 1)),
    **dict.fromkeys(("Add", "Sub", "Mul", "Pow", "And", "Or", "Xor"), _BINARY),
    "Div": OperatorRule(_divided, (2, 2)),
    "LRN": OperatorRule(_lrn, (1, 1), 1, {"alpha": "float", "beta": "float", "bias": "float", "size": "int"}),
    **dict.fromkeys(("BitwiseAnd", "BitwiseOr", "BitwiseXor"), _BINARY),
    "BitShift": OperatorRule(_arithmetic, (2, 2), 1, {"direction": frozenset({"LEFT", "RIGHT"})}),
    "Mod": OperatorRule(_divided, (2, 2), 1, {"fmod": "int"}),
    "CastLike": OperatorRule(_cast_like, (2, 2)),
    **dict.fromkeys(("Max", "Min", "Sum", "Mean"), _VARIADIC),
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), OperatorRule(_comparison, (2, 2))),
    "Where": OperatorRule(_where, (3, 3)),
    "Cast": OperatorRule(_cast, (1, 1), 1, {"to": "int"}),
    "QuantizeLinear": OperatorRule(_quantize, (2, 3), 1, {"axis": "int", "saturate": "int"}),
    "DequantizeLinear": OperatorRule(_dequantize, (2, 3), 1, {"axis": "int"}),
}
"""The operators that work value by value."""
