"""Samples in a file on disk, which are read when they are asked for: data sets larger than memory."""

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from copy import copy as copy_of
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from offramp.errors import DataError
from offramp.files.safe_files import open_to_read

_CHUNK_BYTES = 8 * 2**20


class StoredSamples:
    """Rows of an array of four axes in an ``.npy`` file.

    It stands for the array where samples are taken by rows: ``stored[rows]`` reads these rows, and nothing else stays
    in memory. Files are read, not mapped, so that pages of the file do not count as memory of the process. Several
    threads may read at once.
    """

    def __init__(self, path: Path, rows: NDArray[np.int64] | None = None) -> None:
        """Open a file.

        Args:
            path: The file.
            rows: Rows of the array that are the samples, in this order; None: all.

        Raises:
            ValueError: The file is damaged or cut short, or is no array of uint8 or float32 with four axes.
            OSError: The file cannot be opened.
        """
        self.path = path
        self._stream = open_to_read(path)
        shape, fortran_order, dtype = _read_header(path, self._stream)
        self._offset = self._stream.tell()
        self._sample_shape = tuple(shape[1:])
        self._total = shape[0] if shape else 0
        if len(shape) != 4 or fortran_order or dtype not in (np.uint8, np.float32):
            raise ValueError(f"{str(path)!r} must hold uint8 or float32 of four axes, got {dtype} of {shape}.")
        self.dtype: np.dtype[Any] = dtype
        if self._offset + self._total * self._row_bytes != path.stat().st_size:
            raise ValueError(f"{str(path)!r} must hold {self._total} samples, but it has another size.")
        self.rows = rows

    @property
    def rows_in_file(self) -> NDArray[np.int64]:
        """Rows of the array in the file that are the samples."""
        return np.arange(self._total) if self.rows is None else self.rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples, channels, height and width."""
        return (self._total if self.rows is None else len(self.rows), *self._sample_shape)

    @property
    def ndim(self) -> int:
        """Number of axes: 4."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all samples."""
        return len(self) * self._row_bytes

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            wanted = np.arange(start, stop, step)
            if self.rows is None and step == 1:
                return self._read_block(start, max(0, stop - start))
        else:
            wanted = np.asarray(key)
            if wanted.dtype.kind == "b":
                wanted = np.flatnonzero(wanted)
            wanted = np.where(wanted < 0, wanted + len(self), wanted)
            if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
                raise IndexError(f"a sample must be below {len(self)}, got {key!r}")
        positions = wanted if self.rows is None else self.rows[wanted]
        found = np.empty((positions.size, *self._sample_shape), dtype=self.dtype)
        for place, position in zip(found, positions.reshape(-1).tolist(), strict=True):
            self._fill(place, position)
        return found.reshape(*positions.shape, *self._sample_shape)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for chunk in self.chunks():
            yield from chunk

    def chunks(self) -> Iterator[NDArray[Any]]:
        """Read all samples in parts of some megabytes.

        Yields:
            Consecutive samples.
        """
        size = max(1, _CHUNK_BYTES // self._row_bytes)
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def take(self, rows: NDArray[np.integer]) -> "StoredSamples":
        """Take some of the samples without reading them.

        Args:
            rows: Their indices.

        Returns:
            These samples, in this order, in the same file.
        """
        positions = np.asarray(rows, dtype=np.int64)
        taken = copy_of(self)
        taken.rows = positions if self.rows is None else self.rows[positions]
        return taken

    def astype(self, dtype: Any, *, copy: bool = True) -> Any:
        """Keep the type.

        Args:
            dtype: Type of the samples as they are stored.
            copy: Has no effect: what is read is always new.

        Returns:
            The samples themselves.

        Raises:
            TypeError: Another type is asked for.
        """
        if np.dtype(dtype) != self.dtype:
            raise TypeError(f"stored samples are {self.dtype}, not {np.dtype(dtype)}")
        return self

    def __array__(self, *_: Any, **__: Any) -> NDArray[Any]:
        raise TypeError("samples that are stored on disk are read by rows, never all at once")

    @property
    def _row_bytes(self) -> int:
        return math.prod(self._sample_shape) * self.dtype.itemsize

    def _read_block(self, start: int, count: int) -> NDArray[Any]:
        found = np.empty((count, *self._sample_shape), dtype=self.dtype)
        self._fill(found, start)
        return found

    def _fill(self, place: NDArray[Any], position: int) -> None:
        if not place.nbytes:
            return
        view, offset = memoryview(place.reshape(-1).view(np.uint8).data), self._offset + position * self._row_bytes
        done = 0
        while done < len(view):
            count = os.preadv(self._stream.fileno(), [view[done:]], offset + done)
            if count == 0:
                raise OSError(f"{str(self.path)!r} became shorter while it was read")
            done += count


def _read_header(path: Path, stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(stream)
    except OSError:
        raise
    # NumPy's parser raises many types on damaged bytes (tokenize.TokenError among them).
    except Exception as exc:
        raise ValueError(
            f"{str(path)!r} must be an array saved by numpy.save, but its header is damaged: {exc}"
        ) from exc


class StoragePlace:
    """Where arrays go that are too large for memory."""

    def __init__(self, folder: Path, most_bytes_in_memory: int) -> None:
        """Name a place.

        Args:
            folder: Folder of the files; it is made when one is written.
            most_bytes_in_memory: Larger arrays go into a file.
        """
        self.folder = folder
        self.most_bytes_in_memory = most_bytes_in_memory

    def begin_file(self, needed: int) -> BinaryIO:
        """Make a new file.

        Args:
            needed: Bytes that it will have.

        Returns:
            The file, open for writing; its name ends in ``.npy``.

        Raises:
            DataError: There is not enough room, or the folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
            if free < needed:
                raise DataError(
                    f"The decoded data need {needed / 2**30:.1f} GiB on disk, but {str(self.folder)!r} has "
                    f"{free / 2**30:.1f} GiB left. Name another folder with OFFRAMP_CACHE, or use a smaller size."
                )
            return cast(BinaryIO, tempfile.NamedTemporaryFile(dir=self.folder, suffix=".npy", delete=False))
        except OSError as exc:
            raise DataError(
                f"Data larger than data.memory_mib are decoded to disk, but {str(self.folder)!r} cannot be written to: "
                f"{exc.strerror or exc}. Name another folder with OFFRAMP_CACHE."
            ) from exc


IN_MEMORY = StoragePlace(Path(), 2**62)
"""No array is too large."""


class SampleWriter:
    """Collects samples: in memory, or in a file where they are larger than a limit."""

    def __init__(self, total: int, shape: tuple[int, int, int], dtype: type[np.generic], place: "StoragePlace") -> None:
        """Begin.

        Args:
            total: Number of samples at most.
            shape: Channels, height and width.
            dtype: Type of the samples.
            place: Where large arrays are stored.

        Raises:
            DataError: The file cannot be made.
        """
        self._dtype = np.dtype(dtype)
        self._shape, self._count = shape, 0
        self._array: NDArray[Any] | None = None
        self._file: BinaryIO | None = None
        if total * math.prod(shape) * self._dtype.itemsize <= place.most_bytes_in_memory:
            self._array = np.empty((total, *shape), dtype=dtype)
        else:
            self._file = place.begin_file(total * math.prod(shape) * self._dtype.itemsize)
            # The header has room for the final count.
            self._write_header(total)

    def add(self, samples: NDArray[Any]) -> None:
        """Add samples.

        Args:
            samples: (count, channels, height, width).
        """
        if self._array is not None:
            self._array[self._count : self._count + len(samples)] = samples
        elif self._file is not None:
            self._file.write(np.ascontiguousarray(samples, dtype=self._dtype).data)
        self._count += len(samples)

    def move_to(self, other: "SampleWriter", channels: int) -> None:
        """Move grey samples to a writer of more channels, each of which gets a copy.

        Args:
            other: The other writer, which is empty.
            channels: Its channels.
        """
        collected = self.finish()
        for chunk in collected.chunks() if isinstance(collected, StoredSamples) else (collected,):
            other.add(np.repeat(chunk, channels, axis=1))
        self.discard()

    def finish(self) -> Any:
        """End.

        Returns:
            The samples: an array, or `StoredSamples` in a new file.
        """
        if self._array is not None or self._file is None:
            assert self._array is not None
            return self._array[: self._count]
        self._file.seek(0)
        self._write_header(self._count)
        self._file.close()
        return StoredSamples(Path(self._file.name))

    def discard(self) -> None:
        """Remove what was written, after an error."""
        if self._file is not None:
            self._file.close()
            Path(self._file.name).unlink(missing_ok=True)

    def _write_header(self, count: int) -> None:
        assert self._file is not None
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (count, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)
