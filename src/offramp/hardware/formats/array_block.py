"""The operational array of a core: its dimensions, and what one multiply-accumulate takes."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, ValidationInfo, field_validator

from offramp.hardware.accelerator import ArrayDimension
from offramp.hardware.formats.block import DISTINCT, Block, Figure, Names, checked_whole


def _dimension(value: str) -> str:
    if not re.fullmatch(r"D\d", value):
        raise ValueError(f"must be D1, D2, ..., got {value!r}")
    return value


def _size(value: Any, info: ValidationInfo) -> int:
    return checked_whole(value, (info.context or {}).get("min_array_size", 1))


class ArrayBlock(Block):
    """What every array has.

    Attributes:
        is_imc: Whether it computes in memory.
        dimensions: Names of its dimensions: D1, D2, ...
        sizes: Multipliers along each; 0 where nothing is computed.
        systolic_dimensions: Dimensions along which data move from one processing element to the next, a cycle each.
        unit_area: Not used.
        multiplier_area: Not used.
    """

    is_imc: bool = False
    dimensions: Annotated[list[Annotated[str, AfterValidator(_dimension)]], DISTINCT]
    sizes: list[Annotated[int, BeforeValidator(_size)]]
    systolic_dimensions: Names = Field(default_factory=list)
    unit_area: Any = None
    multiplier_area: Any = None

    @field_validator("sizes")
    @classmethod
    def _one_per_dimension(cls, value: list[int], info: ValidationInfo) -> list[int]:
        dimensions = info.data.get("dimensions")
        if dimensions is not None and (len(dimensions) != len(value) or not value):
            raise ValueError(f"must have one value per dimension, got {len(value)} for {len(dimensions)}")
        return value

    @field_validator("systolic_dimensions")
    @classmethod
    def _among_the_dimensions(cls, value: list[str], info: ValidationInfo) -> list[str]:
        unknown = [name for name in value if name not in info.data.get("dimensions", value)]
        if unknown:
            raise ValueError(f"names {', '.join(map(repr, unknown))}, which is not in `dimensions`")
        return value

    @property
    def array(self) -> tuple[ArrayDimension, ...]:
        """The dimensions as values."""
        return tuple(map(ArrayDimension, self.dimensions, self.sizes))


class MacArrayBlock(ArrayBlock):
    """An array of multipliers.

    Attributes:
        unit_energy: pJ per multiply-accumulate.
        input_precision: Not used.
    """

    unit_energy: Figure = Field(validation_alias=AliasChoices("multiplier_energy", "unit_energy"))
    input_precision: Any = None
