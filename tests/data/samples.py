"""Small data sets for the tests of the readers, written to disk in each format."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from offramp.data.array_cache import ArrayCache
from offramp.data.raw_data import RawDataset, RawPart, ReadOptions
from offramp.progress import SilentReporter

CIFAR10 = Path(__file__).parents[3] / "shared" / "data" / "cifar10"


def options(cache: Path, **changes: Any) -> ReadOptions:
    settings: dict[str, Any] = {"image_column": None, "label_column": None, "image_size": None}
    return ReadOptions(**(settings | changes), cache=ArrayCache(cache), reporter=SilentReporter())


def random_images(count: int, shape: tuple[int, ...] = (4, 5, 3), seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def encoded(pixels: NDArray[Any], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def huge_png(width: int = 30_000, height: int = 30_000) -> bytes:
    """A few bytes that say they are an image of 900 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


def write_class_folders(root: Path, counts: dict[str, int], shape: tuple[int, ...] = (4, 5, 3)) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for index, pixels in enumerate(random_images(count, shape, seed=number)):
            (root / name / f"{index:03}.png").write_bytes(encoded(pixels))
    return root


def role(dataset: RawDataset, name: str) -> RawPart:
    (part,) = [part for part in dataset.parts if part.role == name]
    return part
