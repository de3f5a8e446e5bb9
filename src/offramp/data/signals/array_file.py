"""Files of NumPy arrays, read without unpickling and without filling the memory."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import DataError
from offramp.files.safe_files import open_to_read

MAX_TOTAL_BYTES = 16 * 2**30
"""Largest size of what a file may unpack or decode to."""

_LARGEST_RATIO = 100
_ALWAYS_ALLOWED_BYTES = 256 * 2**20


def load_archive(path: Path) -> dict[str, NDArray[Any]]:
    """Read a NumPy archive.

    Args:
        path: An ``.npz`` file.

    Returns:
        Its arrays by their names.

    Raises:
        DataError: The file is damaged, unpacks to too much, or holds Python objects.
        PermissionError: The file may not be read.
    """
    if not zipfile.is_zipfile(path):
        raise DataError(f"{str(path)!r} must be an .npz archive, but it is not: it is cut short, or of another kind.")
    try:
        with zipfile.ZipFile(path) as archive:
            total_bytes = sum(member.file_size for member in archive.infolist())
        if total_bytes > MAX_TOTAL_BYTES:
            raise DataError(
                f"{str(path)!r} must unpack to at most {MAX_TOTAL_BYTES / 2**30:.0f} GiB, "
                f"but it says {total_bytes / 2**30:.0f} GiB."
            )
        # Images shrink to a tenth at most; a thousand times less is a file that is made to fill the memory.
        allowed = max(_ALWAYS_ALLOWED_BYTES, _LARGEST_RATIO * path.stat().st_size)
        if total_bytes > allowed:
            raise DataError(
                f"{str(path)!r} must unpack to at most {_LARGEST_RATIO} times its size, but it says "
                f"{total_bytes / 2**20:,.0f} MiB, and has {path.stat().st_size / 2**20:,.2f} MiB. If it is right, save "
                "it with numpy.savez, which does not compress."
            )
        with np.load(path, allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name]) for name in arrays.files}
    except DataError:
        raise
    except PermissionError:
        raise
    # NumPy's and zipfile's parsers raise many types on damaged bytes (tokenize.TokenError among them).
    except Exception as exc:
        raise DataError(
            f"{str(path)!r} cannot be read ({exc}): it is damaged, or holds Python objects, which are never loaded. "
            "Save plain number arrays with numpy.savez."
        ) from exc


def load_array(path: Path) -> NDArray[Any]:
    """Read an array.

    Args:
        path: An ``.npy`` file.

    Returns:
        The array.

    Raises:
        DataError: The file is damaged, shorter than it says, or holds Python objects.
        PermissionError: The file may not be read.
    """
    try:
        with open_to_read(path) as stream:
            size = path.stat().st_size
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(stream)
            stated = int(np.prod(np.asarray(shape, dtype=object))) * dtype.itemsize
            # Memory is asked for before the bytes are read: a header that says more than there is would fill it.
            _check_header(stated, size, dtype)
            stream.seek(0)
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    except PermissionError:
        raise
    except Exception as exc:  # parsers of headers raise many types on damaged bytes
        raise DataError(
            f"{str(path)!r} cannot be read ({exc}): it is damaged, no .npy file, or holds Python objects, which are "
            "never loaded. Save a plain array of numbers with numpy.save."
        ) from exc


def _check_header(stated: int, size: int, dtype: np.dtype[Any]) -> None:
    if stated > size or dtype.hasobject:
        raise ValueError("the header says more than the file holds" if stated > size else "Python objects")
