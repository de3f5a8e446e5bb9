"""A connection to a Dask scheduler on which nothing is unpickled; imported only where Dask is installed.

Dask's own connections load Python objects from whatever answers, which is code of whoever answers. This one reads plain
values (msgpack). Objects are replaced by a text that says so, exceptions by their text.
"""

import struct
from ssl import SSLError
from typing import Any

import msgpack
from distributed.comm.core import CommClosedError
from distributed.comm.registry import backends
from distributed.comm.tcp import (
    TCP,
    TLS,
    BaseTCPBackend,
    TCPConnector,
    TLSConnector,
    convert_stream_closed_error,
    read_bytes_rw,
)
from distributed.core import Status
from distributed.protocol.compression import decompress
from distributed.protocol.utils import msgpack_opts, unpack_frames
from tornado.iostream import StreamClosedError

from offramp.errors import WorkerError

REFUSED = "(a Python object, which offramp does not load)"
"""What stands where a message held a Python object."""
_SCHEMES = {"tcp": "offramp-tcp", "tls": "offramp-tls"}
_MOST_BYTES = 1 << 32
# Dask unpickles these wherever they are bytes.
_PICKLED = ("exception", "traceback", "type", "category", "message")


def plain_address(address: str) -> str:
    """The address under which a scheduler is reached without unpickling anything.

    Args:
        address: Where it listens: ``tcp://host:8786``, ``tls://host:8786`` or ``host:8786``.

    Returns:
        The address with another scheme, which this function makes known to Dask.

    Raises:
        ValueError: The address has another scheme.
    """
    scheme, _, rest = address.rpartition("://")
    scheme = scheme or "tcp"
    if scheme not in _SCHEMES or not rest:
        raise ValueError("its address must begin with tcp:// or tls://")
    for name, backend in (("tcp", _PlainTCPBackend), ("tls", _PlainTLSBackend)):
        backends.setdefault(_SCHEMES[name], backend())
    return f"{_SCHEMES[scheme]}://{rest}"


def plain_message(frames: list[Any]) -> Any:
    """Decode a message without loading objects.

    Args:
        frames: The parts of the message, as Dask sends them.

    Returns:
        Numbers, text, bytes, and containers of them.

    Raises:
        ValueError: The message is damaged.
    """

    def decode(found: dict[Any, Any]) -> Any:
        place = found.get("__Serialized__")
        if place is not None:
            return _plain_value(frames, place) if type(place) is int and place > 0 else REFUSED
        if "__Pickled__" in found:
            return REFUSED
        if "__Enum__" in found:
            return Status.__members__.get(found.get("name"), REFUSED)
        if "__Set__" in found:
            return set(found["as-list"])
        return _without_pickles(found)

    try:
        return msgpack.loads(frames[0], object_hook=decode, use_list=False, **msgpack_opts)
    except (ValueError, TypeError, LookupError, RecursionError, msgpack.UnpackException) as exc:
        raise ValueError(f"a message of the cluster cannot be read: {exc}") from exc


def _plain_value(frames: list[Any], place: int) -> Any:
    header = msgpack.loads(frames[place], use_list=False, **msgpack_opts)
    parts = frames[place + 1 : place + 1 + header["num-sub-frames"]]
    if header.get("serializer") != "msgpack" or "is-collection" in header:
        return REFUSED
    if "compression" in header:
        parts = decompress(header, parts)
    return msgpack.loads(b"".join(parts), use_list=False, **msgpack_opts)


def _without_pickles(found: dict[Any, Any]) -> dict[Any, Any]:
    if not any(isinstance(found.get(name), bytes) for name in _PICKLED):
        return found
    plain = {name: None if name in _PICKLED and isinstance(value, bytes) else value for name, value in found.items()}
    if "exception" in found and plain["exception"] is None:
        plain["exception"] = WorkerError(str(found.get("exception_text") or "the cluster gave no reason in words"))
    return plain


class _PlainReading:
    """The reading half of a connection; the writing half is Dask's."""

    async def read(self: Any, deserializers: Any = None) -> Any:
        stream = self.stream
        if stream is None:
            raise CommClosedError
        try:
            (size,) = struct.unpack("Q", await stream.read_bytes(struct.calcsize("Q")))
            if size > _MOST_BYTES:
                raise ValueError(f"a message of the cluster has {size} bytes")
            frames, sizes = unpack_frames(await read_bytes_rw(stream, size), partial=True)
            if sum(sizes) > _MOST_BYTES:
                raise ValueError(f"a message of the cluster has {sum(sizes)} bytes")
            frames += [await read_bytes_rw(stream, each) for each in sizes]
            return plain_message(frames)
        except (StreamClosedError, SSLError) as exc:
            self.stream = None
            self._closed = True
            convert_stream_closed_error(self, exc)
        except (ValueError, struct.error) as exc:
            self.abort()
            raise CommClosedError(str(exc)) from exc
        except BaseException:
            self.abort()
            raise


class _PlainTCP(_PlainReading, TCP):  # type: ignore[misc]
    pass


class _PlainTLS(_PlainReading, TLS):  # type: ignore[misc]
    pass


class _PlainTCPConnector(TCPConnector):  # type: ignore[misc]
    prefix = "offramp-tcp://"
    comm_class = _PlainTCP


class _PlainTLSConnector(TLSConnector):  # type: ignore[misc]
    prefix = "offramp-tls://"
    comm_class = _PlainTLS


class _PlainTCPBackend(BaseTCPBackend):  # type: ignore[misc]
    _connector_class = _PlainTCPConnector


class _PlainTLSBackend(BaseTCPBackend):  # type: ignore[misc]
    _connector_class = _PlainTLSConnector
