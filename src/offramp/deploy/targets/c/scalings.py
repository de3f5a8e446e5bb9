"""Fixed-point factors in numpy: the same numbers as `offramp.nn.quantization.fixed_point` makes in torch."""

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.targets.c.program import Scaling

MULTIPLIER_BITS = 24
MAX_ACCUMULATOR = 2**28
_MAX_SHIFT = 54


def scaling_of(ratios: NDArray[np.float32]) -> Scaling:
    """Convert ratios of steps exactly.

    Args:
        ratios: float32, from 0 to below 2**22.

    Returns:
        The factors; 0 where the product with any sum of 28 bits rounds to 0.

    Raises:
        ValueError: If a ratio is not finite or out of range.
    """
    if not (np.isfinite(ratios) & (ratios >= 0) & (ratios < 2**22)).all():
        raise ValueError(f"a ratio of steps must be from 0 to below 2**22, got up to {float(ratios.max()):.3g}")
    mantissa, exponent = np.frexp(ratios.astype(np.float64))
    multiplier = np.rint(np.ldexp(mantissa, MULTIPLIER_BITS)).astype(np.int64)
    shift = MULTIPLIER_BITS - exponent.astype(np.int64)
    vanishing = shift > _MAX_SHIFT
    return Scaling(np.where(vanishing, 0, multiplier), np.where(vanishing, MULTIPLIER_BITS, shift))


def common_scaling_of(ratios: NDArray[np.float32]) -> Scaling:
    """Convert ratios to factors of one shift, so that products can be added before the shift.

    Args:
        ratios: float32, from 0 to below 2**22, (ratios,).

    Returns:
        The factors, rounded to the precision of the largest one.

    Raises:
        ValueError: If a ratio is not finite or out of range.
    """
    shift = scaling_of(ratios).shift[int(ratios.argmax())]
    multiplier = np.rint(np.ldexp(ratios.astype(np.float64), int(shift))).astype(np.int64)
    return Scaling(multiplier, np.full_like(multiplier, shift))
