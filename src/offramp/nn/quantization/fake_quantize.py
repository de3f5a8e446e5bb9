"""Fake quantisation with learned step sizes: values rounded to the grid of an integer format, still as floats.

Source: Esser et al. 2020, "Learned Step Size Quantization", equations 1-3 and section 2.2 (gradient scale).
"""

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

SMALLEST_STEP = 1e-8
_FRACTIONS = 60
_SMALLEST_FRACTION = 0.1


@dataclass(frozen=True)
class IntegerRange:
    """The integers that a quantised value may be.

    Attributes:
        lower: smallest integer, <= 0.
        upper: largest integer, > 0.

    Raises:
        ValueError: if 0 is not in the range or the largest integer is not positive.
    """

    lower: int
    upper: int

    def __post_init__(self) -> None:
        if not self.lower <= 0 < self.upper:
            raise ValueError(f"a range of integers must hold 0 and 1, got {self.lower} to {self.upper}.")

    @property
    def largest(self) -> int:
        """Largest absolute value."""
        return max(-self.lower, self.upper)


def weight_range(bits: int, *, ternary: bool = False) -> IntegerRange:
    """The integers of weights.

    Args:
        bits: bit width, >= 2.
        ternary: use only -1, 0 and 1 of the integers of 2 bits; ignored for other widths.

    Returns:
        The integers in two's complement, or -1 to 1.
    """
    if bits == 2 and ternary:
        return IntegerRange(-1, 1)
    return IntegerRange(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def step_size(scale: Tensor) -> Tensor:
    """Compute the step from a learned parameter, which training may make zero or negative.

    Args:
        scale: the learned parameter, in any shape.

    Returns:
        Its absolute value, at least ``SMALLEST_STEP``.
    """
    return scale.abs().clamp_min(SMALLEST_STEP)


def quantize(values: Tensor, step: Tensor | float, limits: IntegerRange) -> Tensor:
    """Round values to integers.

    Args:
        values: in any shape.
        step: distance between two values of neighbouring integers; a tensor in a shape that broadcasts, or a number.
        limits: the integers that are allowed.

    Returns:
        The integers nearest to ``values / step``, halves to even, limited to ``limits``; floats.
    """
    # Multiplication is faster than division by a number. It can change only results next to a half.
    quotient = values * (1.0 / step) if isinstance(step, float) else values / step
    return quotient.round_().clamp_(limits.lower, limits.upper)


def fake_quantize(values: Tensor, scale: Tensor, limits: IntegerRange, gradient_scale: float) -> Tensor:
    """Round values to multiples of a learned step.

    Args:
        values: in any shape. Gradients pass to values strictly inside the limits.
        scale: the learned parameter of the step; a scalar, or one value per first index of ``values``.
        limits: the integers that are allowed.
        gradient_scale: factor of the gradient of ``scale``.

    Returns:
        The rounded and limited values, in the same shape.
    """
    if not torch.is_grad_enabled():
        step = _step_along_first(scale, values)
        return quantize(values, step, limits) * step
    if torch.compiler.is_compiling():
        lower, upper = (values.new_tensor(float(x)) for x in (limits.lower, limits.upper))
        return fake_quantize_composed(values, scale, lower, upper, gradient_scale)
    result: Tensor = _FakeQuantize.apply(values, scale, limits, gradient_scale)  # type: ignore[no-untyped-call]
    return result


def fake_quantize_composed(
    values: Tensor, scale: Tensor, lower: Tensor, upper: Tensor, gradient_scale: float | Tensor
) -> Tensor:
    """``fake_quantize`` in plain operators with limits as tensors, so that one compiled graph serves all bit widths.

    Args:
        values: in any shape. Gradients pass to values strictly inside the limits.
        scale: the learned parameter of the step; a scalar, or one value per first index of ``values``.
        lower: smallest integer; a scalar.
        upper: largest integer; a scalar.
        gradient_scale: factor of the gradient of ``scale``; a number or a scalar.

    Returns:
        The rounded and limited values, in the same shape.
    """
    step = step_size(_along_first(scale, values))
    step = step * gradient_scale + (step - step * gradient_scale).detach()
    quotient = values / step
    limited = quotient.clamp(lower, upper)
    # `clamp` passes gradients at the limits too, but the method only between them.
    inside = (quotient > lower) & (quotient < upper)
    limited = torch.where(inside, limited, limited.detach())
    return (limited + (limited.round() - limited).detach()) * step


def _along_first(scale: Tensor, values: Tensor) -> Tensor:
    return scale if scale.dim() == 0 else scale.view(-1, *[1] * (values.dim() - 1))


def _step_along_first(scale: Tensor, values: Tensor) -> Tensor | float:
    """The step in a shape that broadcasts; on CPUs one step is a number, so that 16-bit values are exact too."""
    step = step_size(scale)
    if step.dim() == 0:
        return float(step) if step.device.type == "cpu" else step
    return _along_first(step, values).to(values.dtype)


class _FakeQuantize(torch.autograd.Function):
    """Fake quantisation with few passes over memory: the gradient of the step is computed from inputs and results.

    With g the incoming gradient, d(out)/d(step) = round(v) - v inside and the limit outside, v = x / step. Hence
    sum(g * d) = (sum(g * out) - sum(g * x over those inside)) / step.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, limits: IntegerRange, gradient_scale: float) -> Tensor:
        step = _step_along_first(scale, values)
        result = quantize(values, step, limits).mul_(step)
        ctx.save_for_backward(values, scale, result)
        ctx.limits, ctx.gradient_scale = limits, gradient_scale
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        values, scale, result = ctx.saved_tensors
        limits: IntegerRange = ctx.limits
        (gradient,) = gradients
        if scale.dim() == 0 and values.device.type == "cpu":
            step = cast(float, _step_along_first(scale, values))
            # This is the only fused operator that passes gradients strictly between two bounds.
            passed = torch.ops.aten.hardtanh_backward(gradient, values, limits.lower * step, limits.upper * step)
        else:
            quotient = values / step_size(_along_first(scale, values)).to(values.dtype)
            passed = gradient * ((quotient > limits.lower) & (quotient < limits.upper))
        if not ctx.needs_input_grad[1]:
            return passed, None, None, None
        axes = tuple(range(1 if scale.dim() else 0, values.dim()))
        # The terms are subtracted before summation: each sum alone is too large for 16 bits.
        slope = (gradient * result).addcmul_(passed, values, value=-1.0).sum(axes).float()
        to_scale = slope / step_size(scale) * torch.where(scale < 0, -1.0, 1.0) * ctx.gradient_scale
        return passed, to_scale.to(scale.dtype), None, None


def gradient_scale(num_values: int, limits: IntegerRange) -> float:
    """Factor of the gradient of a learned step. Source: Esser et al. 2020, section 2.2.

    Args:
        num_values: number of values that share the step.
        limits: the integers that are allowed.

    Returns:
        1 / sqrt(``num_values`` * largest integer).
    """
    return 1.0 / math.sqrt(num_values * limits.upper)


def best_weight_steps(weight: Tensor, limits: IntegerRange) -> Tensor:
    """Search the step of each output channel that has the smallest squared error.

    Args:
        weight: (out channels, ...).
        limits: the integers that are allowed.

    Returns:
        The steps (out channels,), at least ``SMALLEST_STEP``.
    """
    rows = weight.detach().flatten(1).float()
    largest = rows.abs().amax(1).clamp_min(SMALLEST_STEP * limits.largest)
    best_step = largest / limits.largest
    best_loss = torch.full_like(best_step, torch.inf)
    # With few levels, the best step may be so small that the largest weights are far out of range.
    for fraction in torch.linspace(_SMALLEST_FRACTION, 1.0 + 0.5 / limits.upper, _FRACTIONS).tolist():
        step = largest * fraction / limits.upper
        loss = (quantize(rows, step[:, None], limits) * step[:, None] - rows).square().sum(1)
        better = loss < best_loss
        best_step, best_loss = torch.where(better, step, best_step), torch.where(better, loss, best_loss)
    return best_step.clamp_min(SMALLEST_STEP)


@dataclass(frozen=True)
class ActivationGrid:
    """The values that an unsigned format can hold.

    Attributes:
        step: distance between neighbouring values.
        zero_point: the integer that stands for 0.
    """

    step: float
    zero_point: int


def best_activation_grid(values: Tensor, bits: int, *, unsigned: bool) -> ActivationGrid:
    """Search the grid with the smallest squared error on a sample.

    The ranges tried are that of the sample and parts of it, down to a tenth.

    Args:
        values: the sample, in any shape.
        bits: bit width; the grid has 2**bits values.
        unsigned: whether the grid has no negative values.

    Returns:
        The grid; its step is 1 / (2**bits - 1) if the sample has no range.
    """
    flat = values.detach().flatten().float()
    top = 2**bits - 1
    high = max(float(flat.max()), 0.0)
    low = 0.0 if unsigned else min(float(flat.min()), 0.0)
    if high - low < SMALLEST_STEP * top:
        return ActivationGrid(1.0 / top, 0)
    best, best_loss = ActivationGrid((high - low) / top, 0), math.inf
    for fraction in torch.linspace(_SMALLEST_FRACTION, 1.0, _FRACTIONS).tolist():
        step = max((high - low) * fraction / top, SMALLEST_STEP)
        # 0 and at least one positive value must be on the grid.
        zero_point = min(round(-low * fraction / step), top - 1)
        limits = IntegerRange(-zero_point, top - zero_point)
        loss = float((quantize(flat, torch.tensor(step), limits) * step - flat).square().sum())
        if loss < best_loss:
            best, best_loss = ActivationGrid(step, zero_point), loss
    return best
