"""Reader of number arrays in MATLAB files of version 5 (``save -v6`` and ``-v7``).

SciPy's ``loadmat`` is not used: one wrong byte in a file can end the whole process with a segmentation fault (seen with
SciPy 1.17). This reader checks every size before it touches the bytes, and reads nothing but plain arrays.

Source: The MathWorks, MAT-File Format, chapter 1 (level 5): header, tags, array flags, small elements.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from offramp.errors import DataError
from offramp.files.safe_files import read_file

_HEADER_BYTES = 128
_HDF5_VERSION = 2
_MATRIX, _COMPRESSED = 14, 15
_COMPLEX = 0x0800
_MAX_ARRAY_BYTES = 16 * 2**30
_MAX_AXES = 8
_STORED_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Number types in the file; an array of doubles with integer values may be stored as bytes."""
_ARRAY_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}

_Order = Literal["<", ">"]


class _DamageError(Exception):
    """The bytes do not follow the format; the message says where."""


@dataclass(frozen=True)
class _Element:
    kind: int
    data: memoryview


def load_mat(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Read arrays of real numbers from a MATLAB file.

    Args:
        path: The file.
        names: Names of the arrays.

    Returns:
        Arrays by name, without those that the file does not have.

    Raises:
        DataError: The file is damaged or of another version, or an array is of another kind.
    """
    content = memoryview(read_file(path))
    try:
        order = _byte_order(path, content)
        arrays = {}
        for element in _elements(content[_HEADER_BYTES:], order):
            body = _matrix_body(element, order)
            if body is None:
                continue
            parts = _elements(body, order)
            flags, shape, name = _flags(next(parts), order), _shape(next(parts), order), _name(next(parts))
            if name in names:
                arrays[name] = _array(path, name, flags, shape, next(parts), order)
    except (_DamageError, StopIteration, zlib.error, MemoryError) as exc:
        reason = str(exc) or "it ends too early"
        raise DataError(
            f"{str(path)!r} cannot be read ({reason}): it is damaged, cut short or no MATLAB file. Download it again."
        ) from exc
    return arrays


def _byte_order(path: Path, content: memoryview) -> _Order:
    mark = bytes(content[_HEADER_BYTES - 2 : _HEADER_BYTES])
    if mark not in (b"IM", b"MI"):
        raise _DamageError("it has no MATLAB header")
    order: _Order = "<" if mark == b"IM" else ">"
    version = int(_numbers(content[_HEADER_BYTES - 4 : _HEADER_BYTES - 2], "u2", order)[0]) >> 8
    if version == _HDF5_VERSION:
        raise DataError(
            f"{str(path)!r} must be a MATLAB file of version 5, but it is of version 7.3 (HDF5). "
            "Save it with -v7, or as .npz."
        )
    return order


def _numbers(data: memoryview, kind: str, order: _Order) -> NDArray[Any]:
    dtype = np.dtype(kind).newbyteorder(order)
    if len(data) % dtype.itemsize:
        raise _DamageError(f"{len(data)} bytes are no whole number of values of {dtype.itemsize} bytes")
    return np.frombuffer(data, dtype=dtype)


def _elements(data: memoryview, order: _Order) -> Iterator[_Element]:
    """Tagged elements in order; the tag itself holds elements of up to 4 bytes."""
    position = 0
    while position < len(data):
        if position + 8 > len(data):
            raise _DamageError("it ends within a tag")
        first, size = _numbers(data[position : position + 8], "u4", order).tolist()
        small = first >> 16
        start, kind, size = (position + 4, first & 0xFFFF, small) if small else (position + 8, first, size)
        end = start + size
        if end > len(data) or small > 4:
            raise _DamageError(f"an element of {size} bytes does not fit into the file")
        yield _Element(kind, data[start:end])
        if small:
            position += 8
        else:
            # Everything but compressed elements is padded to multiples of 8 bytes.
            position = end if kind == _COMPRESSED else end + (-size) % 8


def _matrix_body(element: _Element, order: _Order) -> memoryview | None:
    if element.kind == _COMPRESSED:
        unpacker = zlib.decompressobj()
        unpacked = unpacker.decompress(element.data, _MAX_ARRAY_BYTES)
        if not unpacker.eof:
            raise _DamageError("a compressed array is cut short or too large")
        element = next(_elements(memoryview(unpacked), order))
    return element.data if element.kind == _MATRIX else None


def _flags(element: _Element, order: _Order) -> int:
    values = _numbers(element.data, "u4", order)
    if not values.size:
        raise _DamageError("an array has no flags")
    return int(values[0])


def _shape(element: _Element, order: _Order) -> tuple[int, ...]:
    shape = tuple(_numbers(element.data, "i4", order).tolist())
    if not 1 <= len(shape) <= _MAX_AXES or min(shape) < 0:
        raise _DamageError(f"an array has the impossible shape {shape}")
    return shape


def _name(element: _Element) -> str:
    return bytes(element.data).decode("ascii", "replace")


def _array(path: Path, name: str, flags: int, shape: tuple[int, ...], element: _Element, order: _Order) -> NDArray[Any]:
    kind = _ARRAY_CLASSES.get(flags & 0xFF)
    if kind is None or flags & _COMPLEX:
        raise DataError(f"Array {name!r} in {str(path)!r} must hold plain real numbers, but it is of another kind.")
    if element.kind not in _STORED_TYPES:
        raise _DamageError(f"array {name!r} is stored as the unknown type {element.kind}")
    values = _numbers(element.data, _STORED_TYPES[element.kind], order)
    count = 1
    for length in shape:
        count *= length
    if count != values.size:
        raise _DamageError(f"array {name!r} of shape {shape} has {values.size} values")
    if values.size * np.dtype(kind).itemsize > _MAX_ARRAY_BYTES:
        raise _DamageError(f"array {name!r} is too large")
    with np.errstate(invalid="ignore", over="ignore"):
        return values.astype(kind).reshape(shape, order="F")
