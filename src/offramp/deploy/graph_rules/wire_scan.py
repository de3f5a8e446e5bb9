"""A look at the bytes of an ONNX file before it is parsed, so that parsing takes bounded memory.

The wire format is described at https://protobuf.dev/programming-guides/encoding. An empty message takes two bytes in a
file and some hundred in memory. The raw data of tensors are set aside: a graph is checked without a copy of its
weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from offramp.deploy.graph_rules.tensor_facts import RefusedGraph

MAX_FIELDS = 600_000
"""The largest number of fields of all messages."""

MAX_STRUCTURE_BYTES = 8 * 2**20
"""The largest size of everything but the raw data of tensors."""

_RUNTIME_FORMAT = b"ORTM"
_FIXED_BYTES = {1: 8, 5: 4}
_VARINT, _LENGTH = 0, 2
# As deep as parsers of protobuf go.
_MAX_DEPTH = 100
_RAW_DATA = "onnx.TensorProto.raw_data"
_MARK_BYTES = 4

Pieces = list[bytes | memoryview]
"""Parts of a file, in order."""


@dataclass(frozen=True, eq=False)
class StrippedFile:
    """An ONNX file whose tensors have marks in place of their raw data.

    Attributes:
        structure: The file without the raw data.
        raw_data: The raw data, each at the place that its mark names.
    """

    structure: bytes
    raw_data: Sequence[memoryview]

    def data_of(self, tensor: Any) -> memoryview | bytes:
        """Find the raw data of a tensor that was parsed from `structure`.

        Args:
            tensor: The ONNX tensor.

        Returns:
            The data, without a copy; empty where it has none.
        """
        return self.raw_data[int.from_bytes(tensor.raw_data, "big")] if tensor.raw_data else b""

    def filled(self, structure: bytes) -> bytes:
        """Put the raw data back.

        Args:
            structure: A structure whose marks are those of this file, such as one that was changed and written again.

        Returns:
            The content of the whole file.
        """

        def data(mark: memoryview) -> memoryview:
            return self.raw_data[int.from_bytes(mark, "big")]

        pieces = _Rewriting(structure, data).run()
        return structure if pieces is None else b"".join(pieces)


def scan_wire(content: bytes) -> StrippedFile:
    """Check the structure of an ONNX file, whose messages are only walked through, and set the raw data aside.

    Args:
        content: The content of the file.

    Returns:
        The file in two parts.

    Raises:
        RefusedGraph: The file is of the format of onnxruntime, is damaged, holds fields that ONNX does not define, or
            has more fields or text than a bundle has.
    """
    if content[4:8] == _RUNTIME_FORMAT:
        raise RefusedGraph("is of a format of onnxruntime, or looks like it")
    raw_data: list[memoryview] = []

    def mark(data: memoryview) -> bytes:
        raw_data.append(data)
        return (len(raw_data) - 1).to_bytes(_MARK_BYTES, "big")

    pieces = _Rewriting(content, mark).run()
    if len(content) - sum(map(len, raw_data)) > MAX_STRUCTURE_BYTES:
        raise RefusedGraph(f"must have at most {MAX_STRUCTURE_BYTES} bytes beside its weights, but it has more")
    return StrippedFile(content if pieces is None else b"".join(pieces), raw_data)


class _Rewriting:
    """A walk through all messages of a file that replaces raw data."""

    def __init__(self, content: bytes, replace: Callable[[memoryview], bytes | memoryview]) -> None:
        self._content = content
        self._view = memoryview(content)
        self._replace = replace
        self._num_fields = 0

    def run(self) -> Pieces | None:
        """Parts of the new file; None where nothing was replaced."""
        import onnx

        return self._message(0, len(self._content), onnx.ModelProto.DESCRIPTOR, 0)

    def _message(self, position: int, end: int, descriptor: Any, depth: int) -> Pieces | None:
        if depth > _MAX_DEPTH:
            raise RefusedGraph(f"is not an ONNX file: it is nested more than {_MAX_DEPTH} deep")
        content, fields = self._content, _fields(descriptor)
        pieces: Pieces = []
        kept = position
        while position < end:
            self._num_fields += 1
            if self._num_fields > MAX_FIELDS:
                raise RefusedGraph(f"must have at most {MAX_FIELDS} fields, but it has more")
            tag, length_at = _varint(content, position, end)
            kind, wire_types = fields.get(tag >> 3, (None, ()))
            if tag & 7 not in wire_types:
                raise RefusedGraph(
                    f"is not an ONNX file: {descriptor.full_name} has no field {tag >> 3} of wire type {tag & 7}"
                )
            start, position = _value(content, length_at, end, tag & 7)
            if kind is None or start == position:
                continue
            if kind is _RAW_DATA:
                new: Pieces | None = [self._replace(self._view[start:position])]
            else:
                new = self._message(start, position, kind, depth + 1)
            if new is not None:
                pieces += (self._view[kept:length_at], _as_varint(sum(map(len, new))), *new)
                kept = position
        return [*pieces, self._view[kept:end]] if pieces else None


def _value(content: bytes, position: int, end: int, wire_type: int) -> tuple[int, int]:
    """Where the value of a field begins and ends."""
    if wire_type == _VARINT:
        return position, _varint(content, position, end)[1]
    if wire_type == _LENGTH:
        length, position = _varint(content, position, end)
    else:
        length = _FIXED_BYTES[wire_type]
    if position + length > end:
        raise RefusedGraph("is not an ONNX file: a field is longer than what it is in")
    return position, position + length


@cache
def _fields(descriptor: Any) -> dict[int, tuple[Any, tuple[int, ...]]]:
    """Per field number: the type of message that it holds, `_RAW_DATA`, or None for another value; its wire types."""
    return {
        field.number: (_RAW_DATA if field.full_name == _RAW_DATA else field.message_type, _wire_types(field))
        for field in descriptor.fields
    }


def _wire_types(field: Any) -> tuple[int, ...]:
    if field.type in (field.TYPE_STRING, field.TYPE_BYTES, field.TYPE_MESSAGE):
        return (_LENGTH,)
    fixed = {field.TYPE_DOUBLE: 1, field.TYPE_FLOAT: 5}
    own = fixed.get(field.type, _VARINT)
    # Older versions of protobuf know the label only, newer ones warn of it.
    repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
    return (own, _LENGTH) if repeated else (own,)  # numbers of a list may be packed


def _varint(content: bytes, position: int, end: int) -> tuple[int, int]:
    """A number, and the position behind it."""
    # Most are of one byte.
    if position < end and content[position] < 0x80:
        return content[position], position + 1
    value = shift = 0
    while position < end and shift < 70:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise RefusedGraph("is not an ONNX file: a number does not end")


def _as_varint(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*result, value))
