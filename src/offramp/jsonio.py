"""Value types to JSON and back, with errors a person can read."""

import difflib
import json
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cache
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
    """Convert a value type to plain data.

    Args:
        value: a frozen dataclass, or a container of them.

    Returns:
        Plain lists, dicts, numbers and strings.
    """
    return _adapter(type(value)).dump_python(value, mode="json")


def from_data(kind: type[T], data: Any, *, what: str = "value", error: type[InputError] = InputError) -> T:
    """Build a value type from plain data.

    Args:
        kind: the type to build.
        data: plain data as `to_data` returns them.
        what: what the data are, for error messages.
        error: class of the error to raise.

    Returns:
        A validated value of ``kind``.

    Raises:
        error: if the data do not fit the type; one error lists all faults.
    """
    try:
        return cast(T, _adapter(kind).validate_python(data))
    except ValidationError as exc:
        raise error(f"{what} has {exc.error_count()} fault(s): {describe_faults(exc)}") from exc


def describe_faults(
    exc: ValidationError, limit: int = 20, known: Callable[[tuple[int | str, ...]], Sequence[str]] | None = None
) -> str:
    """Describe the faults of a validation error in one line.

    Args:
        exc: the error of pydantic.
        limit: the largest number of faults to describe.
        known: gives the names that may stand where an unknown one was found, so that the nearest is suggested.

    Returns:
        One clause per fault: its place, the rule, and the given value.
    """
    clauses = []
    for fault in exc.errors(include_url=False)[:limit]:
        where = ".".join(str(part) for part in fault["loc"]) or "the value itself"
        message = fault["msg"].removeprefix("Value error, ")
        if known is not None and fault["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(fault["loc"][-1]), known(fault["loc"]), n=1)
            message = f"there is no such name.{f' Did you mean {near[0]!r}?' if near else ''}"
        given = fault.get("input")
        shown = "" if isinstance(given, dict | list) or given is None else f" (given: {_quoted(given)})"
        clauses.append(shortened(f"{shortened(where)}: {message}{shortened(shown)}", 3 * _LONGEST_QUOTE))
    return "; ".join(clauses)


def _quoted(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # Python writes out no whole number of more than 4300 digits
        return "a number of thousands of digits"


def shortened(text: str, limit: int = _LONGEST_QUOTE) -> str:
    """Shorten text for an error message, since the content of a file may be megabytes long.

    Args:
        text: any text.
        limit: the largest number of characters, more than 30.

    Returns:
        The text, or its beginning and end.
    """
    return text if len(text) <= limit else f"{text[: limit - 15]} ... {text[-10:]}"


def dumps(value: Any) -> str:
    """Convert a value type to compact JSON text.

    Args:
        value: a frozen dataclass, or a container of them.

    Returns:
        JSON text with sorted keys.
    """
    return json.dumps(to_data(value), separators=(",", ":"), sort_keys=True)


def check_finite(data: Any, *, what: str = "value", error: type[InputError] = InputError) -> None:
    """Check that all numbers of plain data are finite, as the standard of JSON demands.

    Args:
        data: plain data, as parsed from JSON.
        what: what the data are, for error messages.
        error: class of the error to raise.

    Raises:
        error: if a number is NaN or infinite; it names the place.
    """
    for place, value in _values(data):
        if isinstance(value, float) and not math.isfinite(value):
            raise error(f"{what} must have finite numbers, got {value} at {shortened('.'.join(map(str, place)))}.")


def check_integers(data: Any, *, what: str = "value", error: type[InputError] = InputError) -> None:
    """Check that whole numbers of plain data have at most 64 bits: larger ones may be no floating-point numbers.

    Args:
        data: plain data, as parsed from JSON.
        what: what the data are, for error messages.
        error: class of the error to raise.

    Raises:
        error: if a number is larger; it names the place.
    """
    for place, value in _values(data):
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise error(f"{what} must have numbers below 2**63, got more at {shortened('.'.join(map(str, place)))}.")


def _values(data: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """All values inside of plain data, each with its place."""
    pending: list[tuple[tuple[Any, ...], Any]] = [((), data)]
    while pending:
        place, value = pending.pop()
        yield place, value
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            pending += [((*place, key), item) for key, item in items]


def loads(
    kind: type[T],
    text: str | bytes,
    *,
    what: str = "value",
    error: type[InputError] = InputError,
    finite: bool = False,
) -> T:
    """Build a value type from JSON text.

    Args:
        kind: the type to build.
        text: JSON text.
        what: what the text is, for error messages.
        error: class of the error to raise.
        finite: whether numbers must be finite, and whole ones have at most 64 bits.

    Returns:
        A validated value of ``kind``.

    Raises:
        error: if the text is not JSON or does not fit the type.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise error(f"{what} must be JSON text, but it cannot be read: {exc}") from exc
    if finite:
        check_integers(data, what=what, error=error)
    value = from_data(kind, data, what=what, error=error)
    if finite:
        check_finite(data, what=what, error=error)
    return value
