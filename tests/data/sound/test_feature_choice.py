import pytest

from offramp.data.sound.feature_choice import ClipInfo, choose_features
from offramp.data.sound.feature_settings import SoundRequest
from offramp.errors import ConfigError


def clips(*durations_s: float, rate_hz: int = 8000, channels: int = 1) -> list[ClipInfo]:
    return [ClipInfo(round(duration_s * rate_hz), rate_hz, channels) for duration_s in durations_s]


def test_the_window_covers_95_of_100_clips() -> None:
    durations = [0.5] * 50 + [0.6] * 45 + [3.0] * 5
    chosen = choose_features(clips(*durations), SoundRequest())
    # 0.6 s in steps of 20 ms; hop = 0.6 s / 50 = 12 ms; a frame of 30 ms; 1 + (4800 - 240) // 96 frames.
    assert (chosen.features.window, chosen.features.frame, chosen.features.hop) == (4800, 240, 96)
    assert chosen.features.shape == (1, 48, 32)
    assert "median 0.55 s" in chosen.notes[0]
    assert "windows of 0.60 s" in chosen.notes[0]


@pytest.mark.parametrize(("duration_s", "window_s"), [(0.01, 0.25), (30.0, 4.0), (1.0, 1.0)])
def test_the_window_lies_between_a_quarter_and_four_seconds(duration_s: float, window_s: float) -> None:
    assert choose_features(clips(duration_s), SoundRequest()).features.window_s == window_s


def test_the_rate_is_the_most_frequent_one_and_at_most_16_khz() -> None:
    assert choose_features(clips(1.0, rate_hz=44_100), SoundRequest()).features.rate_hz == 16_000
    mixed = clips(1.0, 1.0, rate_hz=8000) + clips(1.0, rate_hz=48_000, channels=2)
    chosen = choose_features(mixed, SoundRequest())
    assert chosen.features.rate_hz == 8000
    assert any("1 of 3 sounds have another rate (1 at 48000 Hz): they were resampled" in note for note in chosen.notes)
    assert any("1 of 3 sounds have several channels" in note for note in chosen.notes)


def test_what_the_user_gives_is_kept() -> None:
    request = SoundRequest("mfcc", 16_000, window_s=1.0, frame_ms=30.0, hop_ms=20.0, bands=40, coefficients=10)
    features = choose_features(clips(0.5), request).features
    assert (features.kind, features.window, features.frame, features.hop) == ("mfcc", 16_000, 480, 320)
    assert features.shape == (1, 49, 10)


def test_what_does_not_fit_names_the_settings() -> None:
    with pytest.raises(ConfigError, match=r"data\.sound_\.\.\..*fewer bands"):
        choose_features(clips(0.5), SoundRequest(bands=200))
