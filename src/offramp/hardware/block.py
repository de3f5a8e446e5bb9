"""Blocks of an accelerator file: dataclasses that are read from its mappings, and their faults."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Self, cast, get_type_hints

from pydantic import AliasChoices, GetCoreSchemaHandler, TypeAdapter, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, ErrorDetails, InitErrorDetails, PydanticCustomError, core_schema

from offramp.hardware.field_types import shown

# Faults in the language of the file, and those that a validator of a block states for the block as a whole.
_FAULT, _BLOCK_FAULT = "fault", "block_fault"

Path = tuple[int | str, ...]


class Block:
    """Base of a dataclass that pydantic reads from a mapping of an accelerator file.

    The mapping has no unknown keys, a key without a value counts as left out, and one error lists all faults.
    """

    @classmethod
    def read(cls, data: Any, context: Mapping[str, Any] | None = None) -> Self:
        """Read one block.

        Args:
            data: Plain data from the file.
            context: What validators of the block need to know of the rest of the file.

        Returns:
            The block.

        Raises:
            ValidationError: There are faults; each has its place and a sentence.
        """
        return cast(Self, read_as(cls, data, context))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        known = _known_keys(cls)

        def read(data: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
            if isinstance(data, cls):
                return data
            if not isinstance(data, dict):
                raise _error(_FAULT, f"must be a mapping, got {shown(data)}")
            given = {str(key): value for key, value in data.items()}
            errors: list[InitErrorDetails] = []
            try:
                value = validate({key: item for key, item in given.items() if item is not None and key in known})
            except ValidationError as exc:
                errors = [_translated(error) for error in exc.errors(include_url=False)]
            for key in [key for key in given if key not in known]:
                hint = near_name(key, known, ", did you mean `{}`?")
                errors.append(_details(f"unknown key `{shown(key)[1:-1]}`{hint}"))
            if errors:
                raise ValidationError.from_exception_data(cls.__name__, errors)
            return value

        fields_schema: dict[str, Any] = {**handler.resolve_ref_schema(handler(source))}
        # The reference is that of the whole block, so that a second use of the type is read in the same way.
        ref = fields_schema.pop("ref")
        return core_schema.no_info_wrap_validator_function(read, cast(CoreSchema, fields_schema), ref=ref)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def read_as(kind: Any, data: Any, context: Mapping[str, Any] | None = None) -> Any:
    """Read data of any type that pydantic understands.

    Args:
        kind: The type, such as an ``Annotated`` one.
        data: Plain data from the file.
        context: What validators need to know of the rest of the file.

    Returns:
        The value.

    Raises:
        ValidationError: There are faults.
    """
    return _adapter(kind).validate_python(data, context=dict(context or {}))


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
    """Report faults from a validator of a field as faults of its block.

    Args:
        faults: All that is wrong; nothing happens where there is none.

    Raises:
        ValidationError: There is a fault.
    """
    errors = [
        InitErrorDetails(type=_error(_BLOCK_FAULT, fault.sentence, fault.place), loc=(), input=None) for fault in faults
    ]
    if errors:
        raise ValidationError.from_exception_data("block", errors)


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


def _known_keys(kind: Any) -> dict[str, None]:
    """The keys that a block may have in a file, in the order of its fields."""
    keys: list[str] = []
    hints = get_type_hints(kind, include_extras=True)
    for name in (field.name for field in fields(kind) if field.init):
        marks = getattr(hints[name], "__metadata__", ())
        alias = next((mark.validation_alias for mark in marks if isinstance(mark, FieldInfo)), None) or name
        keys += map(str, alias.choices) if isinstance(alias, AliasChoices) else [str(alias)]
    return dict.fromkeys(keys)


def _error(kind: str, sentence: str, place: Path = ()) -> PydanticCustomError:
    return PydanticCustomError(kind, "{sentence}", {"sentence": sentence, "place": place})


def _details(sentence: str, place: Path = ()) -> InitErrorDetails:
    return InitErrorDetails(type=_error(_FAULT, sentence), loc=place, input=None)


def _translated(error: ErrorDetails) -> InitErrorDetails:
    """An error of pydantic in the words of an accelerator file, at the place of its block."""
    kind, path, context, given = error["type"], error["loc"], error.get("ctx", {}), shown(error["input"])
    if kind == _FAULT:
        return _details(context["sentence"], path)
    if kind == _BLOCK_FAULT:
        return _details(context["sentence"], context["place"])
    if not path:  # what a dataclass checks once all fields are read
        return _details(str(context["error"]))
    if kind == "dict_type":
        return _details(f"must be a mapping, got {given}", path)
    is_item = isinstance(path[-1], int)
    while isinstance(path[-1], int):
        path = path[:-1]
    *place, key = path
    if kind == "missing":
        return _details(f"`{key}` is missing", tuple(place))
    if kind in ("literal_error", "enum"):
        options = re.findall(r"'([^']*)'", context["expected"])
        near = near_name(error["input"], options, ", did you mean '{}'?")
        what = f"must be {'among' if is_item else 'one of'} {', '.join(options)}, got {given}{near}"
    elif kind == "value_error":
        what = str(context["error"])
    elif kind == "bool_type":
        what = f"must be true or false, got {given}"
    else:
        what = f"must {'hold names' if is_item else 'be text'}, got {given}"
    return _details(f"`{key}` {what}", tuple(place))


def context_of(info: ValidationInfo) -> Mapping[str, Any]:
    """What a validator was told of the rest of the file.

    Args:
        info: The second argument of the validator.

    Returns:
        The context, empty where there is none.
    """
    return cast(Mapping[str, Any], info.context or {})


def values_of(block: Block, kind: type[Any]) -> dict[str, Any]:
    """The fields that a block shares with a value type.

    Args:
        block: A block that is derived from the value type.
        kind: The value type.

    Returns:
        Its fields by name.
    """
    return {item.name: getattr(block, item.name) for item in fields(kind)}
