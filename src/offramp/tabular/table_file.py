"""Files of tables: NumPy archives (.npz) with a JSON header. Nothing is unpickled, and all is checked on read."""

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from offramp.errors import TableError
from offramp.files.safe_files import open_to_read, replacing
from offramp.jsonio import dumps, loads, shortened
from offramp.tabular.logit_codes import CODE_TYPES
from offramp.tabular.table_header import SPLITS, TableHeader
from offramp.tabular.table_space import num_backbones

NUM_COSTS = 3
"""Latency in cycles, energy in picojoule, and MACs."""
_MOST_HEADER_BYTES = 4 << 20
_MOST_LAYER_BYTES = 16 << 20
_MOST_ARRAY_BYTES = 1 << 30
_MOST_NPY_HEADER_BYTES = 1 << 10
# What an archive may unpack to in one part, beside a multiple of its packed size.
_ALWAYS_ALLOWED_BYTES, _LARGEST_RATIO = 1 << 20, 400
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class TableLayer:
    """A layer of a backbone or of one of its branches.

    Attributes:
        name: Its name.
        op: Its operator.
        place: Index of the option whose branch, or whose part of the backbone, it belongs to; the number of options
            means the final classifier.
        branch: Whether it belongs to the branch.
        macs: Its multiply-accumulate operations.
    """

    name: str
    op: str
    place: int
    branch: bool
    macs: int


@dataclass(frozen=True, eq=False)
class TableEntry:
    """What a table holds of one backbone.

    Attributes:
        codes: Codes of the logits (options + 1, samples, classes) by split; the last row is the final classifier.
        to_tap: Costs of the backbone up to each option, (accelerators, options + 1, `NUM_COSTS`).
        branch: Costs of the branch of each option, of the same shape.
        layers: The layers of the backbone and of all branches.
        layer_costs: Cycles and energy in picojoule of each layer alone, (accelerators, layers, 2).
    """

    codes: dict[str, NDArray[np.unsignedinteger]]
    to_tap: NDArray[np.float64]
    branch: NDArray[np.float64]
    layers: tuple[TableLayer, ...]
    layer_costs: NDArray[np.float32]


def write_table(
    path: Path, header: TableHeader, labels: Mapping[str, NDArray[np.integer]], entries: Iterable[TableEntry]
) -> None:
    """Write a table.

    Args:
        path: The file; an existing one is replaced.
        header: The header. Its errors of confidences are taken when the last entry is written, so the dictionary may be
            filled while the entries are made.
        labels: The true classes, by split.
        entries: One entry per backbone, in the order of `every_backbone`.

    Raises:
        TableError: The entries or the labels do not fit the header.
        OSError: The file cannot be written.
    """
    with replacing(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for split in SPLITS:
            _write_array(archive, f"labels/{split}", labels[split].astype(np.int64))
        count = 0
        for count, entry in enumerate(entries, start=1):
            for split in SPLITS:
                _write_array(archive, f"{count - 1}/{split}", entry.codes[split])
            _write_array(archive, f"{count - 1}/to_tap", entry.to_tap)
            _write_array(archive, f"{count - 1}/branch", entry.branch)
            _write_array(archive, f"{count - 1}/layer_costs", entry.layer_costs)
            _write_array(archive, f"{count - 1}/layers", np.frombuffer(dumps(entry.layers).encode(), np.uint8))
        if count != num_backbones(header.space.backbone):
            raise TableError(f"A table must have one entry per backbone of its space, got {count}.")
        _write_array(archive, "header", np.frombuffer(dumps(header).encode(), np.uint8))


def _write_array(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    # A fixed date: the same table is the same file.
    archive.writestr(zipfile.ZipInfo(f"{name}.npy", _DATE), content.getvalue(), zipfile.ZIP_DEFLATED, 9)


class TableFile:
    """An open table, whose arrays are read when they are asked for.

    Attributes:
        name: The file, as messages call it.
        header: The header.
    """

    def __init__(self, path: Path) -> None:
        """Open a file and read its header.

        Args:
            path: The file.

        Raises:
            TableError: There is no such file, or it is no table.
        """
        self.name = repr(str(path))
        try:
            self._stream: BinaryIO = open_to_read(path)
        except OSError as exc:
            raise TableError(f"The table {self.name} cannot be read: {exc.strerror or exc}.") from exc
        try:
            self._archive = zipfile.ZipFile(self._stream)
        # zipfile raises many types on damaged bytes.
        except Exception as exc:
            self._stream.close()
            raise TableError(
                f"A table must be an .npz archive of `offramp table make`, but {self.name} cannot be opened: {exc}."
            ) from exc
        self.header = loads(
            TableHeader,
            self._bytes("header", _MOST_HEADER_BYTES),
            what=f"The header of {self.name}",
            error=TableError,
            finite=True,
        )

    def labels(self, split: str) -> NDArray[np.int64]:
        """Read the true classes of a split.

        Args:
            split: ``validation`` or ``test``.

        Returns:
            Classes, (samples,).

        Raises:
            TableError: The array is missing or damaged, or a label is no class.
        """
        labels = self._array(f"labels/{split}", np.dtype(np.int64), (self._num_samples(split),))
        if labels.min() < 0 or labels.max() >= len(self.header.class_names):
            raise TableError(f"The labels of {self.name} must be from 0 to {len(self.header.class_names) - 1}.")
        return labels

    def codes(self, index: int, num_options: int, split: str) -> NDArray[np.unsignedinteger]:
        """Read the logits of a backbone.

        Args:
            index: Number of the backbone.
            num_options: Number of exits that it may have.
            split: ``validation`` or ``test``.

        Returns:
            Codes, (options + 1, samples, classes).

        Raises:
            TableError: The array is missing or damaged, or has another shape.
        """
        shape = (num_options + 1, self._num_samples(split), len(self.header.class_names))
        codes = self._array(f"{index}/{split}", np.dtype(CODE_TYPES[self.header.code_bits]), shape)
        if ((codes == 0).sum(axis=2) != 1).any():
            raise TableError(f"Each answer in {self.name} must have one largest logit; backbone {index} has others.")
        return codes

    def costs(self, index: int, num_options: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Read the costs of a backbone.

        Args:
            index: Number of the backbone.
            num_options: Number of exits that it may have.

        Returns:
            Costs up to each option and costs of its branch, (accelerators, options + 1, `NUM_COSTS`) each.

        Raises:
            TableError: An array is missing or damaged, has another shape, or holds something else than costs.
        """
        shape = (len(self.header.accelerators), num_options + 1, NUM_COSTS)
        found = [self._array(f"{index}/{name}", np.dtype(np.float64), shape) for name in ("to_tap", "branch")]
        for array in found:
            # Far below where a sum or a product of costs would overflow.
            if not (np.isfinite(array) & (array >= 0) & (array < 1e100)).all():
                raise TableError(f"Costs in {self.name} must be finite and not negative; backbone {index} has others.")
        if not (found[0] + found[1] > 0).all():
            raise TableError(f"Every exit in {self.name} must cost something, but backbone {index} has others.")
        return found[0], found[1]

    def layers(self, index: int, num_options: int) -> tuple[TableLayer, ...]:
        """Read the layers of a backbone.

        Args:
            index: Number of the backbone.
            num_options: Number of exits that it may have.

        Returns:
            The layers of the backbone and of all branches.

        Raises:
            TableError: They are missing or damaged.
        """
        what = f"The layers of backbone {index} of {self.name}"
        text = self._bytes(f"{index}/layers", _MOST_LAYER_BYTES)
        layers = loads(tuple[TableLayer, ...], text, what=what, error=TableError)
        if not all(0 <= layer.place <= num_options and 0 <= layer.macs < 2**63 for layer in layers):
            raise TableError(f"{what} must belong to exits of the backbone and have MACs of at least 0.")
        return layers

    def layer_costs(self, index: int, num_layers: int) -> NDArray[np.float32]:
        """Read the costs of the layers of a backbone.

        Args:
            index: Number of the backbone.
            num_layers: Number of its layers.

        Returns:
            Cycles and energy in picojoule of each layer, (accelerators, layers, 2).

        Raises:
            TableError: The array is missing or damaged, has another shape, or holds something else than costs.
        """
        shape = (len(self.header.accelerators), num_layers, 2)
        costs = self._array(f"{index}/layer_costs", np.dtype(np.float32), shape)
        if not (np.isfinite(costs) & (costs >= 0)).all():
            raise TableError(f"Layers in {self.name} must have finite costs of at least 0; {index} has others.")
        return costs

    def close(self) -> None:
        """Close the file."""
        self._archive.close()
        self._stream.close()

    def _num_samples(self, split: str) -> int:
        return self.header.validation_samples if split == SPLITS[0] else self.header.test_samples

    def _bytes(self, name: str, most: int) -> bytes:
        return bytes(self._read(name, np.dtype(np.uint8), None, most).tobytes())

    def _array(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        return self._read(name, dtype, shape, _MOST_ARRAY_BYTES)

    def _read(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...] | None, most: int) -> NDArray[Any]:
        """An array of a known type, and of a known shape or of one dimension."""
        expected = None if shape is None else int(np.prod(shape, dtype=object)) * dtype.itemsize
        what = f"Array {name!r} of {self.name}"
        if expected is not None and expected > most:
            raise TableError(f"{what} must have at most {most:,} bytes, but the header says {expected:,}.")
        try:
            member = self._archive.getinfo(f"{name}.npy")
            limit = most if expected is None else expected
            allowed = min(limit + _MOST_NPY_HEADER_BYTES, _ALWAYS_ALLOWED_BYTES + _LARGEST_RATIO * member.compress_size)
            if member.file_size > allowed:
                raise TableError(f"{what} must unpack to at most {allowed:,} bytes, but it says {member.file_size:,}.")
            with self._archive.open(member) as stream:
                content = stream.read(allowed + 1)
            found_shape, found_type, offset = _npy_header(content)
        except TableError:
            raise
        except KeyError as exc:
            raise TableError(f"{self.name} must have an array {name!r}, but it is missing.") from exc
        # zipfile's, zlib's and NumPy's parsers raise many types on damaged bytes.
        except Exception as exc:
            raise TableError(f"{what} cannot be read: {shortened(str(exc))}.") from exc
        fits = len(found_shape) == 1 if shape is None else found_shape == shape
        size = int(np.prod(found_shape, dtype=object)) * dtype.itemsize
        if found_type != dtype or not fits or len(content) - offset != size:
            wanted = "one dimension" if shape is None else f"shape {shape}"
            raise TableError(
                f"{what} must be of type {dtype} and {wanted}, got {shortened(str(found_type))} and "
                f"{shortened(str(found_shape))} with {len(content) - offset:,} bytes."
            )
        return np.frombuffer(content, dtype, offset=offset).reshape(found_shape)


def _npy_header(content: bytes) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, type and offset of the values of a file in NumPy's format 1.0 that is stored in C order."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"it is of version {version} of NumPy's format in place of 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if fortran or dtype.hasobject:
        raise ValueError("it is stored in Fortran order, or holds Python objects")
    return shape, dtype, stream.tell()
