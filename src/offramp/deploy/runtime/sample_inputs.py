"""Image files, sounds and pixels to network inputs, as the manifest says."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.data.sound.sound_features import KEYWORD_SHAPE, keyword_features
from offramp.data.sound.wav import read_wav
from offramp.deploy.bundle.manifest_records import Preprocessing
from offramp.errors import InputError


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


def load_sample(path: Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Pixels (channels, height, width) of an image file, or features of a WAV file where the network hears.

    Raises DataError, naming the file, for anything else.

    Args:
        path: An image, or a sound for a network of speech.
        preprocessing: The preprocessing that the manifest states.

    Returns:
        Pixels, (channels, height, width).

    Raises:
        DataError: If the file cannot be read.
        InputError: If the network takes no such file.
    """
    if preprocessing.input_kind == "pixels":
        return load_image(path, preprocessing)
    if (preprocessing.height, preprocessing.width) != KEYWORD_SHAPE or preprocessing.color_mode != "L":
        raise InputError(
            f"Features of speech are {KEYWORD_SHAPE[0]}x{KEYWORD_SHAPE[1]}, but this network reads "
            f"{len(preprocessing.mean)} channels of {preprocessing.height}x{preprocessing.width}; "
            "give normalised arrays to EarlyExitSession.predict instead."
        )
    return keyword_features(read_wav(path))[None]


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
