"""Against formulas written out number by number, and scipy's transforms."""

import math

import numpy as np
from scipy import fft, signal

from offramp.data.sound.spectrum import cepstrum, htk_bands, magnitudes, slaney_bands


def test_magnitudes_are_scipys() -> None:
    samples = np.random.default_rng(0).normal(size=2000)
    ours = magnitudes(samples, 480, 320, 512)
    assert ours.shape == (5, 257)
    window = signal.get_window("hann", 480)  # periodic, as for spectra
    for frame in range(5):
        expected = np.abs(fft.rfft(samples[frame * 320 : frame * 320 + 480] * window, 512))
        np.testing.assert_allclose(ours[frame], expected, atol=1e-9)


def test_the_cepstrum_is_the_orthogonal_transform_but_for_its_first_coefficient() -> None:
    log_mels = np.random.default_rng(1).normal(size=(3, 40))
    expected = fft.dct(log_mels, type=2, norm="ortho", axis=-1)[:, :10]
    expected[:, 0] *= math.sqrt(2)
    np.testing.assert_allclose(cepstrum(log_mels, 10), expected, atol=1e-12)


def test_htk_bands_one_by_one() -> None:
    bands = htk_bands(40, 257, 16_000, 20.0, 4000.0)
    low, high = 1127 * math.log(1 + 20 / 700), 1127 * math.log(1 + 4000 / 700)
    step = (high - low) / 41
    for bin_, band in ((1, 0), (5, 3), (64, 27), (127, 39), (128, 39), (200, 39)):
        mel = 1127 * math.log(1 + bin_ * 31.25 / 700)
        centre = low + (band + 1) * step
        assert math.isclose(bands[bin_, band], max(0.0, 1 - abs(mel - centre) / step), abs_tol=1e-9)
    assert not bands[0].any()
    assert bands[1:128].sum() > 0
    assert not bands[129:].any()  # above 4 kHz


def test_slaney_bands_have_unit_area_and_the_published_centres() -> None:
    bands = slaney_bands(128, 513, 16_000)
    assert bands.shape == (513, 128)
    # Mel 15 is 1000 Hz; 27 steps further is 6400 Hz. From 0 to 8 kHz are 15 + 27 ln 8 / ln 6.4 = 45.245 steps.
    centres_mel = np.arange(1, 129) * (15 + 27 * math.log(8) / math.log(6.4)) / 129
    centres_hz = [m * 200 / 3 if m < 15 else 1000 * 6.4 ** ((m - 15) / 27) for m in centres_mel]
    peaks_hz = bands.argmax(axis=0) * 15.625
    assert np.abs(peaks_hz[40:] - centres_hz[40:]).max() <= 15.625
    wide = bands[:, 60:]  # of many bins each, so that sums come near the areas
    np.testing.assert_allclose(wide.sum(axis=0) * 15.625, 1.0, rtol=0.1)
