"""A look at the bytes of an ONNX file before it is parsed, so that parsing takes bounded memory.

The wire format is described at https://protobuf.dev/programming-guides/encoding. An empty message takes two bytes in a
file and some hundred in memory.
"""

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
_Message = tuple[int, int, Any]
"""Where a message begins and ends, and its type."""

_RAW_DATA = "onnx.TensorProto.raw_data"


def scan_wire(content: bytes) -> None:
    """Check the structure of an ONNX file, whose messages are only walked through.

    Args:
        content: The content of the file.

    Raises:
        RefusedGraph: The file is of the format of onnxruntime, is damaged, holds fields that ONNX does not define, or
            has more fields or text than a bundle has.
    """
    import onnx

    if content[4:8] == _RUNTIME_FORMAT:
        raise RefusedGraph("is of a format of onnxruntime, or looks like it")
    pending: list[_Message] = [(0, len(content), onnx.ModelProto.DESCRIPTOR)]
    num_fields, raw_bytes = 0, 0
    while pending:
        position, end, descriptor = pending.pop()
        fields = _fields(descriptor)
        while position < end:
            num_fields += 1
            if num_fields > MAX_FIELDS:
                raise RefusedGraph(f"must have at most {MAX_FIELDS} fields, but it has more")
            tag, position = _varint(content, position, end)
            if tag >> 3 not in fields:
                raise RefusedGraph(f"is not an ONNX file: {descriptor.full_name} has no field {tag >> 3}")
            start, position = _value(content, position, end, tag & 7)
            kind = fields[tag >> 3]
            if kind is _RAW_DATA:
                raw_bytes += position - start
            elif kind is not None and start < position and tag & 7 == _LENGTH:
                pending.append((start, position, kind))
    if len(content) - raw_bytes > MAX_STRUCTURE_BYTES:
        raise RefusedGraph(f"must have at most {MAX_STRUCTURE_BYTES} bytes beside its weights, but it has more")


def _value(content: bytes, position: int, end: int, wire_type: int) -> tuple[int, int]:
    """Where the value of a field begins and ends."""
    if wire_type == _VARINT:
        return position, _varint(content, position, end)[1]
    if wire_type == _LENGTH:
        length, position = _varint(content, position, end)
    elif wire_type in _FIXED_BYTES:
        length = _FIXED_BYTES[wire_type]
    else:
        raise RefusedGraph(f"is not an ONNX file: it has a field of wire type {wire_type}")
    if position + length > end:
        raise RefusedGraph("is not an ONNX file: a field is longer than what it is in")
    return position, position + length


@cache
def _fields(descriptor: Any) -> dict[int, Any]:
    """Per field number: the type of message that it holds, `_RAW_DATA`, or None for another value."""
    return {
        field.number: _RAW_DATA if field.full_name == _RAW_DATA else field.message_type for field in descriptor.fields
    }


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
