"""The operational array of a core: multipliers, or an in-memory computing array that ZigZag's model can price."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, ValidationInfo

from offramp.hardware.accelerator import ImcArray
from offramp.hardware.block import Block, context_of
from offramp.hardware.field_types import (
    DISTINCT,
    Count,
    Figure,
    Flag,
    Items,
    Name,
    Names,
    WholeNumber,
    checked_whole,
    matches,
    must,
)

Dimension = Annotated[Name, matches(r"D\d", "must be D1, D2, ...")]


def _size(value: Any, info: ValidationInfo) -> int:
    return checked_whole(value, context_of(info).get("min_array_size", 1))


def _one_per_dimension(value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
    dimensions = info.data.get("dimensions")
    if dimensions is not None and (len(dimensions) != len(value) or not value):
        raise ValueError(f"must have one value per dimension, got {len(value)} for {len(dimensions)}")
    return value


def _among_the_dimensions(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    unknown = [name for name in value if name not in info.data.get("dimensions", value)]
    if unknown:
        raise ValueError(f"names {', '.join(map(repr, unknown))}, which is not in `dimensions`")
    return value


@dataclass(frozen=True, kw_only=True)
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

    is_imc: Flag = False
    dimensions: Annotated[Items[Dimension], DISTINCT]
    sizes: Annotated[Items[Annotated[int, BeforeValidator(_size)]], AfterValidator(_one_per_dimension)]
    systolic_dimensions: Annotated[Names, AfterValidator(_among_the_dimensions)] = ()
    unit_area: Any = None
    multiplier_area: Any = None


@dataclass(frozen=True, kw_only=True)
class MacArrayBlock(ArrayBlock):
    """An array of multipliers.

    Attributes:
        unit_energy: pJ per multiply-accumulate.
        input_precision: Not used.
    """

    unit_energy: Annotated[Figure, Field(validation_alias=AliasChoices("multiplier_energy", "unit_energy"))]
    input_precision: Any = None


def _not_wider_than_activations(value: int, info: ValidationInfo) -> int:
    activation_bits = info.data.get("input_precision", [value])[0]
    if value > activation_bits:
        raise ValueError(f"must be at most the {activation_bits} activation bits, got {value}")
    return value


def _converters_of_analog_arrays(value: int | None, info: ValidationInfo) -> int:
    kind = info.data.get("imc_type")
    if kind == "analog" and value is None:
        raise ValueError("is missing; an analog array needs it")
    if kind == "digital" and value:
        raise ValueError(f"must be 0 on a digital array, got {value}")
    return value or 0


PowerOfTwo = Annotated[Count, must(lambda value: value & (value - 1) == 0, "must be a power of two, got {value}")]
_Widths = Annotated[
    Items[PowerOfTwo],
    must(lambda widths: len(widths) == 2, "must be [activation bits, weight bits], got {count} values"),
]


@dataclass(frozen=True, kw_only=True)
class InMemoryArrayBlock(ArrayBlock):
    """The array of a core with ``is_imc: true``; ZigZag prices powers of two only.

    Attributes:
        imc_type: analog or digital.
        input_precision: Bits of activations and of weights.
        bit_serial_precision: Bits of the activations that are applied at once.
        adc_resolution: Bits of the converters; 0 on a digital array.
    """

    imc_type: Literal["analog", "digital"]
    input_precision: _Widths
    bit_serial_precision: Annotated[PowerOfTwo, AfterValidator(_not_wider_than_activations)]
    adc_resolution: Annotated[
        WholeNumber | None, AfterValidator(_converters_of_analog_arrays), Field(validate_default=True)
    ] = None

    def build(self) -> ImcArray:
        """The array's figures beside its sizes."""
        activation, weight = self.input_precision
        return ImcArray(self.imc_type, activation, weight, self.bit_serial_precision, self.adc_resolution or 0)
