"""Limits of a core: which layers it cannot run, with reasons."""

from offramp.cost.engines.formula.closed_form_cycles import unrolling
from offramp.hardware.chip_formulas import CoreFormula, InMemoryArray
from offramp.workload.layer import MATRIX_OPS, LayerShape, Op


def why_not(formula: CoreFormula, shape: LayerShape, *, first: bool = False) -> str:
    """Return why a core cannot run a layer.

    Args:
        formula: The core's formula and limits.
        shape: The layer.
        first: Whether the layer reads the graph's input.

    Returns:
        The reason, in words that follow 'it cannot run there:'; empty where it can.
    """
    rules = formula.rules
    if shape.op not in rules.ops:
        return f"the core runs {', '.join(op.value for op in rules.ops)}, not {shape.op.value}"
    if first and not rules.first_layer:
        return "the first layer reads 8-bit pixels, and the core's inputs are narrower"
    if shape.op is Op.CONV:
        reason = _convolution(formula, shape)
        if reason:
            return reason
    inputs = shape.num_inputs * min(shape.activation_bits, 8) // 8
    if inputs % rules.size_multiple:
        return f"its input has {inputs} bytes, no multiple of {rules.size_multiple}"
    for what, bits, most in (
        ("weights", shape.weight_bits if shape.op in MATRIX_OPS else 0, rules.weight_bits),
        ("activations", shape.activation_bits, rules.activation_bits),
    ):
        if most and bits > most:
            return f"the core has {most}-bit {what}, the layer {bits}-bit ones"
    return ""


def _convolution(formula: CoreFormula, shape: LayerShape) -> str:
    rules = formula.rules
    depthwise = shape.g > 1 and shape.c == shape.k == 1
    if shape.g > 1 and rules.groups == "none":
        return "a depthwise convolution sums within one channel only" if depthwise else "it has groups"
    if shape.g > 1 and rules.groups == "depthwise" and not depthwise:
        return "it has groups of several channels"
    if rules.kernels and (shape.fy != shape.fx or shape.fx not in rules.kernels):
        return f"kernels must be square, of size {_listed(rules.kernels)}, not {shape.fy}x{shape.fx}"
    if rules.strides and (shape.stride_y != shape.stride_x or shape.stride_x not in rules.strides):
        return f"strides must be equal and {_listed(rules.strides)}, not {shape.stride_y}x{shape.stride_x}"
    if rules.same_padding and (shape.dilation_y, shape.dilation_x) != (1, 1):
        return "dilated kernels are not offered"
    if rules.same_padding and shape.padding != ((shape.fy - 1) // 2, (shape.fx - 1) // 2) * 2:
        return f"padding must be half a kernel on all four sides, not {shape.padding} (top, left, bottom, right)"
    form = formula.cycles
    if isinstance(form, InMemoryArray) and unrolling(form, shape) is None:
        rows = shape.fy * shape.fx * max(form.row_block, min(shape.c, form.channels_per_pass))
        return f"a {shape.fy}x{shape.fx} kernel takes {rows} rows, the array has {form.rows}"
    return ""


def _listed(values: tuple[int, ...]) -> str:
    return " or ".join(str(value) for value in values)
