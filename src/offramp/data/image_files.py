"""Image files (JPEG, PNG, ...) to arrays, with limits, because files may come from any source."""

import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from offramp.errors import DataError
from offramp.progress import Task

MAX_PIXELS = 50_000_000
MAX_TOTAL_BYTES = 16 * 2**30
IMAGE_SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))

# Only formats that decode to pixels by themselves: no EPS, which would start another program.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_GREY_MODES = frozenset(("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N"))
# Below this size an image decodes faster than threads can take turns (measured on 32x32 JPEGs).
_THREADING_BYTES = 16_384
_MAX_NAMED = 5


@dataclass(frozen=True)
class EncodedImage:
    """Content of an image file.

    Attributes:
        where: Name of the file in messages.
        data: The bytes.
    """

    where: str
    data: bytes


def decode_image(encoded: EncodedImage, image_size: int | None = None) -> NDArray[np.uint8]:
    """Decode an image.

    Args:
        encoded: The image.
        image_size: Height and width of the result in pixels; the aspect ratio is not kept. None: the size of the image.

    Returns:
        Pixels, (height, width, channels), with 1 channel for grey images and 3 for others; transparency is dropped.

    Raises:
        DataError: The image is damaged, too large or of an unknown format.
    """
    try:
        with _open(encoded) as image:
            if image_size is not None:
                # JPEG can be decoded at a fraction of its size; twice the target loses nothing visible.
                image.draft(None, (2 * image_size, 2 * image_size))
            upright = ImageOps.exif_transpose(image) if "exif" in image.info else image
            plain = _eight_bits(upright, encoded.where)
            if image_size is not None and plain.size != (image_size, image_size):
                plain = plain.resize((image_size, image_size), Image.Resampling.BILINEAR)
            pixels = np.asarray(plain, dtype=np.uint8)
    except DataError:
        raise
    # Pillow's decoders raise many types of errors on damaged files.
    except Exception as exc:
        raise DataError(_damaged(encoded.where, exc)) from exc
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def decode_images(
    chunks: Iterable[list[EncodedImage]], total: int, *, source: str, image_size: int | None, task: Task
) -> NDArray[np.uint8]:
    """Decode all images of one data set; grey ones get 3 channels if any image has colour.

    Args:
        chunks: The images, in lists.
        total: Number of images.
        source: Name of the data set in messages.
        image_size: Height and width of the result in pixels; None: the common size of the images.
        task: Shows progress.

    Returns:
        Pixels, (samples, channels, height, width).

    Raises:
        DataError: The images differ in size and ``image_size`` is None, there are none or more than ``total``, they
            need
            too much memory, or one is invalid.
    """
    stack = _Stack(total, source)
    sizes: Counter[tuple[int, int]] = Counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for chunk in chunks:
            large = sum(len(encoded.data) for encoded in chunk) > _THREADING_BYTES * len(chunk)
            mapped = pool.map if large else map
            if len(sizes) > 1:
                # This ends in an error anyway; the headers are enough to count the sizes.
                sizes.update(mapped(_upright_size, chunk))
            else:
                for pixels in mapped(partial(decode_image, image_size=image_size), chunk):
                    sizes[pixels.shape[:2]] += 1
                    if len(sizes) == 1:
                        stack.add(pixels)
            task.update(sizes.total() / max(total, 1), f"{sizes.total()} of {total}")
    if len(sizes) > 1:
        raise DataError(_sizes_message(source, sizes))
    return stack.pixels()


def resize(images: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """Scale images.

    Args:
        images: Pixels, (samples, channels, height, width).
        image_size: New height and width in pixels.

    Returns:
        The scaled images; the images themselves if they have the size.
    """
    if images.shape[2:] == (image_size, image_size):
        return images
    resized = np.empty((*images.shape[:2], image_size, image_size), dtype=np.uint8)
    for source, target in zip(images, resized, strict=True):
        for plane, scaled in zip(source, target, strict=True):
            scaled[...] = Image.fromarray(plane).resize((image_size, image_size), Image.Resampling.BILINEAR)
    return resized


class _Stack:
    """Fills one array image by image, so that the pixels are in memory once."""

    def __init__(self, total: int, source: str) -> None:
        self._total = total
        self._source = source
        self._array: NDArray[np.uint8] | None = None
        self._count = 0

    def add(self, pixels: NDArray[np.uint8]) -> None:
        height, width, channels = pixels.shape
        if self._array is None:
            self._array = self._allocate(channels, height, width)
        elif channels > self._array.shape[1]:
            grey = self._array
            self._array = self._allocate(channels, height, width)
            self._array[: self._count] = grey[: self._count]
        if self._count == self._total:
            raise DataError(f"{self._source!r} must hold {self._total} images, as it states, but there are more.")
        self._array[self._count] = pixels.transpose(2, 0, 1)
        self._count += 1

    def pixels(self) -> NDArray[np.uint8]:
        if self._array is None:
            raise DataError(f"{self._source!r} must hold images, but it has none.")
        return self._array[: self._count]

    def _allocate(self, channels: int, height: int, width: int) -> NDArray[np.uint8]:
        needed = self._total * channels * height * width
        if needed > MAX_TOTAL_BYTES:
            raise DataError(
                f"The decoded images of {self._source!r} must fit into {MAX_TOTAL_BYTES / 2**30:.0f} GiB, but "
                f"{self._total} images of {height}x{width} need {needed / 2**30:.0f} GiB. Give a smaller `image_size`."
            )
        return np.empty((self._total, channels, height, width), dtype=np.uint8)


def _open(encoded: EncodedImage) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(encoded.data), formats=_FORMATS)
    except Image.DecompressionBombError as exc:
        raise DataError(_too_large(encoded.where, str(exc))) from exc
    except UnidentifiedImageError as exc:
        raise DataError(_damaged(encoded.where, "no known image format")) from exc
    if image.width * image.height > MAX_PIXELS:
        raise DataError(_too_large(encoded.where, f"it has {image.width}x{image.height}"))
    return image


def _eight_bits(image: Image.Image, where: str) -> Image.Image:
    if image.mode in ("I", "F"):
        raise DataError(f"Image {where} must have 8 or 16 bits per pixel, but it has 32. Convert it to 8 bits.")
    if image.mode.startswith("I;16"):
        # Pillow would clip 16 bits to 255 instead of scaling them.
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    return image.convert("L" if image.mode in _GREY_MODES else "RGB")


def _upright_size(encoded: EncodedImage) -> tuple[int, int]:
    """(height, width) as ``decode_image`` would give it, read from the header alone."""
    try:
        with _open(encoded) as image:
            turned = "exif" in image.info and image.getexif().get(0x0112, 1) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)
    except DataError:
        raise
    except Exception as exc:  # the same decoders, the same variety of errors
        raise DataError(_damaged(encoded.where, exc)) from exc


def _damaged(where: str, reason: object) -> str:
    return f"Image {where} cannot be decoded ({reason}): it is damaged, cut short or no image. Replace or remove it."


def _too_large(where: str, reason: str) -> str:
    return f"Image {where} must have at most {MAX_PIXELS} pixels: {reason}. Scale it down or remove it."


def _sizes_message(source: str, sizes: Counter[tuple[int, int]]) -> str:
    named = ", ".join(f"{h}x{w} ({count} images)" for (h, w), count in sizes.most_common(_MAX_NAMED))
    more = f" and {len(sizes) - _MAX_NAMED} more" if len(sizes) > _MAX_NAMED else ""
    return (
        f"All images of {source!r} must have one size (height x width), got {named}{more}. "
        "Give `image_size` (such as 32) to resize them."
    )


def in_chunks(images: Iterable[EncodedImage], size: int = 256) -> Iterator[list[EncodedImage]]:
    """Group images.

    Args:
        images: The images.
        size: Largest number of images in a list, at least 1.

    Yields:
        Lists of images, in order.
    """
    chunk: list[EncodedImage] = []
    for encoded in images:
        chunk.append(encoded)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
