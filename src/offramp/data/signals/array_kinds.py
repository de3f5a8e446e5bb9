"""What the numbers of an array are: decided from type, number of axes and range, never without saying so."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offramp.data.images.pixel_units import NamedArray
from offramp.data.sample_kinds import InputKind, axes_of
from offramp.errors import DataError

_OVERSHOOT = 0.01


@dataclass(frozen=True)
class ArrayKind:
    """What the numbers of the arrays of a data set are.

    Attributes:
        kind: The kind of the samples.
        notes: What was decided, where nobody said it.
    """

    kind: InputKind
    notes: tuple[str, ...] = ()


def kind_of_arrays(arrays: Sequence[NamedArray], given: InputKind | None) -> ArrayKind:
    """Decide what the numbers of arrays are.

    Bytes and truth values with 3 or 4 axes are images. Other numbers are images where they lie in 0..255 and have the
    axes of images: 4 axes with 1, 3 or 4 channels, or 3 axes of which the last two are equal. Otherwise 2 or 3 axes are
    series, and 4 axes are feature maps.

    Args:
        arrays: The samples of each part.
        given: What the user says they are; None: it is decided.

    Returns:
        The kind.

    Raises:
        DataError: The parts differ, or it cannot be decided.
    """
    if given is not None:
        return ArrayKind(given)
    found = {array.where: _kind(array) for array in arrays}
    kinds = sorted(set(found.values()))
    if len(kinds) > 1:
        described = ", ".join(f"{where} like {kind.replace('_', ' ')}" for where, kind in found.items())
        raise DataError(f"All parts must be of one kind, but they look different: {described}. Set data.kind.")
    if kinds[0] == "pixels":
        return ArrayKind("pixels")
    where, values = arrays[0].where, arrays[0].values
    taken = f"{kinds[0].replace('_', ' ')} {_axes(kinds[0], values.ndim)}"
    other = "vectors" if values.ndim == 2 else "pixels"
    note = f"{where} ({values.dtype}, shape {values.shape}) is taken as {taken}; data.kind={other} says otherwise."
    return ArrayKind(kinds[0], (note,))


def _axes(kind: InputKind, ndim: int) -> str:
    return "(samples, time)" if kind == "series" and ndim == 2 else axes_of(kind)


def _kind(array: NamedArray) -> InputKind:
    values = array.values
    if values.ndim in (3, 4) and values.dtype.kind not in "iuf":
        return "pixels"  # truth values; what is no number is refused there
    if values.ndim in (3, 4) and (values.dtype == np.uint8 or not values.size):
        return "pixels"
    if values.ndim == 2:
        return "series"
    if values.ndim == 3:
        return _kind_of_three_axes(array)
    if values.ndim == 4:
        return _kind_of_four_axes(array)
    raise DataError(
        f"Samples in {array.where} must be images (samples, height, width) or (samples, height, width, channels), "
        "series (samples, time) or (samples, channels, time), feature maps (samples, channels, height, width) or "
        f"vectors (samples, features), got shape {values.shape}."
    )


def _kind_of_three_axes(array: NamedArray) -> InputKind:
    _, rows, columns = array.values.shape
    if rows > columns:
        raise DataError(
            f"Samples in {array.where} of shape {array.values.shape} may be series of {rows} steps with the {columns} "
            f"channels last, or of {columns} steps with {rows} channels. Series have the axes (samples, channels, "
            "time): transpose them, x.transpose(0, 2, 1), or set data.kind=series if they have these axes."
        )
    if rows != columns:
        return "series"
    if _like_pixels(array):
        return "pixels"
    raise DataError(
        f"Samples in {array.where} of shape {array.values.shape} may be {rows} channels of {columns} steps of time, or "
        f"maps of {rows}x{columns}. Set data.kind to series or feature_maps, or to pixels for images in 0..255."
    )


def _kind_of_four_axes(array: NamedArray) -> InputKind:
    _, second, _, last = array.values.shape
    # As in images: 4 means colour with transparency only if no other axis can be the channels.
    colour = (1, 3) if {second, last} & {1, 3} else (4,)
    first, end = second in colour, last in colour
    if first != end and _like_pixels(array):
        return "pixels"
    if end and not first:
        raise DataError(
            f"Samples in {array.where} of shape {array.values.shape} seem to have their channels last, and are not in "
            "0..255 (or 0..1) as pixels are. Feature maps have the axes (samples, channels, height, width): transpose "
            "them, or set data.kind=feature_maps if they have these axes."
        )
    return "feature_maps"


def _like_pixels(array: NamedArray) -> bool:
    """Whether values lie in 0..255 or, as floats, in 0..1 but for rounding."""
    lowest, highest = float(array.values.min()), float(array.values.max())
    is_float = array.values.dtype.kind == "f"
    if is_float and highest <= 1.0 + _OVERSHOOT:
        return lowest >= -_OVERSHOOT
    return lowest >= (-0.5 if is_float else 0.0) and highest < (255.5 if is_float else 256.0)
