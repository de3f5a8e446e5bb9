"""From a sound file to samples of a network: the one way for training, sessions and `offramp predict`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.data.sound.feature_settings import SoundFeatures
from offramp.data.sound.sound_decoding import EncodedSound, decode_sound
from offramp.data.sound.windows import Heard, LongSounds, heard_at, window_starts


@dataclass(frozen=True, eq=False)
class SoundSample:
    """A window of a sound as a sample.

    Attributes:
        values: Features, float32, (channels, height, width).
        heard: The part of a longer sound that it is; None for a whole sound.
    """

    values: NDArray[np.float32]
    heard: Heard | None


def sound_samples(sound: EncodedSound, features: SoundFeatures, long_sounds: LongSounds) -> tuple[SoundSample, ...]:
    """Read the samples of a sound.

    It is mixed down to one channel and brought to the rate of the features. The windows of a sound that is longer than
    a window are chosen as the setting says.

    Args:
        sound: The sound.
        features: What is computed of a window.
        long_sounds: Which windows are taken of a longer sound.

    Returns:
        One sample; several with ``windows`` of a longer sound.

    Raises:
        DataError: The sound cannot be read; the message names it.
    """
    samples = decode_sound(sound).at_rate(features.rate_hz, sound.where)
    found = []
    for start in window_starts(samples, features.window, long_sounds):
        values = features.compute(samples[start : start + features.window])
        found.append(SoundSample(values, heard_at(start, features.window, len(samples), features.rate_hz)))
    return tuple(found)
