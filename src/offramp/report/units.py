"""Formatting of numbers for people: SI prefixes, three digits, units. Percentages exist only here."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

NBSP = "\u00a0"
NOTHING = "–"

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
_SMALLEST = (1e-12, "p")
# A millicycle means nothing to anybody: these units are counted, so they only get prefixes for large numbers.
_COUNTED = frozenset({"cycles", "MACs"})


@dataclass(frozen=True)
class Scale:
    """A prefixed unit; a value in the base unit times ``factor`` is the number to show."""

    factor: float
    unit: str


def significant(value: float, digits: int = 3) -> str:
    """At least ``digits`` significant digits, never an exponent: 123456, 12.3, 0.00123."""
    if not math.isfinite(value):
        return NOTHING
    if value == 0.0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    rounded = round(value, decimals)
    # 9.996 rounds up to 10.00, which has a digit too many.
    if rounded != 0.0:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:.{decimals}f}"


def scale_for(values: Iterable[float], unit: str) -> Scale:
    """One prefix for a whole axis or column: the one that suits the largest magnitude."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    size, prefix = _prefix(largest, unit)
    separator = NBSP if prefix and unit in _COUNTED else ""
    return Scale(1.0 / size, f"{prefix}{separator}{unit}")


def si(value: float, unit: str, digits: int = 3) -> str:
    """A value in its base unit with prefix and unit: ``si(0.00123, "J")`` is 1.23 mJ."""
    if not math.isfinite(value):
        return NOTHING
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
    return si(value_pj * 1e-12, "J")


def cycles(value: float) -> str:
    return si(value, "cycles")


def macs(value: float) -> str:
    return si(value, "MACs")


def product(value_j_cycles: float) -> str:
    """An energy-delay product."""
    return si(value_j_cycles, "J·cycles")


def wall_time(value_cycles: float, clock_hz: float) -> str:
    """Cycles as time at a clock frequency."""
    return si(value_cycles / clock_hz, "s")


def percent(share: float, digits: int = 1) -> str:
    """A share 0..1 in percent; a share that is not quite everything or nothing is not rounded to it."""
    if not math.isfinite(share):
        return NOTHING
    text = f"{100 * share:.{digits}f}"
    step = 10.0**-digits
    if share < 1.0 and float(text) == 100.0:
        text = f"{100 - step:.{digits}f}"
    if share > 0.0 and float(text) == 0.0:
        return f"<{NBSP}{step:.{digits}f}{NBSP}%"
    return f"{text}{NBSP}%"


def points(difference: float) -> str:
    """The size of a difference of two shares, in percentage points."""
    return f"{abs(100 * difference):.1f}{NBSP}percentage points"


def reduction(value: float, reference: float) -> str:
    """How a cost compares with the reference: ``3.1× less``, ``1.2× more`` or ``the same``."""
    if not (math.isfinite(value) and math.isfinite(reference)) or value <= 0.0 or reference <= 0.0:
        return NOTHING
    ratio = reference / value
    word = "less" if ratio >= 1.0 else "more"
    ratio = max(ratio, 1.0 / ratio)
    digits = 2 if ratio < 10.0 else 3
    text = significant(ratio, digits) if ratio >= 1.1 else f"{ratio:.2f}"
    return "the same" if float(text) == 1.0 else f"{text}×{NBSP}{word}"


def duration(seconds: float) -> str:
    """A stretch of time in the two largest fitting units."""
    if not math.isfinite(seconds) or seconds < 0.0:
        return NOTHING
    if seconds < 9.95:
        return f"{seconds:.1f}{NBSP}s"
    total = round(seconds)
    hours, minutes, rest = total // 3600, total % 3600 // 60, total % 60
    if hours:
        return f"{hours}{NBSP}h {minutes}{NBSP}min"
    return f"{minutes}{NBSP}min {rest}{NBSP}s" if minutes else f"{rest}{NBSP}s"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun: 1 exit, 2 exits."""
    return f"{number:,}".replace(",", NBSP) + NBSP + (singular if number == 1 else plural or f"{singular}s")
