"""Pixel arrays of any layout and type to uint8 (samples, channels, height, width)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.data.images.image_files import resize
from offramp.data.images.pixel_units import NamedArray, pixel_bytes
from offramp.data.raw_data import RawPart
from offramp.errors import DataError


@dataclass(frozen=True, eq=False)
class PixelArrays:
    """Images of all parts of one data set.

    Attributes:
        images: Pixels of each part, uint8, (samples, channels, height, width).
        notes: Sentences on what was decided about their units.
    """

    images: tuple[NDArray[np.uint8], ...]
    notes: tuple[str, ...]


def pixels_from_arrays(arrays: Sequence[NamedArray]) -> PixelArrays:
    """Convert the images of all parts of one data set.

    Accepted shapes are (samples, height, width) and four axes with channels first or last. There may be 1, 3 or 4
    channels; the fourth, alpha, is dropped. Accepted values are those of `pixel_bytes`.

    Args:
        arrays: The images of each part.

    Returns:
        Pixels of each part, and what was decided about their units.

    Raises:
        DataError: A shape, type or value is not accepted.
    """
    converted = pixel_bytes(arrays)
    images = tuple(_channels_first(array.where, pixels) for array, pixels in zip(arrays, converted.arrays, strict=True))
    return PixelArrays(images, converted.notes)


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
    pixels = [part.samples.astype(np.uint8, copy=False) for part in parts]
    channels = max(part.shape[1] for part in pixels)
    images = tuple(np.repeat(part, 3, axis=1) if part.shape[1] < channels else part for part in pixels)
    if image_size is not None:
        return tuple(resize(pixels, image_size) for pixels in images)
    sizes = {part.source: part.samples.shape[2:] for part in parts}
    if len(set(sizes.values())) > 1:
        described = ", ".join(f"{height}x{width} in {source!r}" for source, (height, width) in sizes.items())
        raise DataError(
            f"All images must have one size (height x width), got {described}. "
            "Give `image_size` (such as 32) to resize them."
        )
    return images


def _channels_first(where: str, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    given = values.shape
    if values.ndim == 3:
        values = values[:, None]
    elif values.ndim != 4:
        raise DataError(
            f"Images in {where} must be an array (samples, height, width) or (samples, height, width, channels), "
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
                f"Images in {where} must have 1, 3 or 4 channels as their second or last axis, "
                f"got shape {given}, where {problem}."
            )
        values = values if first else values.transpose(0, 3, 1, 2)
    if 0 in values.shape:
        raise DataError(f"Images in {where} must not be empty, got shape {given}.")
    return np.ascontiguousarray(values[:, :3])
