"""What all blocks of an accelerator file share: field types, and faults that are collected with their places."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from offramp.errors import AcceleratorError
from offramp.jsonio import shortened

MAX_INTEGER = 2**62
_LONGEST_FAULT = 400
# Errors in the language of the file, where the place is known, and those of one block as a whole.
_FAULT, _BLOCK_FAULT = "fault", "block_fault"
# Elements of these are named in places by their key or number: "memory 'sram'", "port 2".
_ELEMENTS = {"memories": "memory", "ports": "port", "entries": "entry"}

Path = tuple[int | str, ...]


def shown(value: Any) -> str:
    """A value of the file as an error quotes it.

    Args:
        value: Plain data of any kind and length.

    Returns:
        At most 60 characters.
    """
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def near_name(name: Any, options: Iterable[str], form: str = " (did you mean '{}'?)") -> str:
    """The hint for a name that is not there.

    Args:
        name: What was given.
        options: The names that are understood.
        form: The hint, with ``{}`` for the nearest name.

    Returns:
        The hint, empty where no name is near.
    """
    near = difflib.get_close_matches(str(name), list(options), n=1)
    return form.format(near[0]) if near else ""


@dataclass
class Faults:
    """Everything that is wrong with one accelerator file and the files that it includes.

    Attributes:
        items: One clause per fault, each with its place, none twice.
    """

    items: list[str] = field(default_factory=list)

    def add(self, place: str, sentence: str) -> None:
        """Add one fault.

        Args:
            place: Where it is, such as ``core 'mac' memory 'sram'``; empty for the file as a whole.
            sentence: What must hold and what was given.
        """
        text = shortened(f"{place}: {sentence}" if place else sentence, _LONGEST_FAULT)
        if text not in self.items:
            self.items.append(text)

    def raise_if_any(self, name: str) -> None:
        """End the reading of a file that has faults.

        Args:
            name: The file's name, for the message.

        Raises:
            AcceleratorError: There is a fault; the message lists all of them.
        """
        if self.items:
            count = len(self.items)
            noun = "fault" if count == 1 else "faults"
            raise AcceleratorError(f"Accelerator '{name}' has {count} {noun}: {'; '.join(self.items)}.")


@dataclass(frozen=True)
class Fault:
    """A fault of a block that is not that of one value.

    Attributes:
        sentence: What must hold and what was given.
        place: Keys that lead from the block to the place of the fault; empty for the block itself.
    """

    sentence: str
    place: Path = ()


def raise_faults(faults: Iterable[Fault]) -> None:
    """Report faults from a validator of a block; to be called within such a validator.

    Args:
        faults: All that is wrong; nothing happens where there is none.

    Raises:
        ValidationError: There is a fault.
    """
    errors = [_details(_BLOCK_FAULT, fault.sentence, (), {"place": fault.place}) for fault in faults]
    if errors:
        raise ValidationError.from_exception_data("block", errors)


def _details(kind: str, sentence: str, place: Path, extra: Mapping[str, Any] | None = None) -> InitErrorDetails:
    error = PydanticCustomError(kind, "{sentence}", {"sentence": sentence, **(extra or {})})
    return InitErrorDetails(type=error, loc=place, input=None)


class Block(BaseModel):
    """A mapping of the file: no unknown keys, a key without a value counts as left out, all faults at once."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    @model_validator(mode="wrap")
    @classmethod
    def _collect_faults(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(data, cls):
            return data
        if not isinstance(data, dict):
            raise PydanticCustomError(_FAULT, "{sentence}", {"sentence": f"must be a mapping, got {shown(data)}"})
        known = cls.known_keys()
        given = {str(key): value for key, value in data.items()}
        try:
            return handler({key: value for key, value in given.items() if value is not None or key not in known})
        except ValidationError as exc:
            errors = [_translated(error, known) for error in exc.errors(include_url=False)]
        raise ValidationError.from_exception_data(cls.__name__, errors)

    @classmethod
    def known_keys(cls) -> list[str]:
        """The keys that the block may have in a file."""
        found: list[str] = []
        for name, info in cls.model_fields.items():
            alias = info.validation_alias
            if isinstance(alias, AliasChoices):
                found += [choice for choice in alias.choices if isinstance(choice, str)]
            else:
                found.append(alias if isinstance(alias, str) else name)
        return found


def _translated(error: ErrorDetails, known: list[str]) -> InitErrorDetails:
    """An error of pydantic in the words of an accelerator file, at the place of its block."""
    kind, path, context = error["type"], error["loc"], error.get("ctx", {})
    if kind == _FAULT:
        return _details(_FAULT, context["sentence"], path)
    if kind == _BLOCK_FAULT:
        return _details(_FAULT, context["sentence"], context["place"])
    given = shown(error["input"])
    if kind == "dict_type":
        return _details(_FAULT, f"must be a mapping, got {given}", path)
    is_item = isinstance(path[-1], int)
    while isinstance(path[-1], int):
        path = path[:-1]
    *place, key = path
    if kind == "missing":
        what = f"`{key}` is missing"
    elif kind == "extra_forbidden":
        what = f"unknown key `{shown(key)[1:-1]}`{near_name(key, known, ', did you mean `{}`?')}"
    elif kind in ("literal_error", "enum"):
        options = re.findall(r"'([^']*)'", context["expected"])
        near = near_name(error["input"], options, ", did you mean '{}'?")
        what = f"`{key}` must be {'among' if is_item else 'one of'} {', '.join(options)}, got {given}{near}"
    elif kind == "value_error":
        what = f"`{key}` {context['error']}"
    else:
        expected = {"list_type": "be a list", "bool_type": "be true or false"}.get(kind, "be text")
        what = f"`{key}` must {'hold names' if is_item else expected}, got {given}"
    return _details(_FAULT, what, tuple(place))


B = TypeVar("B", bound=Block)


def read_block(
    kind: type[B], data: Any, place: str, faults: Faults, context: Mapping[str, Any] | None = None
) -> B | None:
    """Read one block.

    Args:
        kind: The model of the block.
        data: Plain data from the file.
        place: Where the block stands, for faults; empty for the file itself.
        faults: Gets all faults of the block.
        context: What validators of the block need to know of the rest of the file.

    Returns:
        The block, or None where it has a fault.
    """
    try:
        return kind.model_validate(data, context=dict(context or {}))
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            faults.add(_place(place, error["loc"]), error["ctx"]["sentence"])
    return None


def _place(start: str, path: Path) -> str:
    text, container = start, ""
    for part in path:
        if container:
            text += f" {_ELEMENTS[container]} {part + 1 if isinstance(part, int) else repr(part)}"
            container = ""
        elif part in _ELEMENTS:
            container = str(part)
        else:
            text += f".{part}"
    return f"{text}.{container}".strip(" .")


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


def _one_line(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be text, got {shown(value)}")
    return " ".join(value.split())


def _distinct(values: list[str]) -> list[str]:
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
Text = Annotated[str, BeforeValidator(_one_line)]
Names = Annotated[list[str], DISTINCT]
