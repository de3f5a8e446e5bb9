"""The in-memory computing array of a core, within what ZigZag's gate-level model can price."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from offramp.hardware.accelerator import ImcArray
from offramp.hardware.formats.array_block import ArrayBlock
from offramp.hardware.formats.block import Count, Fault, WholeNumber, near_name
from offramp.hardware.formats.memory_block import MemoryBlock

CELLS = "cells"


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError(f"must be a power of two, got {value}")
    return value


PowerOfTwo = Annotated[Count, AfterValidator(_power_of_two)]


class InMemoryArrayBlock(ArrayBlock):
    """The array of a core with ``is_imc: true``; ZigZag prices powers of two only.

    Attributes:
        imc_type: analog or digital.
        input_precision: Bits of activations and of weights.
        bit_serial_precision: Bits of the activations that are applied at once.
        adc_resolution: Bits of the converters; 0 on a digital array.
    """

    imc_type: Literal["analog", "digital"]
    input_precision: list[PowerOfTwo]
    bit_serial_precision: PowerOfTwo
    adc_resolution: WholeNumber | None = Field(default=None, validate_default=True)

    @field_validator("input_precision")
    @classmethod
    def _two_widths(cls, value: list[int]) -> list[int]:
        if len(value) != 2:
            raise ValueError(f"must be [activation bits, weight bits], got {len(value)} values")
        return value

    @field_validator("bit_serial_precision")
    @classmethod
    def _not_wider_than_activations(cls, value: int, info: ValidationInfo) -> int:
        activation_bits = info.data.get("input_precision", [value])[0]
        if value > activation_bits:
            raise ValueError(f"must be at most the {activation_bits} activation bits, got {value}")
        return value

    @field_validator("adc_resolution")
    @classmethod
    def _converters_of_analog_arrays(cls, value: int | None, info: ValidationInfo) -> int:
        kind = info.data.get("imc_type")
        if kind == "analog" and value is None:
            raise ValueError("is missing; an analog array needs it")
        if kind == "digital" and value:
            raise ValueError(f"must be 0 on a digital array, got {value}")
        return value or 0

    def build(self) -> ImcArray:
        """The array's figures beside its sizes."""
        activation, weight = self.input_precision
        return ImcArray(self.imc_type, activation, weight, self.bit_serial_precision, self.adc_resolution or 0)


def cell_faults(memories: Mapping[str, MemoryBlock], array: InMemoryArrayBlock) -> Iterator[Fault]:
    """An in-memory array keeps its weights in a memory called `cells`, one per multiplier.

    Args:
        memories: The memories of the core by name.
        array: Its array.

    Yields:
        What is wrong with that memory.
    """
    cells = memories.get(CELLS)
    if cells is None:
        yield Fault(f"an in-memory computing core needs a memory called '{CELLS}'{near_name(CELLS, memories)}")
        return
    if cells.operands != ["I2"]:
        yield Fault(f"memory '{CELLS}' must hold I2 alone, got {', '.join(cells.operands)}")
    if cells.served_dimensions:
        yield Fault(f"memory '{CELLS}' must have `served_dimensions: []`, got {', '.join(cells.served_dimensions)}")
    weight_bits = array.input_precision[1]
    if cells.size % weight_bits:
        yield Fault(f"memory '{CELLS}' must hold whole {weight_bits}-bit weights, got size {cells.size}")
