"""Image files, sounds and pixels to network inputs, as the manifest says."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.data.sound.sound_features import KEYWORD_SAMPLES, KEYWORD_SHAPE, keyword_features
from offramp.data.sound.wav import SAMPLE_RATE_HZ, read_wav
from offramp.data.sound.windows import Heard, heard_at, window_starts
from offramp.deploy.bundle.manifest_records import Preprocessing
from offramp.errors import InputError

# Normalised pixels have this many times their usual range only where they are not normalised at all.
_MOST_TIMES_REACH = 20.0


def normalise(images: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Convert pixels to network inputs, to the bit as `offramp.data.mini_batches.to_tensor` does in training.

    Args:
        images: Pixels, (samples, channels, height, width).
        preprocessing: The preprocessing that the manifest states.

    Returns:
        Network inputs in float32, of the same shape.
    """
    scale = np.float32(255.0)
    mean = scale * np.asarray(preprocessing.mean, dtype=np.float32)[:, None, None]
    std = scale * np.asarray(preprocessing.std, dtype=np.float32)[:, None, None]
    result: NDArray[np.float32] = (images.astype(np.float32) - mean) / std
    return result


def check_normalised(inputs: NDArray[np.float32], preprocessing: Preprocessing) -> None:
    """Refuse floats that are pixels 0..255, not normalised inputs.

    Args:
        inputs: Network inputs, (samples, channels, height, width).
        preprocessing: The preprocessing that the manifest states.

    Raises:
        InputError: A value is far outside of what any pixel becomes. Noise somewhat beyond that is accepted.
    """
    reach = max(max(mean, 1.0 - mean) / std for mean, std in zip(preprocessing.mean, preprocessing.std, strict=True))
    largest = float(np.abs(inputs).max(initial=0.0))
    if largest > _MOST_TIMES_REACH * reach:
        raise InputError(
            f"Floats in `images` must be normalised, with values up to about {reach:.3g}, got {largest:.6g}. Give "
            "uint8 pixels, which are normalised for you, or compute (pixel / 255 - mean) / std first."
        )


@dataclass(frozen=True, eq=False)
class LoadedSample:
    """A sample as it was read from a file.

    Attributes:
        pixels: Pixels or bytes of features, (channels, height, width).
        heard: The part of a longer sound that it is; None for a whole file.
    """

    pixels: NDArray[np.uint8]
    heard: Heard | None = None


def load_samples(path: Path, preprocessing: Preprocessing) -> tuple[LoadedSample, ...]:
    """Read the samples of a file: one of an image, and one for each window of a sound.

    Args:
        path: An image, or a sound for a network of speech.
        preprocessing: The preprocessing that the manifest states.

    Returns:
        The samples: several where `Preprocessing.long_sounds` is ``windows`` and the sound is long.

    Raises:
        DataError: If the file cannot be read; the message names it.
        InputError: If the network takes no such file.
    """
    if preprocessing.input_kind == "pixels":
        return (LoadedSample(load_image(path, preprocessing)),)
    if (preprocessing.height, preprocessing.width) != KEYWORD_SHAPE or preprocessing.color_mode != "L":
        raise InputError(
            f"Features of speech are {KEYWORD_SHAPE[0]}x{KEYWORD_SHAPE[1]}, but this network reads "
            f"{len(preprocessing.mean)} channels of {preprocessing.height}x{preprocessing.width}; "
            "give normalised arrays to EarlyExitSession.predict instead."
        )
    sound = read_wav(path)
    starts = window_starts(sound, KEYWORD_SAMPLES, preprocessing.long_sounds)
    return tuple(
        LoadedSample(
            keyword_features(sound[start : start + KEYWORD_SAMPLES])[None],
            heard_at(start, KEYWORD_SAMPLES, len(sound), SAMPLE_RATE_HZ),
        )
        for start in starts
    )


def load_sample(path: Path, preprocessing: Preprocessing) -> LoadedSample:
    """Read the one sample of a file.

    Args:
        path: An image, or a sound for a network of speech.
        preprocessing: The preprocessing that the manifest states.

    Returns:
        The sample.

    Raises:
        DataError: If the file cannot be read; the message names it.
        InputError: If the network takes no such file, or several windows of it.
    """
    samples = load_samples(path, preprocessing)
    if len(samples) > 1:
        raise InputError(
            f"Sound {str(path)!r} has {len(samples)} windows, for each of which this network gives an answer. Use "
            "`EarlyExitSession.samples_of`, which gives all of them to `stream`."
        )
    return samples[0]


def load_image(path: Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Pixels (channels, height, width) of an image file, turned upright and resized as the network expects.

    Raises DataError, naming the file, for anything that is not a whole image.

    Args:
        path: An image file.
        preprocessing: The preprocessing that the manifest states.

    Returns:
        Pixels, (channels, height, width).

    Raises:
        DataError: If the file cannot be read.
        InputError: If the network takes no image files.
    """
    if preprocessing.color_mode is None:
        raise InputError(
            f"This network reads {len(preprocessing.mean)} channels, which no image file has; "
            "give normalised arrays to EarlyExitSession.predict instead."
        )
    # Not before it is needed: a session that is given arrays does without Pillow.
    from offramp.data.image_decoding import ImageForm, decode_image, read_image_file

    form = ImageForm((preprocessing.height, preprocessing.width), preprocessing.color_mode)
    return decode_image(read_image_file(path), form).pixels.transpose(2, 0, 1)
