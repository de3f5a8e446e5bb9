"""Requantisation: from the integers of one grid to those of another by multiplication and shift alone.

A ratio of steps, rounded to float32, is a 24-bit ``multiplier`` times ``2**-shift``. Accumulators and products are
rounded to 24 significant bits and then to integers, halves to even. This is integer arithmetic that rounds as float32
does, so that integers, floats, and runtimes that requantise in float32 (such as onnxruntime) give the same result.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

MULTIPLIER_BITS = 24
MAX_ACCUMULATOR = 2**28
_MAX_SHIFT = 54


@dataclass(frozen=True)
class FixedPoint:
    """The number ``multiplier * 2**-shift``, or one such number per channel.

    Attributes:
        multiplier: int64, a scalar or (channels,).
        shift: int64, in the same shape.
    """

    multiplier: Tensor
    shift: Tensor

    @property
    def as_float(self) -> Tensor:
        """The same number in float64, exactly; the results of ``fixed_point`` are exact in float32 too."""
        return torch.ldexp(self.multiplier.double(), -self.shift)


def fixed_point(ratio: Tensor) -> FixedPoint:
    """Convert a ratio of steps, rounded to float32, exactly.

    Args:
        ratio: input step divided by output step, from 0 to below 2**22; a scalar or (channels,).

    Returns:
        The ratio; 0 if the product with any accumulator of 28 bits rounds to 0.

    Raises:
        ValueError: if a ratio is not finite or out of range.
    """
    ratio = ratio.detach().float()
    if not bool((torch.isfinite(ratio) & (ratio >= 0) & (ratio < 2**22)).all()):
        raise ValueError(f"a ratio of steps must be from 0 to below 2**22, got up to {float(ratio.max()):.3g}.")
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
    """Convert ratios to numbers with the same shift, so that products can be added before the shift.

    Args:
        ratios: input steps divided by the output step, each from 0 to below 2**22 (ratios,).

    Returns:
        The ratios, rounded to the precision of the largest one.
    """
    largest = fixed_point(ratios.max())
    multiplier = torch.ldexp(ratios.detach().double(), largest.shift).round().long()
    return FixedPoint(multiplier, largest.shift.expand_as(multiplier))


def shift_right(products: Tensor, shift: Tensor) -> Tensor:
    """Divide integers by a power of two.

    Args:
        products: int64.
        shift: exponent of the divisor, int64, >= 1.

    Returns:
        ``products / 2**shift``, rounded to the nearest integer, halves to even; int64.
    """
    floor = products >> shift
    rest = products - (floor << shift)
    half = torch.ones_like(shift) << (shift - 1)
    return floor + ((rest > half) | ((rest == half) & (floor % 2 == 1))).long()


def keep_significant(integers: Tensor) -> Tensor:
    """Round integers as a conversion to float32 does.

    Args:
        integers: int64, of absolute value below 2**53.

    Returns:
        The integers rounded to 24 significant bits, halves to even; int64.
    """
    _, length = torch.frexp(integers.double())
    surplus = (length.long() - MULTIPLIER_BITS).clamp_min(0)
    return torch.where(surplus > 0, shift_right(integers, surplus.clamp_min(1)) << surplus, integers)


def rescale(integers: Tensor, factor: FixedPoint) -> Tensor:
    """Multiply integers by a factor, in integer arithmetic that rounds as float32 does.

    Args:
        integers: int64.
        factor: a number, or one per channel in a shape that broadcasts.

    Returns:
        The products, rounded to integers; int64.
    """
    products = keep_significant(keep_significant(integers) * factor.multiplier)
    return shift_right(products, factor.shift)
