"""Value types to JSON and back, with errors a person can read."""

import json
import os
import tempfile
from collections.abc import Hashable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from offramp.errors import InputError

_LONGEST_QUOTE = 100

T = TypeVar("T")


@cache
def _cached_adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))


def _adapter(kind: Any) -> TypeAdapter[Any]:
    return _cached_adapter(kind)


def to_data(value: Any) -> Any:
    """A frozen dataclass (or container of them) as plain lists, dicts, numbers and strings."""
    return _adapter(type(value)).dump_python(value, mode="json")


def from_data(kind: type[T], data: Any, *, what: str = "value", error: type[InputError] = InputError) -> T:
    """Build ``kind`` from plain data; one error lists all faults."""
    try:
        return cast(T, _adapter(kind).validate_python(data))
    except ValidationError as exc:
        raise error(f"{what} has {exc.error_count()} fault(s): {describe_faults(exc)}") from exc


def describe_faults(exc: ValidationError, limit: int = 20) -> str:
    """One clause per fault: where it is, what is wrong, what was given."""
    clauses = []
    for fault in exc.errors(include_url=False)[:limit]:
        where = ".".join(str(part) for part in fault["loc"]) or "the value itself"
        message = fault["msg"].removeprefix("Value error, ")
        given = fault.get("input")
        shown = "" if isinstance(given, dict | list) or given is None else f" (given: {given!r})"
        clauses.append(shortened(f"{shortened(where)}: {message}{shortened(shown)}", 3 * _LONGEST_QUOTE))
    return "; ".join(clauses)


def shortened(text: str, limit: int = _LONGEST_QUOTE) -> str:
    """What a file held may be megabytes long; its beginning and end say enough."""
    return text if len(text) <= limit else f"{text[: limit - 15]} ... {text[-10:]}"


def dumps(value: Any) -> str:
    """Compact JSON text of a value type."""
    return json.dumps(to_data(value), separators=(",", ":"), sort_keys=True)


def loads(kind: type[T], text: str | bytes, *, what: str = "value", error: type[InputError] = InputError) -> T:
    """Build ``kind`` from JSON text."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise error(f"{what} must be JSON text, but it cannot be read: {exc}") from exc
    return from_data(kind, data, what=what, error=error)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part of it, also after a power cut."""
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        sync_folder(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make names that were given or taken in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
