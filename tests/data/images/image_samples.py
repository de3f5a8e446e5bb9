"""One image in all formats, colour modes and orientations, written to disk with what must be read from each file."""

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16")
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
ORIENTATIONS = range(1, 9)
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{}"/></rdf:RDF></x:xmpmeta>'
)
Tag = Literal["none", "exif", "xmp"]


@dataclass(frozen=True)
class Sample:
    """One file: its content and what it is."""

    kind: str
    mode: str
    tag: Tag
    orientation: int
    data: bytes

    @property
    def name(self) -> str:
        mode = self.mode.replace(";", "")
        return f"{mode}-{self.tag}-{self.orientation}.{self.kind.lower()}"


def image_of(mode: str, size: tuple[int, int] = (6, 4)) -> Image.Image:
    """Random pixels in one mode; size is (width, height)."""
    rng = np.random.default_rng(7)
    colour = rng.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, size[::-1], dtype=np.uint16))
    if mode in ("LA", "PA"):
        # Pillow makes PA from no other mode, so it is put together from its two bands.
        made = Image.merge(mode, [Image.fromarray(colour[..., band].copy()) for band in (0, 3)])
        if mode == "PA":
            made.putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tobytes())
        return made
    if mode in ("RGBA", "CMYK"):
        return Image.frombytes(mode, size, colour.tobytes())
    return Image.fromarray(colour[..., :3].copy()).convert(mode)


def stored_for(upright: NDArray[Any], orientation: int) -> NDArray[Any]:
    """What a file with this orientation must hold, so that the upright image comes out (Exif 2.32)."""
    turned: dict[int, NDArray[Any]] = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }
    return turned[orientation]


def upright_of(stored: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The reverse: only the quarter turns are not their own."""
    return stored_for(stored, {6: 8, 8: 6}.get(orientation, orientation))


def encode(image: Image.Image, kind: str, tag: Tag, orientation: int) -> bytes | None:
    """The file; None where the format holds no such mode or tag."""
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    if tag == "exif":
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif.tobytes() if kind != "TIFF" else exif
    elif tag == "xmp":
        text = XMP.format(orientation)
        if kind == "PNG":
            options["pnginfo"] = PngInfo()
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", text)
        elif kind == "TIFF":
            options["tiffinfo"] = {700: text.encode()}
        else:
            options["xmp"] = text.encode()
    if tag != "none" and kind in ("BMP", "GIF"):
        return None
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **options)
    except (OSError, ValueError):
        return None
    return buffer.getvalue()


def samples(kinds: Sequence[str] = FORMATS, size: tuple[int, int] = (6, 4)) -> list[Sample]:
    """All files that can be written."""
    found = []
    for kind, mode in itertools.product(kinds, MODES):
        image = image_of(mode, size)
        tags: list[tuple[Tag, int]] = [("none", 1)]
        tags += [(tag, orientation) for tag in ("exif", "xmp") for orientation in ORIENTATIONS]
        for tag, orientation in tags:
            data = encode(image, kind, tag, orientation)
            if data is not None:
                found.append(Sample(kind, mode, tag, orientation, data))
    return found


def write(folder: Path, kinds: Sequence[str] = FORMATS, size: tuple[int, int] = (6, 4)) -> list[Path]:
    """Write all samples to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for sample in samples(kinds, size):
        (folder / sample.name).write_bytes(sample.data)
        paths.append(folder / sample.name)
    return paths


def is_transparent(path: Path) -> bool:
    with Image.open(path) as image:
        return bool(np.asarray(image.convert("RGBA"))[..., 3].min() < 255)
