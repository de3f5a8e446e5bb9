"""Pixel arrays of any layout and type to uint8 (samples, channels, height, width)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.image_files import resize
from offramp.data.raw_data import RawPart
from offramp.errors import DataError


@dataclass(frozen=True, eq=False)
class NamedArray:
    """An array with its origin.

    Attributes:
        where: Name of the array in messages.
        values: The array.
    """

    where: str
    values: NDArray[Any]


def pixels_from_arrays(arrays: Sequence[NamedArray]) -> tuple[NDArray[np.uint8], ...]:
    """Convert the images of all parts of one data set.

    Accepted shapes are (samples, height, width) and four axes with channels first or last. There may be 1, 3 or 4
    channels;
    the fourth, alpha, is dropped. Accepted values are integers 0..255, floats 0..255, or floats 0..1 in all arrays.

    Args:
        arrays: The images of each part.

    Returns:
        Pixels of each part, uint8, (samples, channels, height, width).

    Raises:
        DataError: A shape, type or value is not accepted.
    """
    floats = [array.values for array in arrays if array.values.dtype.kind == "f"]
    unit_range = bool(floats) and not any((values > 1.0).any() for values in floats)
    return tuple(_channels_first(NamedArray(a.where, _as_uint8(a, unit_range)), a.values.shape) for a in arrays)


def same_shape(parts: Sequence[RawPart], image_size: int | None) -> tuple[NDArray[np.uint8], ...]:
    """Give the images of all parts one number of channels and one size; grey images get 3 channels if some part has
    colour.

    Args:
        parts: The parts of a data set.
        image_size: Height and width of the result in pixels; None: the common size of the images.

    Returns:
        Pixels of each part, (samples, channels, height, width).

    Raises:
        DataError: The parts differ in size and ``image_size`` is None.
    """
    channels = max(part.images.shape[1] for part in parts)
    images = tuple(
        np.repeat(part.images, 3, axis=1) if part.images.shape[1] < channels else part.images for part in parts
    )
    if image_size is not None:
        return tuple(resize(pixels, image_size) for pixels in images)
    sizes = {part.source: part.images.shape[2:] for part in parts}
    if len(set(sizes.values())) > 1:
        described = ", ".join(f"{height}x{width} in {source!r}" for source, (height, width) in sizes.items())
        raise DataError(
            f"All images must have one size (height x width), got {described}. "
            "Give `image_size` (such as 32) to resize them."
        )
    return images


def _as_uint8(array: NamedArray, unit_range: bool) -> NDArray[np.uint8]:
    values = array.values
    kind = values.dtype.kind
    if values.dtype == np.uint8 or values.size == 0:
        return values.astype(np.uint8, copy=False)
    if kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if kind not in "iuf":
        raise DataError(f"Images in {array.where} must be numbers, got values of type {values.dtype}.")
    lowest, highest = values.min(), values.max()
    # Comparisons with NaN are false, so NaN is rejected too.
    if not (lowest >= 0 and highest <= 255):
        raise DataError(
            f"Pixels in {array.where} must lie in 0..255 (or 0..1 as floats), got {lowest}..{highest}. "
            "Scale them to 0..255 and store them as uint8, before any normalisation."
        )
    if kind == "f":
        return np.rint(values * 255.0 if unit_range else values).astype(np.uint8)
    return values.astype(np.uint8)


def _channels_first(array: NamedArray, given: tuple[int, ...]) -> NDArray[np.uint8]:
    values = array.values
    if values.ndim == 3:
        values = values[:, None]
    elif values.ndim != 4:
        raise DataError(
            f"Images in {array.where} must be an array (samples, height, width) or (samples, height, width, channels), "
            f"got shape {given}."
        )
    else:
        axes = (values.shape[1], values.shape[3])
        # 4 may be a height; it means colour with transparency only if no other axis can be the channels.
        wanted = (1, 3) if set(axes) & {1, 3} else (4,)
        first, last = axes[0] in wanted, axes[1] in wanted
        if first == last:
            problem = "both could be" if first else "neither is"
            raise DataError(
                f"Images in {array.where} must have 1, 3 or 4 channels as their second or last axis, "
                f"got shape {given}, where {problem}."
            )
        values = values if first else values.transpose(0, 3, 1, 2)
    if 0 in values.shape:
        raise DataError(f"Images in {array.where} must not be empty, got shape {given}.")
    return np.ascontiguousarray(values[:, :3])
