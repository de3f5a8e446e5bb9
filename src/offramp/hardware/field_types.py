"""Field types of the blocks of an accelerator file, with their limits."""

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Strict

MAX_INTEGER = 2**62

T = TypeVar("T")


def shown(value: Any) -> str:
    """A value of the file as an error quotes it.

    Args:
        value: Plain data of any kind and length.

    Returns:
        At most 60 characters.
    """
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def whole(minimum: int, maximum: int = MAX_INTEGER) -> BeforeValidator:
    """A check for whole numbers; ``2.0`` is one, text and booleans are not.

    Args:
        minimum: The least value.
        maximum: The greatest value.

    Returns:
        The validator for ``Annotated[int, ...]``.
    """
    return BeforeValidator(lambda value: checked_whole(value, minimum, maximum))


def checked_whole(value: Any, minimum: int, maximum: int = MAX_INTEGER) -> int:
    """A whole number within limits.

    Args:
        value: What the file holds.
        minimum: The least value.
        maximum: The greatest value.

    Returns:
        The number.

    Raises:
        ValueError: It is none, or outside the limits.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a whole number, got {shown(value)}")  # noqa: TRY004 - pydantic collects ValueError
    if not minimum <= value <= maximum:
        raise ValueError(f"must be {f'>= {minimum}' if value < minimum else f'<= {maximum}'}, got {shown(value)}")
    return value


def number(*, positive: bool = False) -> BeforeValidator:
    """A check for finite numbers from 0 to 2^62; text such as ``1e9`` is one, as YAML 1.1 does not read it as such.

    Args:
        positive: Whether 0 is refused.

    Returns:
        The validator for ``Annotated[float, ...]``.
    """

    def check(value: Any) -> float:
        if isinstance(value, str) and re.fullmatch(r"\d+(\.\d*)?[eE][+-]?\d+", value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"must be a number, got {shown(value)}")  # noqa: TRY004 - pydantic collects ValueError
        if not 0 <= value <= MAX_INTEGER or (positive and value == 0):
            raise ValueError(f"must be a finite number {'> 0' if positive else '>= 0'}, got {shown(value)}")
        return float(value)

    return BeforeValidator(check)


def must(holds: Callable[[Any], bool], sentence: str) -> AfterValidator:
    """A check of one value.

    Args:
        holds: Whether the value is as it must be.
        sentence: What must hold; ``{value}`` and ``{count}``, the length of a list, are filled in.

    Returns:
        The validator for ``Annotated``.
    """

    def check(value: Any) -> Any:
        if not holds(value):
            count = len(value) if isinstance(value, tuple | dict) else 1
            raise ValueError(sentence.format(value=value, count=count))
        return value

    return AfterValidator(check)


def matches(pattern: str, sentence: str) -> AfterValidator:
    """A check of the form of a text.

    Args:
        pattern: Regular expression of the whole text.
        sentence: What must hold.

    Returns:
        The validator for ``Annotated``.
    """
    return must(lambda value: bool(re.fullmatch(pattern, value)), f"{sentence}, got {{value!r}}")


def _one_line(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be text, got {shown(value)}")
    return " ".join(value.split())


def _list(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a list, got {shown(value)}")  # noqa: TRY004 - pydantic collects ValueError
    return value


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"names {', '.join(map(repr, repeated))} twice")
    return values


def _string_keys(value: Any) -> Any:
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else value


DISTINCT = AfterValidator(_distinct)
STRING_KEYS = BeforeValidator(_string_keys)
Count = Annotated[int, whole(1)]
WholeNumber = Annotated[int, whole(0)]
Figure = Annotated[float, number()]
PositiveFigure = Annotated[float, number(positive=True)]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, BeforeValidator(_one_line)]
Name = Annotated[str, Strict()]
Items = Annotated[tuple[T, ...], BeforeValidator(_list)]
Names = Annotated[Items[Name], DISTINCT]
