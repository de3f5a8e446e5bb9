"""Units of pixel arrays: bytes 0..255 or floats 0..1. What cannot be decided from the values is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from offramp.errors import DataError

# Resampling and rounding lead this far out of 0..1; values beyond are of another unit.
_OVERSHOOT = 0.01
# Values between two bytes are rounded, so that 255.4 is 255.
_HALF_LEVEL = 0.5
# Pixels of a photo fill far more levels than this. Fewer levels with many values lost mean another unit.
_FEW_LEVELS = 16
_LARGEST_LOSS = 4
_SAMPLED_VALUES = 1 << 20

PixelUnit = Literal["bytes", "unit", "truth"]
"""Meaning of values: 0..255, 0..1, or black and white."""


@dataclass(frozen=True, eq=False)
class NamedArray:
    """An array with its origin.

    Attributes:
        where: Name of the array in messages.
        values: The array.
    """

    where: str
    values: NDArray[Any]


@dataclass(frozen=True, eq=False)
class PixelBytes:
    """Arrays converted to bytes.

    Attributes:
        arrays: The arrays as uint8, in order, with unchanged shapes.
        notes: One sentence for each decision on a unit.
    """

    arrays: tuple[NDArray[np.uint8], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Range:
    """The range of an array and the unit that follows from it."""

    array: NamedArray
    lowest: float
    highest: float
    unit: PixelUnit

    @property
    def is_float(self) -> bool:
        return self.array.values.dtype.kind == "f"

    @property
    def looks_like_unit(self) -> bool:
        return self.highest <= 1.0 + _OVERSHOOT

    def __str__(self) -> str:
        return f"{self.array.where} ({self.array.values.dtype}, {self.lowest:.8g}..{self.highest:.8g})"


def pixel_bytes(arrays: Sequence[NamedArray]) -> PixelBytes:
    """Convert the pixels of all parts of one data set to bytes.

    Integers are bytes 0..255. Floats are 0..1 if none is above 1, otherwise 0..255; values up to 0.01 outside of 0..1
    are rounding errors, and are clipped. Truth values are black and white.

    Args:
        arrays: The pixels of each part.

    Returns:
        The bytes, and what was decided.

    Raises:
        DataError: Values are out of range, parts differ in their unit, or the unit cannot be told from the values.
    """
    ranges = [_range_of(array) for array in arrays if array.values.size]
    _check_agreement(ranges)
    converted = tuple(_convert(array, ranges) for array in arrays)
    for array, result in zip(arrays, converted, strict=True):
        _check_levels(array, result)
    return PixelBytes(converted, tuple(note for found in ranges if (note := _note(found))))


def _range_of(array: NamedArray) -> _Range:
    values = array.values
    kind = values.dtype.kind
    if kind == "b":
        return _Range(array, 0.0, 1.0, "truth")
    if kind not in "iuf":
        raise DataError(f"Images in {array.where} must be numbers, got values of type {values.dtype}.")
    lowest, highest = values.min(), values.max()
    unit: PixelUnit = "unit" if kind == "f" and highest <= 1.0 + _OVERSHOOT else "bytes"
    below = {"unit": _OVERSHOOT, "bytes": _HALF_LEVEL}[unit] if kind == "f" else 0.0
    above = _HALF_LEVEL if kind == "f" else 1.0
    # Comparisons with NaN are false, so NaN is refused too.
    if not (lowest >= -below and highest < 255 + above):
        raise DataError(
            f"Pixels in {array.where} must lie in 0..255 (or 0..1 as floats), got {lowest}..{highest}. "
            "Scale them to 0..255 and store them as uint8, before any normalisation."
        )
    return _Range(array, float(lowest), float(highest), unit)


def _check_agreement(ranges: Sequence[_Range]) -> None:
    """Refuse parts that would be scaled differently, or that look as if another unit was meant."""
    bright = [found for found in ranges if not found.looks_like_unit]
    dark = [found for found in ranges if found.looks_like_unit]
    # Floats 0..1 beside bytes are plain from their type, unless all parts are floats.
    unclear = [found for found in dark if not found.is_float or any(other.is_float for other in bright)]
    if bright and unclear:
        raise DataError(
            f"All parts must have pixels of one unit, but {bright[0]} looks like 0..255 and {unclear[0]} like 0..1. "
            "Scale all parts to 0..255 and store them as uint8."
        )
    if len({"bytes" if found.unit == "bytes" else "unit" for found in dark}) > 1:
        named = " and ".join(map(str, dark))
        raise DataError(
            f"All parts must have pixels of one unit, but {named} are scaled differently by their types. "
            "Scale all parts to 0..255 and store them as uint8."
        )


def _convert(array: NamedArray, ranges: Sequence[_Range]) -> NDArray[np.uint8]:
    values = array.values
    if values.dtype == np.uint8 or not values.size:
        return values.astype(np.uint8, copy=False)
    unit = next(found.unit for found in ranges if found.array is array)
    if unit == "truth":
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind != "f":
        return values.astype(np.uint8)
    scaled = np.clip(values, 0.0, 1.0) * 255.0 if unit == "unit" else np.clip(values, 0.0, 255.0)
    rounded: NDArray[np.uint8] = np.rint(scaled).astype(np.uint8)
    return rounded


def _check_levels(array: NamedArray, result: NDArray[np.uint8]) -> None:
    """Refuse a conversion in which nearly all differences between values would be lost."""
    if array.values.dtype.kind != "f":
        return
    step = max(1, array.values.size // _SAMPLED_VALUES)
    before = len(np.unique(array.values.reshape(-1)[::step]))
    after = len(np.unique(result.reshape(-1)[::step]))
    if after < _FEW_LEVELS and before > _LARGEST_LOSS * after:
        lowest, highest = array.values.min(), array.values.max()
        raise DataError(
            f"Pixels in {array.where} must be floats 0..1 or 0..255, but they lie in {lowest:.8g}..{highest:.8g}: as 8 "
            f"bits, only {after} of {before} different values would be left. Scale them to 0..255 and store them as "
            "uint8; where a few values lie above 1, clip them."
        )


def _note(found: _Range) -> str:
    """What was decided about an array; empty where its type leaves nothing to decide."""
    values = found.array.values
    if found.unit == "truth":
        return f"Pixels in {found.array.where} are true or false: taken as 255 and 0."
    if not found.is_float:
        return "" if found.highest > 1 else f"Pixels in {found} are taken as grey levels of 0..255: nearly black."
    bound = 1.0 if found.unit == "unit" else 255.0
    outside = int(np.count_nonzero(values < 0)) + int(np.count_nonzero(values > bound))
    clipped = f"; {outside} of {values.size} values outside were clipped" if outside else ""
    return f"Pixels in {found} are taken as 0..{bound:.0f}{clipped}."
