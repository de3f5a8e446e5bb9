"""Image files and pixels to network inputs, as the manifest says."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import DataError, InputError
from offramp.export.manifest import Preprocessing


def normalise(images: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Pixels 0..255 of shape (..., channels, height, width) to network inputs of the same shape."""
    mean = np.asarray(preprocessing.mean, dtype=np.float32)[:, None, None]
    std = np.asarray(preprocessing.std, dtype=np.float32)[:, None, None]
    result: NDArray[np.float32] = (images.astype(np.float32) / np.float32(255.0) - mean) / std
    return result


def load_image(path: Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Pixels (channels, height, width) of an image file, turned and resized as the network expects.

    Raises DataError, naming the file, for anything that is not a whole image.
    """
    from PIL import Image, ImageOps

    if preprocessing.color_mode is None:
        raise InputError(
            f"This network reads {len(preprocessing.mean)} channels, which no image file has; "
            "give normalised arrays to EarlyExitSession.predict instead."
        )
    size = (preprocessing.width, preprocessing.height)
    try:
        with Image.open(path) as image:
            # A camera's note on how it was held is part of the picture.
            turned = ImageOps.exif_transpose(_eight_bit(image)).convert(preprocessing.color_mode)
        pixels = np.asarray(turned.resize(size, Image.Resampling.BILINEAR), dtype=np.uint8)
    except FileNotFoundError as exc:
        raise DataError(f"Image {str(path)!r} does not exist.") from exc
    # What Pillow's readers raise for damaged files of their many formats.
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, ArithmeticError, LookupError, MemoryError) as exc:
        raise DataError(f"{str(path)!r} must be an image file, but it cannot be read as one: {exc}") from exc
    except Image.DecompressionBombError as exc:
        raise DataError(f"Image {str(path)!r} is too large to be opened safely: {exc}") from exc
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _eight_bit(image: Any) -> Any:
    """Images with 16 bits per pixel scaled down; Pillow's own conversion cuts everything above 255 off."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray((np.clip(values, 0, 65535) >> 8).astype(np.uint8))
