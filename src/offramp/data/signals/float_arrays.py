"""Arrays of numbers of any range and type to float32 samples, with checks of what float32 cannot hold."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.images.pixel_units import NamedArray
from offramp.data.sample_kinds import FloatKind, pipeline_layout
from offramp.errors import DataError

# Values of a channel that are told apart before and after conversion, of so many at most.
_COMPARED = 1 << 16
_LARGEST_LOSS = 2


@dataclass(frozen=True, eq=False)
class FloatSamples:
    """Samples of one part.

    Attributes:
        samples: (samples, channels, height, width); NaN marks the padding of short series.
        notes: Sentences on what was decided.
    """

    samples: NDArray[np.float32]
    notes: tuple[str, ...] = ()


def float_samples(array: NamedArray, kind: FloatKind, lengths: NamedArray | None = None) -> FloatSamples:
    """Convert an array of numbers to samples.

    Args:
        array: Numbers of any type and range, of the shape of `pipeline_layout`. Where no lengths are given, NaN in all
            channels at the end of a series is padding.
        kind: What the numbers are.
        lengths: The number of steps of each series that count, (samples,); None: all of them.

    Returns:
        The samples.

    Raises:
        DataError: The array has another shape, holds no finite numbers, or holds numbers that float32 cannot tell
            apart; or the lengths do not fit.
    """
    where, values = array.where, array.values
    if values.dtype.kind not in "iufb":
        raise DataError(f"Samples in {where} must be numbers, got values of type {values.dtype}.")
    try:
        laid_out = pipeline_layout(kind, values)
    except ValueError as exc:
        raise DataError(f"Samples in {where} {exc} (data.kind: {kind}).") from exc
    if 0 in laid_out.shape[1:]:
        raise DataError(f"Samples in {where} must not be empty, got shape {values.shape}.")
    with np.errstate(over="ignore", invalid="ignore"):
        # 0.0 is added so that -0.0 and 0.0 are one value, bit for bit.
        samples = laid_out.astype(np.float32) + np.float32(0.0)
    _check_precision(where, laid_out, samples)
    if lengths is not None and kind == "series":
        return FloatSamples(_cut_at(samples, array, lengths))
    return FloatSamples(samples, _checked_finite(where, laid_out, samples, kind))


def _check_precision(where: str, given: NDArray[Any], samples: NDArray[np.float32]) -> None:
    """Refuse numbers such as times in nanoseconds, whose differences are lost in 24 bits."""
    if given.dtype.kind == "b" or given.dtype.itemsize <= 2 or given.dtype == np.float32:
        return
    for channel in range(given.shape[1]):
        before = given[:, channel].reshape(-1)[:: max(1, given[:, channel].size // _COMPARED)]
        after = samples[:, channel].reshape(-1)[:: max(1, samples[:, channel].size // _COMPARED)]
        if np.isinf(after).any() and np.isfinite(before[np.isinf(after)]).any():
            raise DataError(
                f"Channel {channel} of {where} must fit into float32 (up to 3.4e38), but it does not. Scale it."
            )
        if len(np.unique(before)) > _LARGEST_LOSS * len(np.unique(after)):
            raise DataError(
                f"Channel {channel} of {where} must keep its differences in float32 (24 bits), but of "
                f"{len(np.unique(before))} different values only {len(np.unique(after))} would be left. Subtract an "
                "offset first, such as the first time of a series of times."
            )


def _cut_at(samples: NDArray[np.float32], array: NamedArray, lengths: NamedArray) -> NDArray[np.float32]:
    count, steps = len(samples), samples.shape[3]
    values = lengths.values
    if values.shape != (count,) or values.dtype.kind not in "iu":
        raise DataError(
            f"Lengths in {lengths.where} must be one whole number per series ({count}), got {values.dtype} of shape "
            f"{values.shape}."
        )
    outside = np.flatnonzero((values < 1) | (values > steps))
    if outside.size:
        raise DataError(
            f"Lengths in {lengths.where} must lie in 1..{steps}, the steps of {array.where}, got "
            f"{values[outside[0]]} for series {outside[0]}."
        )
    valid = (np.arange(steps) < values.astype(np.int64)[:, None])[:, None, None]
    broken = np.flatnonzero((valid & ~np.isfinite(samples)).any(axis=(1, 2, 3)))
    if broken.size:
        raise DataError(_broken(array.where, broken, "within their lengths"))
    return np.where(valid, samples, np.float32(np.nan))


def _checked_finite(where: str, given: NDArray[Any], samples: NDArray[np.float32], kind: FloatKind) -> tuple[str, ...]:
    """Find padding; refuse other values that are no finite numbers."""
    broken = ~np.isfinite(samples)
    if not broken.any():
        return _hint_at_zeros(where, samples) if kind == "series" else ()
    empty = np.isnan(samples).all(axis=(1, 2), keepdims=True)
    ends = np.flip(np.logical_and.accumulate(np.flip(empty, 3), axis=3), 3) if kind == "series" else empty & False
    padding = np.broadcast_to(ends, samples.shape)
    rows = np.flatnonzero((broken & ~padding).any(axis=(1, 2, 3)) | padding.all(axis=(1, 2, 3)))
    if rows.size:
        rule = "except as padding at the end of all channels" if kind == "series" else ""
        raise DataError(_broken(where, rows, rule))
    short = int(padding[:, 0, 0, -1].sum())
    return (f"{short} of {len(samples)} series in {where} end with NaN in all channels: taken as padding.",)


def _broken(where: str, rows: NDArray[np.intp], rule: str) -> str:
    return (
        f"Samples in {where} must be finite numbers{f' {rule}' if rule else ''}, but {len(rows)} hold NaN or infinity, "
        f"the first is sample {rows[0]}. Leave these samples out, or fill the gaps."
    )


def _hint_at_zeros(where: str, samples: NDArray[np.float32]) -> tuple[str, ...]:
    """Zero at the end of all channels of several series, for different times, is probably padding."""
    last = (np.arange(1, samples.shape[3] + 1) * (samples != 0).any(axis=(1, 2))).max(axis=1)
    if len(np.unique(last)) < 3 or (last < samples.shape[3] - 1).mean() < 0.2:
        return ()
    return (
        f"Many series in {where} end in zeros in all channels. If these are padding, give the lengths in an array "
        "`lengths_train` (or `lengths`), so that they are not taken for measurements.",
    )
