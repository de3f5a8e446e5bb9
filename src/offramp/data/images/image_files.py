"""Image files (JPEG, PNG, ...) to arrays, with limits, because files may come from any source."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from offramp.data.images.image_decoding import DecodedImage, EncodedImage, ImageForm, decode_image, upright_size
from offramp.data.signals.array_file import MAX_TOTAL_BYTES
from offramp.data.stored_samples import IN_MEMORY, SampleWriter, StoragePlace, StoredSamples
from offramp.errors import DataError
from offramp.progress import Task

IMAGE_SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))

# Below this size an image decodes faster than threads can take turns (measured on 32x32 JPEGs).
_THREADING_BYTES = 16_384
_MAX_NAMED = 5
# 12 bits in 16 fill 16 of the 256 levels that are kept.
_FEW_LEVELS = 17


def decode_images(
    chunks: Iterable[list[EncodedImage]],
    total: int,
    *,
    source: str,
    image_size: int | None,
    task: Task,
    place: StoragePlace = IN_MEMORY,
) -> NDArray[np.uint8] | StoredSamples:
    """Decode all images of one data set; grey ones get 3 channels if any image has colour.

    Args:
        chunks: The images, in lists.
        total: Number of images.
        source: Name of the data set in messages.
        image_size: Height and width of the result in pixels; None: the common size of the images.
        task: Shows progress.
        place: Where pixels go that are too large for memory.

    Returns:
        Pixels, (samples, channels, height, width).

    Raises:
        DataError: The images differ in size and ``image_size`` is None, there are none or more than ``total``, they
            need too much memory, one is invalid, or all of 16 bits use only the lowest of them.
    """
    stack = _Stack(total, source, place)
    try:
        return _decoded(chunks, total, stack, source=source, image_size=image_size, task=task)
    except BaseException:
        stack.discard()
        raise


def _decoded(
    chunks: Iterable[list[EncodedImage]],
    total: int,
    stack: "_Stack",
    *,
    source: str,
    image_size: int | None,
    task: Task,
) -> NDArray[np.uint8] | StoredSamples:
    levels = _SixteenBitLevels(source)
    form = ImageForm(None if image_size is None else (image_size, image_size))
    sizes: Counter[tuple[int, int]] = Counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for chunk in chunks:
            large = sum(len(encoded.data) for encoded in chunk) > _THREADING_BYTES * len(chunk)
            mapped = pool.map if large else map
            if len(sizes) > 1:
                # This ends in an error anyway; the headers are enough to count the sizes.
                sizes.update(mapped(upright_size, chunk))
            else:
                for image in mapped(partial(decode_image, form=form), chunk):
                    sizes[image.pixels.shape[:2]] += 1
                    levels.add(image)
                    if len(sizes) == 1:
                        stack.add(image.pixels)
            task.update(sizes.total() / max(total, 1), f"{sizes.total()} of {total}")
    if len(sizes) > 1:
        raise DataError(_sizes_message(source, sizes))
    levels.check()
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


class _SixteenBitLevels:
    """Notices images of 10 or 12 bits that are stored as 16: their upper 8 bits are nearly all 0."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._count = 0
        self._highest = 0

    def add(self, image: DecodedImage) -> None:
        if image.bits == 16:
            self._count += 1
            self._highest = max(self._highest, int(image.pixels.max(initial=0)))

    def check(self) -> None:
        if self._count and self._highest < _FEW_LEVELS:
            raise DataError(
                f"Images of 16 bits must use the whole range 0..65535, but all {self._count} of {self._source!r} lie "
                f"in 0..{256 * self._highest + 255}: as 8 bits, only {self._highest + 1} grey levels would be left. "
                "Scale them to the whole range, or store them with 8 bits."
            )


class _Stack:
    """Fills one array image by image, so that the pixels are in memory once; a large one is filled on disk."""

    def __init__(self, total: int, source: str, place: StoragePlace) -> None:
        self._total = total
        self._source = source
        self._place = place
        self._writer: SampleWriter | None = None
        self._channels = 0
        self._count = 0

    def add(self, pixels: NDArray[np.uint8]) -> None:
        height, width, channels = pixels.shape
        if self._writer is None:
            self._writer = self._begin(channels, height, width)
        elif channels > self._channels:
            grey = self._writer
            self._writer = self._begin(channels, height, width)
            grey.move_to(self._writer, channels)
        if self._count == self._total:
            raise DataError(f"{self._source!r} must hold {self._total} images, as it states, but there are more.")
        self._writer.add(np.broadcast_to(pixels.transpose(2, 0, 1), (self._channels, height, width))[None])
        self._count += 1

    def pixels(self) -> NDArray[np.uint8] | StoredSamples:
        if self._writer is None:
            raise DataError(f"{self._source!r} must hold images, but it has none.")
        found: NDArray[np.uint8] | StoredSamples = self._writer.finish()
        return found

    def discard(self) -> None:
        if self._writer is not None:
            self._writer.discard()

    def _begin(self, channels: int, height: int, width: int) -> SampleWriter:
        needed = self._total * channels * height * width
        if needed > MAX_TOTAL_BYTES and self._place.most_bytes_in_memory >= needed:
            raise DataError(
                f"The decoded images of {self._source!r} must fit into {MAX_TOTAL_BYTES / 2**30:.0f} GiB, but "
                f"{self._total} images of {height}x{width} need {needed / 2**30:.0f} GiB. Give a smaller `image_size`."
            )
        self._channels = channels
        return SampleWriter(self._total, (channels, height, width), np.uint8, self._place)


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
