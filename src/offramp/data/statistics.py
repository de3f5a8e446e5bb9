"""Figures that describe a set of images: channel statistics and a fingerprint."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.progress import Task

_CHUNK = 1024
_SMALLEST_STD = 1.0 / 255.0


@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics of each channel, of pixels scaled to 0..1.

    Attributes:
        mean: Mean of each channel.
        std: Standard deviation of each channel, at least one grey level (1/255).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


def channel_statistics(images: NDArray[np.uint8]) -> ChannelStatistics:
    """Compute exact statistics of pixels.

    Counting the 256 values needs no float copy of the images. A channel that is almost constant gets a deviation of one
    grey level, so that division by it is safe.

    Args:
        images: Pixels, (samples, channels, height, width).

    Returns:
        Mean and deviation of each channel.
    """
    channels = images.shape[1]
    counts = np.zeros((channels, 256), dtype=np.int64)
    for start in range(0, len(images), _CHUNK):
        for channel in range(channels):
            counts[channel] += np.bincount(images[start : start + _CHUNK, channel].reshape(-1), minlength=256)
    levels = np.arange(256) / 255.0
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ levels
    variance = (shares * (levels - mean[:, None]) ** 2).sum(axis=1)
    std = np.maximum(np.sqrt(variance), _SMALLEST_STD)
    return ChannelStatistics(mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def fingerprint_of(
    images: Sequence[NDArray[np.integer[Any]]],
    labels: Sequence[NDArray[np.int64]],
    class_names: tuple[str, ...],
    task: Task | None = None,
) -> str:
    """Hash everything that a network learns from: pixels, shapes, labels and class names.

    Args:
        images: Pixels of each part.
        labels: Class numbers of each part.
        class_names: Names of the classes.
        task: Shows progress; None: no output.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(repr(class_names).encode())
    for pixels, numbers in zip(images, labels, strict=True):
        digest.update(repr(pixels.shape).encode())
        for start in range(0, len(pixels), _CHUNK):
            digest.update(np.ascontiguousarray(pixels[start : start + _CHUNK]).data)
            if task is not None:
                task.update((start + len(pixels[start : start + _CHUNK])) / len(pixels), f"{len(pixels)} samples")
        digest.update(np.ascontiguousarray(numbers, dtype="<i8").data)
    return digest.hexdigest()[:16]
