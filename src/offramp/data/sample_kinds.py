"""Kinds of samples: what their numbers mean, how they are stored, and their shape for users and inside networks.

Inside the pipeline every sample has the axes (channels, height, width). A series has height 1, a vector one channel for
each of its features. Users give and get arrays of their own shape.
"""

import math
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from offramp.data.stored_samples import StoredSamples

InputKind = Literal["pixels", "mfcc", "feature_maps", "series", "vectors"]
"""Meaning of the numbers of a sample: pixels of an image, `keyword_features` of one second of sound, feature maps
(channels, height, width), a series (channels, time), or a vector (features,)."""

FloatKind = Literal["feature_maps", "series", "vectors"]
"""Kinds whose samples are float32 of any range."""

SampleDtype = Literal["uint8", "float32"]

Samples = NDArray[np.uint8] | NDArray[np.float32] | StoredSamples
"""Stored samples, (samples, channels, height, width)."""

BYTE_KINDS: tuple[InputKind, ...] = ("pixels", "mfcc")
BYTE_SCALE = 255.0

_AXES: dict[InputKind, str] = {
    "pixels": "(samples, channels, height, width)",
    "mfcc": "(samples, channels, height, width)",
    "feature_maps": "(samples, channels, height, width)",
    "series": "(samples, channels, time)",
    "vectors": "(samples, features)",
}

_Number = TypeVar("_Number", bound=np.generic)


def dtype_of(kind: InputKind) -> SampleDtype:
    """Return the type in which samples are stored.

    Args:
        kind: Kind of the samples.

    Returns:
        ``uint8`` for pixels and bytes of features, ``float32`` for the others.
    """
    return "uint8" if kind in BYTE_KINDS else "float32"


def scale_of(dtype: SampleDtype) -> float:
    """Return what stored samples are divided by before they are standardised.

    Args:
        dtype: Type of the stored samples.

    Returns:
        255 for bytes, 1 for floats.
    """
    return BYTE_SCALE if dtype == "uint8" else 1.0


def axes_of(kind: InputKind) -> str:
    """Name the axes of a user's array.

    Args:
        kind: Kind of the samples.

    Returns:
        Their names, for messages.
    """
    return _AXES[kind]


def sample_shape(kind: InputKind, input_shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Return the shape of a sample as users give it.

    Args:
        kind: Kind of the sample.
        input_shape: Channels, height and width inside the pipeline.

    Returns:
        (channels, time) of a series, (features,) of a vector, the same three axes otherwise.

    Raises:
        ValueError: A series has a height, or a vector a height or width.
    """
    channels, height, width = input_shape
    if kind == "series":
        if height != 1:
            raise ValueError(f"a series must have height 1, got {input_shape}.")
        return channels, width
    if kind == "vectors":
        if math.prod(input_shape[1:]) != 1:
            raise ValueError(f"a vector must have height and width 1, got {input_shape}.")
        return (channels,)
    return input_shape


def pipeline_layout(kind: InputKind, samples: NDArray[_Number]) -> NDArray[_Number]:
    """Give a user's array the axes (samples, channels, height, width).

    Args:
        kind: Kind of the samples.
        samples: (samples, channels, time) for series, or (samples, time) for series of one channel; (samples, features)
            for vectors; (samples, channels, height, width) otherwise, or (samples, height, width) for one channel.

    Returns:
        A view with four axes.

    Raises:
        ValueError: The array has another number of axes.
    """
    if kind == "vectors" and samples.ndim == 2:
        return samples[:, :, None, None]
    if kind == "series" and samples.ndim in (2, 3):
        return samples[:, None, None] if samples.ndim == 2 else samples[:, :, None]
    if kind not in ("vectors", "series") and samples.ndim in (3, 4):
        return samples[:, None] if samples.ndim == 3 else samples
    raise ValueError(f"must have the axes {axes_of(kind)}, got shape {samples.shape}")


def user_layout(kind: InputKind, samples: NDArray[Any]) -> NDArray[Any]:
    """Give samples of the pipeline the shape that users know.

    Args:
        kind: Kind of the samples.
        samples: (samples, channels, height, width).

    Returns:
        A view: (samples, channels, time) for series, (samples, features) for vectors, unchanged otherwise.
    """
    if kind == "series":
        return samples[:, :, 0]
    return samples[:, :, 0, 0] if kind == "vectors" else samples
