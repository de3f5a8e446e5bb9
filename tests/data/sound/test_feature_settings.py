from dataclasses import replace

import numpy as np
import pytest
from scipy import fft, signal

from offramp.data.sound.feature_settings import SoundFeatures, SoundRequest

LOG_MEL = SoundFeatures("log-mel", rate_hz=8000, window=4000, frame=240, hop=100, bands=32, coefficients=13)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.1, count).astype(np.float32)


def mel(frequency_hz: float) -> float:
    return float(1127.0 * np.log(1.0 + frequency_hz / 700.0))


def test_log_mel_is_what_scipy_and_the_definition_of_mel_bands_give() -> None:
    samples = noise(4000)
    scaled = samples / np.abs(samples).max()
    transform = signal.ShortTimeFFT(signal.get_window("hann", 240), 100, 8000, mfft=256, phase_shift=None)
    # Slices of SciPy are centred: its slice p begins at 100 p - 120, so whole frames are cut by hand instead.
    frames = np.stack([scaled[100 * i : 100 * i + 240] for i in range(38)]).astype(np.float64)
    spectrum = np.abs(np.fft.rfft(frames * transform.win, 256))
    edges = np.linspace(mel(20.0), mel(4000.0), 34)
    weights = np.zeros((129, 32))
    for bin_ in range(1, 129):
        at = mel(bin_ * 8000 / 256)
        for band in range(32):
            rising = (at - edges[band]) / (edges[band + 1] - edges[band])
            falling = (edges[band + 2] - at) / (edges[band + 2] - edges[band + 1])
            weights[bin_, band] = max(0.0, min(rising, falling))
    expected = np.log(spectrum @ weights + 1e-6)
    found = LOG_MEL.compute(samples)
    assert found.shape == LOG_MEL.shape == (1, 38, 32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


def test_mfcc_is_the_cosine_transform_of_log_mel_as_scipy_computes_it() -> None:
    samples = noise(4000)
    expected = fft.dct(LOG_MEL.compute(samples)[0].astype(np.float64), type=2, axis=1)[:, :13] / np.sqrt(2 * 32)
    found = replace(LOG_MEL, kind="mfcc").compute(samples)
    assert found.shape == (1, 38, 13)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)


def test_raw_is_the_window_itself_at_full_range_with_zeros_at_its_end() -> None:
    raw = replace(LOG_MEL, kind="raw", window=6, frame=2)
    assert raw.shape == (1, 1, 6)
    assert raw.compute(np.array([0.1, -0.2], dtype=np.float32)).tolist() == [[[0.5, -1.0, 0.0, 0.0, 0.0, 0.0]]]


def test_silence_has_the_logarithm_of_the_floor_everywhere() -> None:
    assert np.allclose(LOG_MEL.compute(np.zeros(100, dtype=np.float32)), np.log(1e-6))


def test_the_gain_of_a_sound_changes_nothing() -> None:
    samples = noise(4000)
    np.testing.assert_allclose(LOG_MEL.compute(samples), LOG_MEL.compute(samples * np.float32(0.25)), rtol=1e-5)


def test_more_than_a_window_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="at most 4000, got 4001"):
        LOG_MEL.compute(noise(4001))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": 5000}, "must not be longer than the window"),
        ({"coefficients": 33}, r"at most `bands` \(32\), got 33"),
        ({"hop": 0}, "1 or more"),
        ({"bands": 200}, r"of 200 mel bands hold no frequency .* fewer bands or longer frames"),
        ({"window": 2**26}, "too large"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(LOG_MEL, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"window_s": 0.0}, {"rate_hz": -1}, {"hop_ms": float("nan")}])
def test_a_request_must_be_above_zero(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="finite and above 0"):
        SoundRequest(**change)  # type: ignore[arg-type]
