import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from offramp.data.sound.sound_features import (
    KEYWORD_SCALE,
    MACHINE_SCALE,
    ByteScale,
    keyword_features,
    machine_features,
)
from offramp.errors import DataError
from tests.data.sounds import tone

RNG = np.random.default_rng(0)


def values_of(scale: ByteScale, stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert bytes back to values."""
    return np.float32(scale.lowest) + np.float32(scale.step) * stored.astype(np.float32)


def test_silence_has_the_lowest_first_coefficient_and_no_other() -> None:
    values = values_of(KEYWORD_SCALE, keyword_features(np.zeros(16_000, dtype=np.float32)))
    assert values.shape == (49, 10)
    assert np.abs(values[:, 0] - np.sqrt(80) * np.log(1e-6)).max() <= 0.3 + 1e-4
    assert np.abs(values[:, 1:]).max() <= 0.3 + 1e-4


def test_loud_sound_fits_the_scale_and_loudness_does_not_matter() -> None:
    samples = RNG.normal(0.0, 0.3, 16_000).clip(-1, 1).astype(np.float32)
    features = keyword_features(samples)
    assert features.min() > 0
    assert features.max() < 255
    # Not exactly: the floor in the logarithm does not scale along.
    assert np.abs(features.astype(int) - keyword_features(0.25 * samples)).max() <= 1


def test_a_short_word_is_filled_up_and_a_long_one_is_never_cut_silently() -> None:
    word = tone(440.0, 1.5, RNG).astype(np.float32)
    short = keyword_features(word[:8000])
    silence = keyword_features(np.zeros(16_000, dtype=np.float32))
    assert np.array_equal(short[25:], silence[25:])  # frame 25 starts at sample 8000
    assert not np.array_equal(short[:24], silence[:24])
    with pytest.raises(ValueError, match="at most 16000, got 24000"):
        keyword_features(word)


@pytest.mark.parametrize("frequency_hz", [500.0, 1000.0, 3000.0])
def test_a_machine_that_hums_is_heard_in_its_band(frequency_hz: float) -> None:
    values = values_of(MACHINE_SCALE, machine_features(tone(frequency_hz, 8.0, RNG, noise=0.0).astype(np.float32), "a"))
    assert values.shape == (200, 128)
    mel = frequency_hz * 3 / 200 if frequency_hz < 1000 else 15 + 27 * np.log(frequency_hz / 1000) / np.log(6.4)
    band = mel / (15 + 27 * np.log(8) / np.log(6.4)) * 129 - 1
    assert np.abs(values.argmax(axis=1) - band).max() <= 1
    assert (values == values[0]).mean() > 0.9


def test_a_machine_sound_starts_at_its_fiftieth_frame() -> None:
    """Frames are centred on multiples of 512: what ends 512 before the first or begins after the last is not heard."""
    samples = np.zeros(128_500, dtype=np.float32)
    quiet = machine_features(samples, "a")
    samples[: 50 * 512 - 512] = 1.0
    samples[249 * 512 + 512 :] = 1.0
    assert np.array_equal(machine_features(samples, "a"), quiet)
    samples[50 * 512] = 1.0
    assert not np.array_equal(machine_features(samples, "a"), quiet)


def test_a_machine_sound_that_is_too_short() -> None:
    with pytest.raises(DataError, match=r"'x.wav' must last at least 7.97 s, got 5.00 s"):
        machine_features(np.zeros(80_000, dtype=np.float32), "x.wav")
    assert machine_features(np.zeros(249 * 512, dtype=np.float32), "x.wav").shape == (200, 128)


@given(st.floats(-1e6, 1e6), st.sampled_from([KEYWORD_SCALE, MACHINE_SCALE, ByteScale(0.0, 2.0)]))
def test_a_byte_is_within_half_a_step_of_what_it_stands_for(value: float, scale: ByteScale) -> None:
    (back,) = values_of(scale, scale.bytes_of(np.array([value])))
    highest = scale.lowest + 255 * scale.step
    assert abs(back - min(max(value, scale.lowest), highest)) <= scale.step / 2 + 1e-3
