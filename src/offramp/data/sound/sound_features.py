"""Sound features of the networks of MLPerf Tiny, stored as bytes like the pixels of images.

Source: parameters of the reference implementations of MLPerf Tiny (keyword spotting, anomaly detection).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.data.sound.spectrum import cepstrum, htk_bands, magnitudes, slaney_bands
from offramp.data.sound.wav import SAMPLE_RATE_HZ
from offramp.data.sound.windows import Heard
from offramp.errors import DataError

KEYWORD_SAMPLES = SAMPLE_RATE_HZ
KEYWORD_SHAPE = (49, 10)
MACHINE_SHAPE = (200, 128)
"""Frames and coefficients, frames and bands."""

_KEYWORD_WINDOW, _KEYWORD_HOP, _KEYWORD_FFT = 480, 320, 512
_KEYWORD_BANDS, _KEYWORD_LOWEST_HZ, _KEYWORD_HIGHEST_HZ = 40, 20.0, 4000.0
_KEYWORD_FLOOR = 1e-6
_MACHINE_WINDOW, _MACHINE_HOP = 1024, 512
_MACHINE_FIRST_FRAME, _MACHINE_END_FRAME = 50, 250


@dataclass(frozen=True)
class ByteScale:
    """Conversion of values to bytes: byte ``b`` means ``lowest + step * b``.

    Attributes:
        lowest: Value of byte 0.
        step: Difference of two neighbouring bytes, above 0.
    """

    lowest: float
    step: float

    def bytes_of(self, values: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Convert values to bytes.

        Args:
            values: Values of any shape.

        Returns:
            The nearest bytes; values out of range are clipped.
        """
        return np.clip(np.rint((values - self.lowest) / self.step), 0, 255).astype(np.uint8)


# Silence has ln(1e-6) in all 40 bands, and its coefficient 0 is sqrt(80) times that: -123.6, the lowest value. The
# 8-bit model of the reference has about the same step for its input.
KEYWORD_SCALE = ByteScale(lowest=-124.0, step=0.6)
# The rounding noise of 16-bit sound has about -87 dB in a band, a full-scale tone about +40 dB.
MACHINE_SCALE = ByteScale(lowest=-80.0, step=0.5)


def keyword_features(samples: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Compute ten cepstral coefficients of 49 frames (30 ms every 20 ms) of one second.

    The sound is scaled to full range, and padded with zeros to one second.

    Args:
        samples: Samples, (count,), at `SAMPLE_RATE_HZ`; at most one second. `window_starts` chooses one of a longer
            sound.

    Returns:
        Bytes on `KEYWORD_SCALE`, of shape `KEYWORD_SHAPE`.

    Raises:
        ValueError: There is more than one second.
    """
    if len(samples) > KEYWORD_SAMPLES:
        raise ValueError(f"`samples` must be at most {KEYWORD_SAMPLES}, got {len(samples)}.")
    second = np.zeros(KEYWORD_SAMPLES)
    second[: len(samples)] = samples
    second /= max(float(np.abs(second).max()), 1e-9)
    spectrum = magnitudes(second, _KEYWORD_WINDOW, _KEYWORD_HOP, _KEYWORD_FFT)
    bands = htk_bands(_KEYWORD_BANDS, spectrum.shape[1], SAMPLE_RATE_HZ, _KEYWORD_LOWEST_HZ, _KEYWORD_HIGHEST_HZ)
    return KEYWORD_SCALE.bytes_of(cepstrum(np.log(spectrum @ bands + _KEYWORD_FLOOR), KEYWORD_SHAPE[1]))


def machine_part(count: int) -> Heard:
    """Name the part of a sound that `machine_features` is made of.

    Args:
        count: Samples of the sound, at `SAMPLE_RATE_HZ`.

    Returns:
        The part between the centres of the first and the last frame.
    """
    first, last = _MACHINE_FIRST_FRAME * _MACHINE_HOP, (_MACHINE_END_FRAME - 1) * _MACHINE_HOP
    return Heard(first / SAMPLE_RATE_HZ, last / SAMPLE_RATE_HZ, count / SAMPLE_RATE_HZ)


def machine_features(samples: NDArray[np.float32], where: str) -> NDArray[np.uint8]:
    """Compute the power in decibel in 128 bands of 200 frames (64 ms every 32 ms) from 1.6 s on.

    Args:
        samples: Samples, (count,), at `SAMPLE_RATE_HZ`.
        where: Name of the sound in messages.

    Returns:
        Bytes on `MACHINE_SCALE`, of shape `MACHINE_SHAPE`.

    Raises:
        DataError: The sound is too short.
    """
    # Frames are centred on multiples of the hop, the first on sample 0.
    padded = np.pad(samples, _MACHINE_WINDOW // 2)
    needed = (_MACHINE_END_FRAME - 1) * _MACHINE_HOP
    if len(samples) < needed:
        raise DataError(
            f"Sound {where!r} must last at least {needed / SAMPLE_RATE_HZ:.2f} s, "
            f"got {len(samples) / SAMPLE_RATE_HZ:.2f} s. Leave it out."
        )
    first, end = _MACHINE_FIRST_FRAME * _MACHINE_HOP, (_MACHINE_END_FRAME - 1) * _MACHINE_HOP + _MACHINE_WINDOW
    power = magnitudes(padded[first:end], _MACHINE_WINDOW, _MACHINE_HOP, _MACHINE_WINDOW) ** 2
    bands = slaney_bands(MACHINE_SHAPE[1], power.shape[1], SAMPLE_RATE_HZ)
    return MACHINE_SCALE.bytes_of(10.0 * np.log10(power @ bands + np.finfo(np.float64).eps))
