"""Sounds of the published sets of MLPerf Tiny: mono, 16,000 samples per second."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.data.sound.sound_decoding import EncodedSound, decode_sound
from offramp.errors import DataError

SAMPLE_RATE_HZ = 16_000


def read_wav(path: Path) -> NDArray[np.float32]:
    """Read a mono sound of 16,000 samples per second, as the published sets hold.

    Args:
        path: The file.

    Returns:
        Samples from -1 to 1, (count,).

    Raises:
        DataError: The file does not exist, is damaged, or has another rate or several channels.
    """
    clip = decode_sound(EncodedSound.of_file(path))
    if clip.rate_hz != SAMPLE_RATE_HZ:
        raise DataError(
            f"Sound {str(path)!r} must have {SAMPLE_RATE_HZ} samples a second, got {clip.rate_hz}. Resample it first."
        )
    if clip.channels != 1:
        raise DataError(f"Sound {str(path)!r} must have one channel, got {clip.channels}. Mix it down to mono.")
    return clip.samples
