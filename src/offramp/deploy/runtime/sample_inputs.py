"""Image files, sounds and pixels to network inputs, as the manifest says."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.sound.sound_features import KEYWORD_SHAPE, keyword_features
from offramp.data.sound.wav import read_wav
from offramp.deploy.bundle.manifest_records import Preprocessing
from offramp.errors import DataError, InputError

MAX_PIXELS = 50_000_000

# Only formats that decode to pixels by themselves: no EPS, which would start another program.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def normalise(images: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Pixels 0..255 of shape (..., channels, height, width) to network inputs of the same shape.

    Args:
        images: Pixels, (samples, channels, height, width).
        preprocessing: The preprocessing that the manifest states.

    Returns:
        Network inputs in float32, of the same shape.
    """
    mean = np.asarray(preprocessing.mean, dtype=np.float32)[:, None, None]
    std = np.asarray(preprocessing.std, dtype=np.float32)[:, None, None]
    result: NDArray[np.float32] = (images.astype(np.float32) / np.float32(255.0) - mean) / std
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
    from PIL import Image, ImageOps

    if preprocessing.color_mode is None:
        raise InputError(
            f"This network reads {len(preprocessing.mean)} channels, which no image file has; "
            "give normalised arrays to EarlyExitSession.predict instead."
        )
    width, height = size = (preprocessing.width, preprocessing.height)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"Image {str(path)!r} must have at most {MAX_PIXELS} pixels. Scale it down.")
            # A JPEG can be decoded at a fraction of its size; training images were, by the same rule.
            image.draft(None, (2 * width, 2 * height))
            turned = _eight_bits(ImageOps.exif_transpose(image), path).convert(preprocessing.color_mode)
        pixels = np.asarray(turned.resize(size, Image.Resampling.BILINEAR), dtype=np.uint8)
    except DataError:
        raise
    except FileNotFoundError as exc:
        raise DataError(f"Image {str(path)!r} does not exist.") from exc
    # Pillow's decoders raise many types on damaged files; whatever it is, the file cannot be used.
    except Exception as exc:
        raise DataError(f"{str(path)!r} must be an image file, but it cannot be decoded: {exc}.") from exc
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _eight_bits(image: Any, path: Path) -> Any:
    """16 bits per pixel scaled down, where Pillow's own conversion would cut off everything above 255."""
    from PIL import Image

    if image.mode in ("I", "F"):
        raise DataError(f"Image {str(path)!r} must have 8 or 16 bits per pixel, but it has 32. Convert it to 8 bits.")
    if not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
