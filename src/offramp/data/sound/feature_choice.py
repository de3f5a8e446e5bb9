"""Settings of sound features that follow from the data: its sample rates and the lengths of its clips."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.data.sound.feature_settings import SoundFeatures, SoundRequest
from offramp.errors import ConfigError

Durations = NDArray[np.float64]

HIGHEST_DEFAULT_RATE_HZ = 16_000
_WINDOW_QUANTILE = 0.95
_SHORTEST_WINDOW_S, _LONGEST_WINDOW_S = 0.25, 4.0
_WINDOW_STEP_S = 0.02
_FRAMES = 49
_SHORTEST_HOP_S, _LONGEST_HOP_S = 0.01, 0.02
_SHORTEST_FRAME_S = 0.03
_BANDS_LOW_RATE, _BANDS = 32, 40
_LOW_RATE_HZ = 16_000
_COEFFICIENTS = 13


@dataclass(frozen=True)
class ClipInfo:
    """What a clip is like before it is brought to the common form.

    Attributes:
        count: Its samples.
        rate_hz: Its samples per second.
        channels: Its channels.
    """

    count: int
    rate_hz: int
    channels: int

    @property
    def duration_s(self) -> float:
        """Seconds of the clip."""
        return self.count / self.rate_hz


@dataclass(frozen=True)
class ChosenFeatures:
    """Settings of features with what was decided.

    Attributes:
        features: The settings.
        notes: Sentences for the user.
    """

    features: SoundFeatures
    notes: tuple[str, ...]


def choose_features(clips: Sequence[ClipInfo], request: SoundRequest | SoundFeatures) -> ChosenFeatures:
    """Choose the settings that the user did not give.

    The rate is the most frequent one, at most 16 kHz. The window is the length that 95 % of the clips do not exceed,
    from 0.25 to 4 s. A window has about 49 frames, at least 10 and at most 20 ms apart; a frame lasts 30 ms or two of
    these distances. There are 40 mel bands, 32 below 16 kHz, and 13 coefficients.

    Args:
        clips: All clips of the training part, at least one.
        request: What the user gave; settings that are complete, such as those of a bundle, are kept.

    Returns:
        The settings.

    Raises:
        ConfigError: The settings contradict each other.
    """
    durations_s = np.array([clip.duration_s for clip in clips])
    features = request if isinstance(request, SoundFeatures) else _completed(clips, durations_s, request)
    return ChosenFeatures(features, _notes(clips, features, durations_s))


def _completed(clips: Sequence[ClipInfo], durations_s: Durations, request: SoundRequest) -> SoundFeatures:
    common = Counter(clip.rate_hz for clip in clips).most_common(1)[0][0]
    rate_hz = request.rate_hz or min(common, HIGHEST_DEFAULT_RATE_HZ)
    window_s = request.window_s or _default_window_s(durations_s)
    hop_s = min(max(window_s / (_FRAMES + 1), _SHORTEST_HOP_S), _LONGEST_HOP_S)
    hop_s = hop_s if request.hop_ms is None else request.hop_ms / 1000.0
    frame_s = max(_SHORTEST_FRAME_S, 2 * hop_s) if request.frame_ms is None else request.frame_ms / 1000.0
    bands = request.bands or (_BANDS if rate_hz >= _LOW_RATE_HZ else _BANDS_LOW_RATE)
    try:
        return SoundFeatures(
            kind=request.kind,
            rate_hz=rate_hz,
            window=round(window_s * rate_hz),
            frame=round(frame_s * rate_hz),
            hop=max(1, round(hop_s * rate_hz)),
            bands=bands,
            coefficients=request.coefficients or min(_COEFFICIENTS, bands),
        )
    except ValueError as exc:
        raise ConfigError(f"Settings of the sound features (data.sound_...) do not fit: {exc}.") from exc


def _default_window_s(durations_s: Durations) -> float:
    covering = float(np.quantile(durations_s, _WINDOW_QUANTILE, method="inverted_cdf"))
    rounded = float(np.ceil(round(covering / _WINDOW_STEP_S, 6)) * _WINDOW_STEP_S)
    return min(max(rounded, _SHORTEST_WINDOW_S), _LONGEST_WINDOW_S)


def _notes(
    clips: Sequence[ClipInfo],
    features: SoundFeatures,
    durations_s: Durations,
) -> tuple[str, ...]:
    size = "x".join(map(str, features.shape[1:]))
    note = (
        f"Sounds of {durations_s.min():.2f} to {durations_s.max():.2f} s (median {np.median(durations_s):.2f} s) "
        f"become samples of {size}: windows of {features.window_s:.2f} s, {features} "
        "(data.sound_window_s and other settings data.sound_...)."
    )
    notes = [note]
    resampled = Counter(clip.rate_hz for clip in clips if clip.rate_hz != features.rate_hz)
    if resampled:
        named = ", ".join(f"{count} at {rate} Hz" for rate, count in resampled.most_common(5))
        notes.append(f"{resampled.total()} of {len(clips)} sounds have another rate ({named}): they were resampled.")
    mixed = sum(clip.channels > 1 for clip in clips)
    if mixed:
        notes.append(f"{mixed} of {len(clips)} sounds have several channels: their mean was taken.")
    return tuple(notes)
