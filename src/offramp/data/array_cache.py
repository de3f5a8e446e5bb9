"""Decoded arrays kept on disk, so that slow decoding is done once."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL
from numpy.typing import NDArray

from offramp.data.stored_samples import StoragePlace, StoredSamples
from offramp.files.safe_files import open_to_read, replacing

_FORMAT = "1"
_BLOCK_BYTES = 1 << 20

_Number = TypeVar("_Number", np.uint8, np.float32)


def default_cache_dir() -> Path:
    """Folder of the cache: ``OFFRAMP_CACHE``, or ``offramp`` in the user's cache folder (``XDG_CACHE_HOME`` or
    ``~/.cache``).
    """
    own = os.environ.get("OFFRAMP_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "offramp"


class ArrayCache:
    """Stores arrays of uint8 or float32 by key; a damaged or unwritable cache costs time, but changes no result."""

    def __init__(self, folder: Path, most_bytes_in_memory: int = 2**62) -> None:
        """Use a folder.

        Args:
            folder: Folder of the cache; it is made when an array is stored.
            most_bytes_in_memory: Larger arrays stay on disk, and are read by rows.
        """
        self._folder = folder / "decoded"
        self.place = StoragePlace(self._folder, most_bytes_in_memory)

    def get(self, key: str, make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Read an array of bytes into memory, or make and store it.

        Args:
            key: Key of the array, which is part of a file name.
            make: Makes an array of four axes if none is stored.

        Returns:
            The array.
        """
        found = self._get(key, make, np.uint8, 2**62)
        return found[:] if isinstance(found, StoredSamples) else found

    def get_bytes(
        self, key: str, make: Callable[[], NDArray[np.uint8] | StoredSamples], parts: int = 1
    ) -> NDArray[np.uint8] | StoredSamples:
        """Read samples of bytes, or make and store them.

        Args:
            key: Key of the samples, which is part of a file name.
            make: Makes samples of four axes if none are stored.
            parts: So many such arrays are read, which share the memory.

        Returns:
            The samples: an array, or rows on disk where they are too large for memory.
        """
        return self._get(key, make, np.uint8, self.place.most_bytes_in_memory // parts)

    def get_floats(
        self, key: str, make: Callable[[], NDArray[np.float32] | StoredSamples]
    ) -> NDArray[np.float32] | StoredSamples:
        """Read samples of floats, or make and store them.

        Args:
            key: Key of the samples, which is part of a file name.
            make: Makes samples of four axes if none are stored.

        Returns:
            The samples: an array, or rows on disk where they are too large for memory.
        """
        return self._get(key, make, np.float32, self.place.most_bytes_in_memory)

    def _get(
        self, key: str, make: Callable[[], NDArray[_Number] | StoredSamples], dtype: type[_Number], most_bytes: int
    ) -> NDArray[_Number] | StoredSamples:
        path = self._folder / f"{key}.npy"
        stored = _read(path, dtype, most_bytes)
        if stored is not None:
            return stored
        array = make()
        if isinstance(array, StoredSamples):
            array.path.replace(path)
            return StoredSamples(path)
        _write(path, array)
        return array


def content_key(path: Path, *settings: object) -> str:
    """Compute the key of what is decoded from one file; it changes with every byte of the file.

    Hashing a file takes a hundredth of the time that decoding its images takes.

    Args:
        path: The file.
        *settings: Settings of the decoding.

    Returns:
        The key, 40 hexadecimal digits.
    """
    digest = _digest_of(settings)
    with open_to_read(path) as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()[:40]


def listing_key(root: Path, paths: Iterable[Path], *settings: object) -> str:
    """Compute the key of what is decoded from many files: it depends on their names, sizes and times of change.

    Args:
        root: Folder of all files.
        paths: The files, in order.
        *settings: Settings of the decoding.

    Returns:
        The key, 40 hexadecimal digits.
    """
    digest = _digest_of((*settings, root.resolve()))
    for path in paths:
        status = path.stat()
        # The time of change cannot be set back, unlike that of modification, which copying tools do.
        times = (status.st_mtime_ns, status.st_ctime_ns)
        digest.update(repr((path.relative_to(root).as_posix(), status.st_size, times)).encode())
    return digest.hexdigest()[:40]


def derived_key(key: str, *settings: object) -> str:
    """Compute the key of what is made of something that has a key.

    Args:
        key: That key.
        *settings: Settings of the making; ``repr`` of them must name all that matters.

    Returns:
        The key, 40 hexadecimal digits.
    """
    return _digest_of((key, *map(repr, settings))).hexdigest()[:40]


def _digest_of(settings: tuple[object, ...]) -> "hashlib._Hash":
    # Decoders differ in the last bit from release to release.
    return hashlib.sha256(repr((_FORMAT, PIL.__version__, *map(str, settings))).encode())


def _read(path: Path, dtype: type[_Number], most_bytes: int) -> NDArray[_Number] | StoredSamples | None:
    try:
        if path.stat().st_size > most_bytes and not path.is_symlink():
            stored = StoredSamples(path)
            return stored if stored.dtype == dtype else None
        with open_to_read(path, follow_links=False) as stream:
            array = np.load(stream, allow_pickle=False)
    # A damaged file is made again; NumPy's parser raises many types on one (tokenize.TokenError among them).
    except Exception:
        return None
    return array if isinstance(array, np.ndarray) and array.dtype == dtype and array.ndim == 4 else None


def _write(path: Path, array: NDArray[np.generic]) -> None:
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            np.save(stream, array, allow_pickle=False)
