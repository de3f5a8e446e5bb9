"""Figures that describe a set of samples: channel statistics and a fingerprint."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.sample_kinds import Samples
from offramp.data.stored_samples import StoredSamples
from offramp.progress import Task

_CHUNK = 1024
_SMALLEST_STD = 1.0 / 255.0
_ROUNDING = 2.0**-22


@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics of each channel, of bytes scaled to 0..1 or of floats as they are.

    Attributes:
        mean: Mean of each channel.
        std: Standard deviation of each channel: at least one grey level (1/255) of bytes, and 1 for constant floats.
        constant: Channels of floats that are constant.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    constant: tuple[int, ...] = ()


def channel_statistics(samples: Samples) -> ChannelStatistics:
    """Compute statistics of each channel.

    Args:
        samples: Bytes or floats, (samples, channels, height, width). NaN in floats marks padding, which does not count.

    Returns:
        Mean and deviation of each channel. Division by the deviation is safe.
    """
    if samples.dtype == np.uint8:
        return _byte_statistics(samples if isinstance(samples, StoredSamples) else samples.astype(np.uint8, copy=False))
    return _float_statistics(samples if isinstance(samples, StoredSamples) else samples.astype(np.float32, copy=False))


def _byte_statistics(samples: NDArray[np.uint8] | StoredSamples) -> ChannelStatistics:
    """Exact statistics: counting the 256 values needs no float copy. An almost constant channel gets one grey level."""
    channels = samples.shape[1]
    counts = np.zeros((channels, 256), dtype=np.int64)
    for start in range(0, len(samples), _CHUNK):
        part = samples[start : start + _CHUNK]
        for channel in range(channels):
            counts[channel] += np.bincount(part[:, channel].reshape(-1), minlength=256)
    levels = np.arange(256) / 255.0
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ levels
    variance = (shares * (levels - mean[:, None]) ** 2).sum(axis=1)
    std = np.maximum(np.sqrt(variance), _SMALLEST_STD)
    return ChannelStatistics(mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def _float_statistics(samples: NDArray[np.float32] | StoredSamples) -> ChannelStatistics:
    """Two passes in float64. A channel whose values differ by no more than float32 rounds is constant."""
    channels = samples.shape[1]
    total, squares, count = np.zeros(channels), np.zeros(channels), np.zeros(channels)
    starts = range(0, len(samples), _CHUNK)
    for start in starts:
        part = samples[start : start + _CHUNK]
        there = np.isfinite(part)
        total += np.where(there, part, 0.0).sum(axis=(0, 2, 3), dtype=np.float64)
        count += there.sum(axis=(0, 2, 3))
    mean = total / np.maximum(count, 1)
    for start in starts:
        part = samples[start : start + _CHUNK]
        differences = np.where(np.isfinite(part), part - mean[None, :, None, None], 0.0)
        squares += np.square(differences, out=differences).sum(axis=(0, 2, 3))
    std = np.sqrt(squares / np.maximum(count, 1))
    constant = std <= np.abs(mean) * _ROUNDING
    return ChannelStatistics(
        mean=tuple(mean.tolist()),
        std=tuple(np.where(constant, 1.0, std).tolist()),
        constant=tuple(np.flatnonzero(constant).tolist()),
    )


def fingerprint_of(
    samples: Sequence[NDArray[np.integer[Any]] | NDArray[np.float32] | StoredSamples],
    labels: Sequence[NDArray[np.int64]],
    class_names: tuple[str, ...],
    task: Task | None = None,
) -> str:
    """Hash everything that a network learns from: samples, shapes, labels and class names.

    Args:
        samples: Samples of each part.
        labels: Class numbers of each part.
        class_names: Names of the classes.
        task: Shows progress; None: no output.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(repr(class_names).encode())
    for part, numbers in zip(samples, labels, strict=True):
        # The type is named where it is not bytes, so that prints of images stay what they were.
        digest.update(repr(part.shape if part.dtype != np.float32 else (*part.shape, "float32")).encode())
        for start in range(0, len(part), _CHUNK):
            digest.update(np.ascontiguousarray(part[start : start + _CHUNK]).data)
            if task is not None:
                task.update((start + len(part[start : start + _CHUNK])) / len(part), f"{len(part)} samples")
        digest.update(np.ascontiguousarray(numbers, dtype="<i8").data)
    return digest.hexdigest()[:16]
