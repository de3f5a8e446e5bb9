"""Short-time spectra, two mel scales, and cepstral coefficients."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def magnitudes(samples: NDArray[np.floating], window: int, hop: int, fft_size: int) -> Floats:
    """Compute the spectrum of every whole frame, with a periodic Hann window.

    Args:
        samples: Samples, (count,).
        window: Samples per frame.
        hop: Samples from one frame to the next.
        fft_size: Samples of the Fourier transform, at least ``window``.

    Returns:
        Magnitudes, (frames, fft_size // 2 + 1).
    """
    count = 1 + (len(samples) - window) // hop
    starts = hop * np.arange(count)
    frames = np.asarray(samples, dtype=np.float64)[starts[:, None] + np.arange(window)]
    result: Floats = np.abs(np.fft.rfft(frames * _hann(window), fft_size, axis=1))
    return result


def cepstrum(log_mels: Floats, count: int) -> Floats:
    """Compute cepstral coefficients: the cosine transform (type II, scaled as in HTK) over the last axis.

    Source: Young et al., "The HTK Book", equation 5.14.

    Args:
        log_mels: Logarithms of the mel bands, (..., bands).
        count: Number of coefficients.

    Returns:
        The first coefficients, (..., count).
    """
    num_bands = log_mels.shape[-1]
    result: Floats = log_mels @ _cosines(num_bands, count)
    return result


@cache
def _hann(size: int) -> Floats:
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / size)


@cache
def _cosines(num_bands: int, count: int) -> Floats:
    angles = np.pi / num_bands * np.outer(np.arange(num_bands) + 0.5, np.arange(count))
    result: Floats = math.sqrt(2.0 / num_bands) * np.cos(angles)
    return result


@cache
def htk_bands(num_bands: int, num_bins: int, sample_rate_hz: int, lowest_hz: float, highest_hz: float) -> Floats:
    """Compute mel bands of HTK: triangles of height 1 on its mel scale, without the bin of 0 Hz.

    Source: Young et al., "The HTK Book", section 5.4: mel = 1127 ln(1 + f / 700).

    Args:
        num_bands: Number of bands.
        num_bins: Number of bins of the spectrum.
        sample_rate_hz: Samples per second.
        lowest_hz: Lower end of the first band.
        highest_hz: Upper end of the last band.

    Returns:
        Weights, (bins, bands).
    """

    def mel(frequency_hz: Floats) -> Floats:
        return 1127.0 * np.log1p(frequency_hz / 700.0)

    bins = mel(np.linspace(0.0, sample_rate_hz / 2, num_bins))[:, None]
    lowest, highest = mel(np.array([lowest_hz, highest_hz]))
    edges = np.linspace(lowest, highest, num_bands + 2)
    weights = _triangles(bins, edges)
    weights[0] = 0.0
    return weights


@cache
def slaney_bands(num_bands: int, num_bins: int, sample_rate_hz: int) -> Floats:
    """Compute mel bands of Slaney up to half the sample rate: triangles of area 1 over the frequency in Hz.

    Source: Slaney 1998, "Auditory Toolbox": the scale is linear (200/3 Hz a step) up to 1 kHz and logarithmic (27 steps
    for
    a factor of 6.4) above.

    Args:
        num_bands: Number of bands.
        num_bins: Number of bins of the spectrum.
        sample_rate_hz: Samples per second.

    Returns:
        Weights, (bins, bands).
    """
    top = 15.0 + np.log(sample_rate_hz / 2 / 1000.0) * 27.0 / np.log(6.4)
    steps = np.linspace(0.0, top, num_bands + 2)
    edges = np.where(steps < 15.0, steps * 200.0 / 3.0, 1000.0 * np.exp((steps - 15.0) * np.log(6.4) / 27.0))
    bins = np.linspace(0.0, sample_rate_hz / 2, num_bins)[:, None]
    return _triangles(bins, edges) * (2.0 / (edges[2:] - edges[:-2]))


def _triangles(bins: Floats, edges: Floats) -> Floats:
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    return np.maximum(0.0, np.minimum(rising, falling))
