"""How a window of sound becomes a sample: settings that are part of the data and of the bundle."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offramp.data.sound.spectrum import cepstrum, htk_bands, magnitudes

FeatureKind = Literal["log-mel", "mfcc", "raw"]
"""Logarithms of mel bands, cepstral coefficients of them, or the samples themselves."""

_FLOOR = 1e-6
_SILENT = 1e-9
LOWEST_BAND_HZ = 20.0
_LARGEST_VALUES = 2**23


@dataclass(frozen=True)
class SoundFeatures:
    """From a window of sound to a sample of float32.

    A window is scaled to full range and padded with zeros at its end. Frames are weighted with a periodic Hann window.
    The magnitudes of their spectrum are summed in mel bands, whose natural logarithm is taken (of the sum + 1e-6), as
    the keyword spotting of MLPerf Tiny does.

    Attributes:
        kind: What is computed.
        rate_hz: Samples per second to which a sound is brought first.
        window: Samples of a window.
        frame: Samples of a frame.
        hop: Samples from one frame to the next.
        bands: Mel bands between 20 Hz and half the rate.
        coefficients: Cepstral coefficients that are kept of a frame; used by ``mfcc`` alone.
    """

    kind: FeatureKind
    rate_hz: int
    window: int
    frame: int
    hop: int
    bands: int
    coefficients: int

    def __post_init__(self) -> None:
        counts = (self.rate_hz, self.window, self.frame, self.hop, self.bands, self.coefficients)
        if min(counts) < 1:
            raise ValueError(
                f"`rate_hz`, `window`, `frame`, `hop`, `bands` and `coefficients` must be 1 or more, got {counts}"
            )
        if self.frame > self.window:
            raise ValueError(f"a frame ({self.frame} samples) must not be longer than the window ({self.window})")
        if self.coefficients > self.bands:
            raise ValueError(f"`coefficients` must be at most `bands` ({self.bands}), got {self.coefficients}")
        channels, height, width = self.shape
        if (
            max(channels * height * width, self.fft_size * self.bands, self.fft_size * self.num_frames)
            > _LARGEST_VALUES
        ):
            raise ValueError(f"features of {height}x{width}, made of frames of {self.frame} samples, are too large")
        if self.kind != "raw" and self.empty_bands:
            raise ValueError(
                f"{self.empty_bands} of {self.bands} mel bands hold no frequency of a frame of {self.frame} samples at "
                f"{self.rate_hz} Hz: use fewer bands or longer frames"
            )

    @property
    def fft_size(self) -> int:
        """Samples of the Fourier transform: the next power of two."""
        return 1 << (self.frame - 1).bit_length()

    @property
    def num_frames(self) -> int:
        """Whole frames of a window."""
        return 1 + (self.window - self.frame) // self.hop

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a sample: (1, frames, bands or coefficients), or (1, 1, samples) of ``raw``."""
        if self.kind == "raw":
            return 1, 1, self.window
        return 1, self.num_frames, self.bands if self.kind == "log-mel" else self.coefficients

    @property
    def empty_bands(self) -> int:
        """Bands that are narrower than the distance of two frequencies, and hold none."""
        return int((self._weights().sum(axis=0) <= 0).sum())

    @property
    def window_s(self) -> float:
        """Seconds of a window."""
        return self.window / self.rate_hz

    def compute(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the features of one window.

        Args:
            samples: Samples at `rate_hz`, (count,), at most `window`.

        Returns:
            The sample, of shape `shape`.

        Raises:
            ValueError: There are more samples than a window has.
        """
        if len(samples) > self.window:
            raise ValueError(f"`samples` must be at most {self.window}, got {len(samples)}.")
        padded = np.zeros(self.window)
        padded[: len(samples)] = samples
        padded /= max(float(np.abs(padded).max()), _SILENT)
        if self.kind == "raw":
            return padded.astype(np.float32)[None, None]
        spectrum = magnitudes(padded, self.frame, self.hop, self.fft_size)
        values = np.log(spectrum @ self._weights() + _FLOOR)
        if self.kind == "mfcc":
            values = cepstrum(values, self.coefficients)
        return values.astype(np.float32)[None]

    def __str__(self) -> str:
        if self.kind == "raw":
            return f"{self.window} samples at {self.rate_hz} Hz"
        what = f"{self.bands} log-mel bands" if self.kind == "log-mel" else f"{self.coefficients} cepstral coefficients"
        frame_ms, hop_ms = (1000.0 * count / self.rate_hz for count in (self.frame, self.hop))
        return f"{what} of {self.num_frames} frames ({frame_ms:.0f} ms every {hop_ms:.1f} ms) at {self.rate_hz} Hz"

    def _weights(self) -> NDArray[np.float64]:
        return htk_bands(self.bands, self.fft_size // 2 + 1, self.rate_hz, LOWEST_BAND_HZ, self.rate_hz / 2)


@dataclass(frozen=True)
class SoundRequest:
    """Settings of sound features that the user gives; what is None follows from the data.

    Attributes:
        kind: What is computed.
        rate_hz: Samples per second.
        window_s: Seconds of a window.
        frame_ms: Milliseconds of a frame.
        hop_ms: Milliseconds from one frame to the next.
        bands: Number of mel bands.
        coefficients: Number of cepstral coefficients.
    """

    kind: FeatureKind = "log-mel"
    rate_hz: int | None = None
    window_s: float | None = None
    frame_ms: float | None = None
    hop_ms: float | None = None
    bands: int | None = None
    coefficients: int | None = None

    def __post_init__(self) -> None:
        given = (self.rate_hz, self.window_s, self.frame_ms, self.hop_ms, self.bands, self.coefficients)
        if not all(value is None or (math.isfinite(value) and value > 0) for value in given):
            raise ValueError(f"settings of sound features must be finite and above 0, got {self}")
