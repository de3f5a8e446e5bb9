"""Requantisation: from the integers of one grid to those of another by multiplication and shift alone.

A ratio of steps, rounded to float32, is a 24-bit ``multiplier`` times ``2**-shift``. Accumulators and products are kept
to 24 significant bits, halves rounded to even, and then to integers, halves again to even: in integers what float32
does by itself. So integers, floats, and runtimes that requantise in float32 (onnxruntime does) give the same answer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

MULTIPLIER_BITS = 24
MAX_ACCUMULATOR = 2**28
_MAX_SHIFT = 54


@dataclass(frozen=True)
class FixedPoint:
    """``multiplier * 2**-shift``, both int64 tensors of one shape (scalar, or one value per channel)."""

    multiplier: Tensor
    shift: Tensor

    @property
    def as_float(self) -> Tensor:
        """The same number in float64, exactly; one that ``fixed_point`` made is exact in float32 too."""
        return torch.ldexp(self.multiplier.double(), -self.shift)


def fixed_point(ratio: Tensor) -> FixedPoint:
    """The float32 ratio of an input step to an output step, exactly; what can move nothing becomes 0.

    Raises ValueError for a ratio that is no finite number from 0 to 2**22.
    """
    ratio = ratio.detach().float()
    if not bool((torch.isfinite(ratio) & (ratio >= 0) & (ratio < 2**22)).all()):
        raise ValueError(f"a ratio of steps must be from 0 to 2**22, got up to {float(ratio.max()):.3g}.")
    mantissa, exponent = torch.frexp(ratio.double())
    multiplier = torch.ldexp(mantissa, torch.tensor(MULTIPLIER_BITS, device=ratio.device)).round().long()
    shift = MULTIPLIER_BITS - exponent.long()
    # With a larger shift even the largest accumulator stays below one half.
    vanishing = shift > _MAX_SHIFT
    return FixedPoint(
        torch.where(vanishing, torch.zeros_like(multiplier), multiplier),
        torch.where(vanishing, torch.full_like(shift, MULTIPLIER_BITS), shift),
    )


def common_fixed_point(ratios: Tensor) -> FixedPoint:
    """Several ratios with one shift, so that products can be added before they are shifted."""
    largest = fixed_point(ratios.max())
    multiplier = torch.ldexp(ratios.detach().double(), largest.shift).round().long()
    return FixedPoint(multiplier, largest.shift.expand_as(multiplier))


def shift_right(products: Tensor, shift: Tensor) -> Tensor:
    """``products / 2**shift`` for int64 and shifts >= 1, rounded to the nearest integer, halves to the even one."""
    floor = products >> shift
    rest = products - (floor << shift)
    half = torch.ones_like(shift) << (shift - 1)
    return floor + ((rest > half) | ((rest == half) & (floor % 2 == 1))).long()


def keep_significant(integers: Tensor) -> Tensor:
    """Integers (int64, below 2**53) rounded to 24 significant bits, halves to the even one, as float32 holds them."""
    _, length = torch.frexp(integers.double())
    surplus = (length.long() - MULTIPLIER_BITS).clamp_min(0)
    return torch.where(surplus > 0, shift_right(integers, surplus.clamp_min(1)) << surplus, integers)


def rescale(integers: Tensor, factor: FixedPoint) -> Tensor:
    """Integers (int64) times ``factor``, in integer arithmetic that rounds as float32 does."""
    products = keep_significant(keep_significant(integers) * factor.multiplier)
    return shift_right(products, factor.shift)
