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
    """The integers a quantised value may take, both ends included; zero is one of them."""

    lower: int
    upper: int

    def __post_init__(self) -> None:
        if not self.lower <= 0 < self.upper:
            raise ValueError(f"a range must hold 0 and a number above it, got {self.lower} to {self.upper}.")

    @property
    def largest(self) -> int:
        """Largest absolute value."""
        return max(-self.lower, self.upper)


def weight_range(bits: int, *, ternary: bool = False) -> IntegerRange:
    """Two's complement of ``bits``; 2 bits of which only -1, 0 and 1 are used where ``ternary``."""
    if bits == 2 and ternary:
        return IntegerRange(-1, 1)
    return IntegerRange(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def step_size(scale: Tensor) -> Tensor:
    """The step that a learned ``scale`` stands for: training may push it to zero or below, a step is positive."""
    return scale.abs().clamp_min(SMALLEST_STEP)


def quantize(values: Tensor, step: Tensor | float, limits: IntegerRange) -> Tensor:
    """The integers (as floats) nearest to ``values / step``, halves to the even one, within ``limits``."""
    # By a number, multiplication is faster; it may move only what is halfway between two integers but for rounding.
    quotient = values * (1.0 / step) if isinstance(step, float) else values / step
    return quotient.round_().clamp_(limits.lower, limits.upper)


def fake_quantize(values: Tensor, scale: Tensor, limits: IntegerRange, gradient_scale: float) -> Tensor:
    """Round ``values`` to multiples of the learned step within ``limits`` times the step.

    ``scale`` has one value, or one per first index of ``values``. Gradients pass to ``values`` strictly inside the
    limits; the gradient of ``scale`` is multiplied by ``gradient_scale``.
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
    """The same out of plain operators with the limits as tensors, so that one compiled graph serves all bit widths."""
    step = step_size(_along_first(scale, values))
    step = step * gradient_scale + (step - step * gradient_scale).detach()
    quotient = values / step
    limited = quotient.clamp(lower, upper)
    # `clamp` passes gradients at the limits themselves, the method only between them.
    inside = (quotient > lower) & (quotient < upper)
    limited = torch.where(inside, limited, limited.detach())
    return (limited + (limited.round() - limited).detach()) * step


def _along_first(scale: Tensor, values: Tensor) -> Tensor:
    return scale if scale.dim() == 0 else scale.view(-1, *[1] * (values.dim() - 1))


def _step_along_first(scale: Tensor, values: Tensor) -> Tensor | float:
    """The step, shaped for ``values``; as a number where there is one for all, to be exact also for 16-bit values."""
    step = step_size(scale)
    if step.dim() == 0:
        return float(step) if step.device.type == "cpu" else step
    return _along_first(step, values).to(values.dtype)


class _FakeQuantize(torch.autograd.Function):
    """Few passes over memory: the gradient of the step follows from what is at hand.

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
            # The only fused operator that passes a gradient strictly between two bounds.
            passed = torch.ops.aten.hardtanh_backward(gradient, values, limits.lower * step, limits.upper * step)
        else:
            quotient = values / step_size(_along_first(scale, values)).to(values.dtype)
            passed = gradient * ((quotient > limits.lower) & (quotient < limits.upper))
        if not ctx.needs_input_grad[1]:
            return passed, None, None, None
        axes = tuple(range(1 if scale.dim() else 0, values.dim()))
        # Subtracted one by one: the two sums are much larger than what is left of them, too large for 16 bits.
        slope = (gradient * result).addcmul_(passed, values, value=-1.0).sum(axes).float()
        to_scale = slope / step_size(scale) * torch.where(scale < 0, -1.0, 1.0) * ctx.gradient_scale
        return passed, to_scale.to(scale.dtype), None, None


def gradient_scale(num_values: int, limits: IntegerRange) -> float:
    """1 / sqrt(values that share the step * largest integer). Source: Esser et al. 2020, section 2.2."""
    return 1.0 / math.sqrt(num_values * limits.upper)


def best_weight_steps(weight: Tensor, limits: IntegerRange) -> Tensor:
    """The step of each first index that loses least, in squares, of those that put the largest weight on the grid."""
    rows = weight.detach().flatten(1).float()
    largest = rows.abs().amax(1).clamp_min(SMALLEST_STEP * limits.largest)
    best_step = largest / limits.largest
    best_loss = torch.full_like(best_step, torch.inf)
    # Where there are few levels, the best step may leave the largest weights far outside.
    for fraction in torch.linspace(_SMALLEST_FRACTION, 1.0 + 0.5 / limits.upper, _FRACTIONS).tolist():
        step = largest * fraction / limits.upper
        loss = (quantize(rows, step[:, None], limits) * step[:, None] - rows).square().sum(1)
        better = loss < best_loss
        best_step, best_loss = torch.where(better, step, best_step), torch.where(better, loss, best_loss)
    return best_step.clamp_min(SMALLEST_STEP)


@dataclass(frozen=True)
class ActivationGrid:
    """Step of an unsigned format and the integer that stands for 0."""

    step: float
    zero_point: int


def best_activation_grid(values: Tensor, bits: int, *, unsigned: bool) -> ActivationGrid:
    """The grid of 2**bits levels that loses least, in squares, on a sample; without negative values where ``unsigned``.

    Ranges tried are the sample's own, shrunk towards 0.
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
        # Some value must lie above 0, and 0 must be on the grid.
        zero_point = min(round(-low * fraction / step), top - 1)
        limits = IntegerRange(-zero_point, top - zero_point)
        loss = float((quantize(flat, torch.tensor(step), limits) * step - flat).square().sum())
        if loss < best_loss:
            best, best_loss = ActivationGrid(step, zero_point), loss
    return best
