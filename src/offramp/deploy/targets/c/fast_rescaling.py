"""Constants with which the C code requantises by one product of 32 bits, and of when it must go the exact way.

`kernels/arithmetic.h` takes the upper 32 bits of ``(sum << lift) * scale``: the result with some bits behind the point.
They are off by less than one unit from cutting, and by a part in 2^23 from what the integer network rounds to 24
significant bits (twice a part in 2^24). Results beyond 1,024 are cut off anyway. So a result is certain unless it lies
within ``2 + 2^(10 + fraction - 23)`` units of a half; there the C code goes the exact way.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.targets.c.program import Grid, Scaling

MIDDLE = 128
"""What the C code takes from the integers of a map, so that 8 signed bits hold them."""

_PRODUCT_BITS = 32
_MULTIPLIER_ROOM = 7
_SUM_BITS = 30
_MOST_FRACTION, _LEAST_FRACTION = 20, 4
_RESULT_BITS, _SIGNIFICANT_BITS = 10, 23
_ALWAYS = 0xFFFFFFFF
_LEAST_ADDITION_FRACTION = 10


@dataclass(frozen=True, eq=False)
class FastRescaling:
    """From sums to the integers of a map.

    Attributes:
        scale: A factor per channel, int64, below 2**31.
        shift: The exact shift per channel.
        fields: The fields of ``rescaling`` in C.
    """

    scale: NDArray[np.int64]
    shift: NDArray[np.int64]
    fields: tuple[int, ...]


def fast_rescaling(scaling: Scaling, largest_sum: int, grid: Grid) -> FastRescaling:
    """Compute the constants.

    Args:
        scaling: The exact factors.
        largest_sum: A bound of the absolute sums.
        grid: The grid of the result.

    Returns:
        The constants; of a layer whose factors differ too much or are too large, those of the exact way alone.
    """
    multiplier, shift = np.atleast_1d(scaling.multiplier), np.atleast_1d(scaling.shift)
    zero, top = grid.zero_point - MIDDLE, grid.top - MIDDLE
    exact = FastRescaling(multiplier, shift, (0, 0, _ALWAYS, _ALWAYS, 0, zero, top, 0))
    used = multiplier != 0
    if not used.any():
        return exact
    lift = _SUM_BITS - int(largest_sum).bit_length()
    base = int(shift[used].min()) + _MULTIPLIER_ROOM
    surplus = max(0, base + lift - _PRODUCT_BITS - _MOST_FRACTION)
    lift, surplus = lift - min(lift, surplus), surplus - min(lift, surplus)
    base -= surplus
    fraction = base + lift - _PRODUCT_BITS
    if fraction < _LEAST_FRACTION or lift < 0 or base < int(shift[used].max()):
        return exact
    shift = np.where(used, shift, base)
    margin = 2 + (1 << max(0, _RESULT_BITS + fraction - _SIGNIFICANT_BITS))
    offset = (1 << (fraction - 1)) + margin + zero * (1 << fraction)
    fields = (lift, fraction, (1 << fraction) - 1, 2 * margin, offset, zero, top, base)
    return FastRescaling(multiplier << (base - shift), shift, fields)


def fast_addition(scaling: Scaling, grids: tuple[Grid, Grid], result: Grid) -> tuple[int, ...]:
    """Compute the constants of an addition: from the scales on those of ``addition`` in C.

    Args:
        scaling: The exact factors, of one shift.
        grids: The grids of the two maps.
        result: The grid of the sum.

    Returns:
        Two scales, the offset, the bits behind the point, their mask and what is doubtful.
    """
    shift, zero = int(scaling.shift[0]), result.zero_point - MIDDLE
    factors, zeros = [int(value) for value in scaling.multiplier], [grid.zero_point - MIDDLE for grid in grids]
    for drop in range(_SIGNIFICANT_BITS):
        fraction = shift - drop
        if fraction < _LEAST_ADDITION_FRACTION:
            break
        unit = 1 << drop
        scales = [(2 * factor + unit) // (2 * unit) for factor in factors]
        start = -sum(zeros[i] * factors[i] for i in range(2))
        # Scales are off by half a unit, for inputs to 128, and the start by one unit.
        margin = 130
        offset = start // unit + zero * (1 << fraction) + (1 << (fraction - 1)) + margin
        if MIDDLE * sum(scales) + abs(offset) < 1 << _SUM_BITS:
            return (*scales, offset, fraction, (1 << fraction) - 1, 2 * margin)
    return (0, 0, 0, 0, _ALWAYS, _ALWAYS)
