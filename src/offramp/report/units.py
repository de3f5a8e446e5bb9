"""Numbers as text: SI prefixes, three digits, units, percentages."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

NBSP = "\u00a0"
"""A space at which a line does not break."""

NO_VALUE = "–"
"""Stands for a value that is unknown or not a finite number."""

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
_SMALLEST = (1e-12, "p")
# These units are counted, so they have prefixes for large numbers only: there are no millicycles.
_COUNTED = frozenset({"cycles", "MACs"})


@dataclass(frozen=True)
class Scale:
    """A unit with a prefix.

    Attributes:
        factor: A value in the base unit times this is the number to show.
        unit: The unit with its prefix.
    """

    factor: float
    unit: str


def significant(value: float, digits: int = 3) -> str:
    """Write a number without an exponent: 123456, 12.3, 0.00123.

    Args:
        value: The number.
        digits: Number of significant digits, at least 1; digits before the decimal point are never left out.

    Returns:
        The number as text; `NO_VALUE` where it is not finite.
    """
    if not math.isfinite(value):
        return NO_VALUE
    if value == 0.0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    rounded = round(value, decimals)
    # 9.996 rounds up to 10.00, which has a digit too many.
    if rounded != 0.0:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:.{decimals}f}"


def scale_for(values: Iterable[float], unit: str) -> Scale:
    """Choose one prefix for a whole axis or column.

    Args:
        values: Values in the base unit; those that are not finite are ignored.
        unit: The base unit.

    Returns:
        The prefix that suits the largest magnitude.
    """
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    size, prefix = _prefix(largest, unit)
    separator = NBSP if prefix and unit in _COUNTED else ""
    return Scale(1.0 / size, f"{prefix}{separator}{unit}")


def si(value: float, unit: str, digits: int = 3) -> str:
    """Write a value with prefix and unit: ``si(0.00123, "J")`` is 1.23 mJ.

    Args:
        value: The value in the base unit.
        unit: The base unit.
        digits: Number of significant digits, at least 1.

    Returns:
        The value as text; `NO_VALUE` where it is not finite.
    """
    if not math.isfinite(value):
        return NO_VALUE
    scale = scale_for([value], unit)
    return f"{significant(value * scale.factor, digits)}{NBSP}{scale.unit}"


def _prefix(magnitude: float, unit: str) -> tuple[float, str]:
    if magnitude == 0.0:
        return 1.0, ""
    # 999.7 is shown as 1000, so what counts is the size after rounding to three digits.
    shown = float(f"{magnitude:.3g}")
    usable = [item for item in _PREFIXES if item[0] >= 1.0 or unit not in _COUNTED]
    for size, prefix in usable:
        if shown >= size:
            return size, prefix
    return (1.0, "") if unit in _COUNTED else _SMALLEST


def energy(value_pj: float) -> str:
    """Write an energy.

    Args:
        value_pj: The energy in picojoule.

    Returns:
        The energy with its unit, for example 1.23 µJ.
    """
    return si(value_pj * 1e-12, "J")


def cycles(value: float) -> str:
    """Write a number of clock cycles.

    Args:
        value: The number.

    Returns:
        The number with its unit, for example 1.23 k cycles.
    """
    return si(value, "cycles")


def macs(value: float) -> str:
    """Write a number of multiply-accumulate operations.

    Args:
        value: The number.

    Returns:
        The number with its unit, for example 1.23 M MACs.
    """
    return si(value, "MACs")


def energy_delay_product(value_j_cycles: float) -> str:
    """Write an energy-delay product.

    Args:
        value_j_cycles: The product in joule times clock cycles.

    Returns:
        The product with its unit.
    """
    return si(value_j_cycles, "J·cycles")


def wall_time(value_cycles: float, clock_hz: float) -> str:
    """Write a number of clock cycles as a time.

    Args:
        value_cycles: The number.
        clock_hz: Clock frequency in Hz, above 0.

    Returns:
        The time with its unit, for example 1.23 ms.
    """
    return si(value_cycles / clock_hz, "s")


def percent(share: float, digits: int = 1) -> str:
    """Write a share in percent; a share between 0 and 1 is never rounded to 0 % or 100 %.

    Args:
        share: The share, from 0 to 1.
        digits: Number of decimals.

    Returns:
        The percentage; `NO_VALUE` where ``share`` is not finite.
    """
    if not math.isfinite(share):
        return NO_VALUE
    text = f"{100 * share:.{digits}f}"
    step = 10.0**-digits
    if share < 1.0 and float(text) == 100.0:
        text = f"{100 - step:.{digits}f}"
    if share > 0.0 and float(text) == 0.0:
        return f"<{NBSP}{step:.{digits}f}{NBSP}%"
    return f"{text}{NBSP}%"


def percentage_points(difference: float) -> str:
    """Write the size of a difference of two shares.

    Args:
        difference: The difference, from -1 to 1; its sign is left out.

    Returns:
        The difference in percentage points.
    """
    return f"{abs(100 * difference):.1f}{NBSP}percentage points"


def reduction(value: float, reference: float) -> str:
    """Compare a cost with a reference.

    Args:
        value: The cost.
        reference: The reference, in the same unit.

    Returns:
        For example "3.1× less", "1.2× more" or "the same"; `NO_VALUE` where one of them is not finite and above 0.
    """
    if not (math.isfinite(value) and math.isfinite(reference)) or value <= 0.0 or reference <= 0.0:
        return NO_VALUE
    ratio = reference / value
    word = "less" if ratio >= 1.0 else "more"
    ratio = max(ratio, 1.0 / ratio)
    digits = 2 if ratio < 10.0 else 3
    text = significant(ratio, digits) if ratio >= 1.1 else f"{ratio:.2f}"
    return "the same" if float(text) == 1.0 else f"{text}×{NBSP}{word}"


def duration(seconds: float) -> str:
    """Write a duration in its two largest units, hours, minutes and seconds.

    Args:
        seconds: The duration in seconds.

    Returns:
        For example "9.3 s" or "2 h 5 min"; `NO_VALUE` where it is negative or not finite.
    """
    if not math.isfinite(seconds) or seconds < 0.0:
        return NO_VALUE
    if seconds < 9.95:
        return f"{seconds:.1f}{NBSP}s"
    total = round(seconds)
    hours, minutes, rest = total // 3600, total % 3600 // 60, total % 60
    if hours:
        return f"{hours}{NBSP}h {minutes}{NBSP}min"
    return f"{minutes}{NBSP}min {rest}{NBSP}s" if minutes else f"{rest}{NBSP}s"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Write a number with its noun: 1 exit, 2 exits.

    Args:
        number: The number.
        singular: The noun for 1.
        plural: The noun for other numbers; None = ``singular`` with an s.

    Returns:
        Number and noun.
    """
    return f"{number:,}".replace(",", NBSP) + NBSP + (singular if number == 1 else plural or f"{singular}s")
