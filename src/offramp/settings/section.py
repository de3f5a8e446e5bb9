"""What all sections of the settings share: they are frozen, refuse unknown names, and describe their fields."""

import inspect
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from offramp.errors import ConfigError
from offramp.jsonio import describe_faults

Share = Annotated[float, Field(gt=0.0, lt=1.0)]
"""A fraction between 0 and 1, both excluded."""

ClosedShare = Annotated[float, Field(ge=0.0, le=1.0)]
"""A fraction from 0 to 1, both included."""

Count = Annotated[int, Field(ge=1)]
"""A whole number of at least 1."""


class Section(BaseModel):
    """Settings that belong together.

    The docstring of a section gets an ``Attributes`` block, made from the descriptions of its fields.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    if not TYPE_CHECKING:  # a type checker sees one parameter for each field

        def __init__(self, **settings: Any) -> None:
            try:
                super().__init__(**settings)
            except ValidationError as exc:
                raise _refusal(type(self), exc, type(self).__name__) from exc

        # Sections inside a section are still checked by pydantic itself, which lists the faults of all of them.
        __init__.__pydantic_base_init__ = True

    @field_validator("*", mode="before")
    @classmethod
    def _true_and_false_are_no_numbers(cls, value: object, info: ValidationInfo) -> object:
        # YAML reads yes and on as true, which would otherwise count as 1.
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and bool not in (annotation, *get_args(annotation)):
            raise ValueError("true and false are for settings that are on or off, and this is none")
        return value

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        fields = [f"    {name}: {field.description}" for name, field in cls.model_fields.items() if field.description]
        if fields:
            cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__ or ""), "", "Attributes:", *fields])


S = TypeVar("S", bound=Section)


def build_section(kind: type[S], data: dict[str, Any], origin: str = "Settings") -> S:
    """Check plain data and make a section of them.

    Args:
        kind: The section to build.
        data: Values by name; what is left out keeps its default.
        origin: Where the data came from, for the error message.

    Returns:
        The section.

    Raises:
        ConfigError: A name is unknown or a value is not allowed; the message lists all faults.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as exc:
        raise _refusal(kind, exc, origin) from exc


def _refusal(kind: type[Section], exc: ValidationError, origin: str) -> ConfigError:
    faults = describe_faults(exc, known=lambda place: _names_at(kind, place))
    return ConfigError(f"{origin}: {exc.error_count()} fault(s): {faults}.")


def _names_at(kind: type[Section], place: tuple[int | str, ...]) -> list[str]:
    """The settings that the section has in which an unknown one was found."""
    for name in place[:-1]:
        field = kind.model_fields.get(str(name))
        if field is None or not isinstance(field.default, Section):
            return []
        kind = type(field.default)
    return list(kind.model_fields)
