"""From an image file to pixels: the one function behind training data, sessions and `offramp predict`."""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from offramp.errors import DataError
from offramp.files.safe_files import read_file

MAX_PIXELS = 50_000_000
MAX_FILE_BYTES = 256 * 2**20

# Only formats that decode to pixels by themselves: no EPS, which would start another program.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_GREY_MODES = frozenset(("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N"))
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
_ORIENTATION_TAG = 0x0112
_XMP_ORIENTATION = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>)\s*([1-8])""")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets an image upright, by its orientation (Exif 2.32, tag Orientation)."""

ColorMode = Literal["L", "RGB"]
"""Grey or colour, as Pillow names it."""


@dataclass(frozen=True)
class EncodedImage:
    """Content of an image file.

    Attributes:
        where: Name of the file in messages.
        data: The bytes.
    """

    where: str
    data: bytes


@dataclass(frozen=True)
class ImageForm:
    """The form that an image is brought to.

    Attributes:
        size: Height and width in pixels; the aspect ratio is not kept. None: the size of the image.
        color_mode: Grey or colour; None: grey for grey images, colour for others.
    """

    size: tuple[int, int] | None = None
    color_mode: ColorMode | None = None


AS_STORED = ImageForm()
"""Every image in its own size and its own number of channels."""


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image as pixels.

    Attributes:
        pixels: The pixels, (height, width, channels), with 1 channel for grey and 3 for colour.
        bits: Bits per value in the file, 8 or 16; the upper 8 of 16 are kept.
    """

    pixels: NDArray[np.uint8]
    bits: Literal[8, 16]


def read_image_file(path: Path) -> EncodedImage:
    """Read the bytes of an image file.

    Args:
        path: The file.

    Returns:
        The bytes, named by the path.

    Raises:
        DataError: The file does not exist, cannot be read, or is too large.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DataError(
                f"Image {str(path)!r} must have at most {MAX_FILE_BYTES} bytes. Scale it down or remove it."
            )
        return EncodedImage(repr(str(path)), read_file(path))
    except FileNotFoundError as exc:
        raise DataError(f"Image {str(path)!r} does not exist.") from exc
    except OSError as exc:
        raise DataError(f"Image {str(path)!r} cannot be read: {exc.strerror or exc}.") from exc


def decode_image(encoded: EncodedImage, form: ImageForm = AS_STORED) -> DecodedImage:
    """Decode an image.

    The steps, in order: the first frame is taken; it is set upright by its orientation tag (Exif, otherwise XMP);
    values of 16 bits are cut to their upper 8; palettes become colours; transparency is dropped, and transparent pixels
    keep their stored colour; colour profiles are ignored; the image becomes grey or colour; it is scaled with a
    bilinear filter that averages where it shrinks.

    Args:
        encoded: The image.
        form: The form of the result.

    Returns:
        The pixels.

    Raises:
        DataError: The image is damaged, too large or of an unknown format.
    """
    try:
        with _open(encoded) as image:
            if form.size is not None:
                # JPEG can be decoded at a fraction of its size; twice the target loses nothing visible.
                image.draft(None, (2 * max(form.size), 2 * max(form.size)))
            image.load()
            bits: Literal[8, 16] = 16 if image.mode.startswith("I;16") else 8
            plain = _plain(_upright(image), encoded.where, form.color_mode)
        if form.size is not None and plain.size != (form.size[1], form.size[0]):
            plain = plain.resize((form.size[1], form.size[0]), Image.Resampling.BILINEAR)
        pixels = np.asarray(plain, dtype=np.uint8)
    except DataError:
        raise
    # Pillow's decoders raise many types of errors on damaged files.
    except Exception as exc:
        raise DataError(_damaged(encoded.where, exc)) from exc
    return DecodedImage(pixels[:, :, None] if pixels.ndim == 2 else pixels, bits)


def upright_size(encoded: EncodedImage) -> tuple[int, int]:
    """Read the size that `decode_image` would give an image in its own size, from the header where possible.

    Args:
        encoded: The image.

    Returns:
        Height and width in pixels.

    Raises:
        DataError: The image is damaged, too large or of an unknown format.
    """
    try:
        with _open(encoded) as image:
            if image.format == "TIFF":
                # Pillow turns these when it decodes them, and states the turned size before or after that.
                image.load()
            turned = orientation_of(image) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)
    except DataError:
        raise
    except Exception as exc:  # the same decoders, the same variety of errors
        raise DataError(_damaged(encoded.where, exc)) from exc


def orientation_of(image: Image.Image) -> int:
    """Read the orientation of an opened image.

    Releases of Pillow differ in whether they heed XMP, and in which files.

    Args:
        image: The image, opened with Pillow.

    Returns:
        1 to 8 as Exif numbers them; 1 (upright) where the file states none or an unknown one.
    """
    found = image.getexif().get(_ORIENTATION_TAG)
    if found is None:
        for key in ("xmp", "XML:com.adobe.xmp"):
            text = image.info.get(key, b"")
            match = _XMP_ORIENTATION.search(text.encode("utf-8", "replace") if isinstance(text, str) else text)
            if match:
                return int(match[1])
    return found if found in _TURNS else 1


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(orientation_of(image))
    return image if turn is None else image.transpose(turn)


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


def _plain(image: Image.Image, where: str, color_mode: ColorMode | None) -> Image.Image:
    """Eight bits, grey or colour, without transparency."""
    if image.mode in ("I", "F"):
        raise DataError(f"Image {where} must have 8 or 16 bits per pixel, but it has 32. Convert it to 8 bits.")
    if image.mode.startswith("I;16"):
        # Pillow would clip 16 bits to 255 instead of scaling them.
        plain = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    else:
        straight = image.convert(_PREMULTIPLIED.get(image.mode, image.mode))
        plain = straight.convert("L" if image.mode in _GREY_MODES else "RGB")
    return plain if color_mode is None else plain.convert(color_mode)


def _damaged(where: str, reason: object) -> str:
    return f"Image {where} cannot be decoded ({reason}): it is damaged, cut short or no image. Replace or remove it."


def _too_large(where: str, reason: str) -> str:
    return f"Image {where} must have at most {MAX_PIXELS} pixels: {reason}. Scale it down or remove it."
