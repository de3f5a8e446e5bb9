"""The in-memory computing block of a core: what ZigZag's gate-level model can price, and what it cannot."""

from typing import Literal, cast

from offramp.hardware.accelerator import ImcArray, MemoryLevel
from offramp.hardware.formats.yaml_fields import Section

CELLS = "cells"


def read_imc(section: Section) -> ImcArray:
    """The keys that stand beside `is_imc: true`; ZigZag prices powers of two only."""
    kind = section.choice("imc_type", ("analog", "digital"))
    precision = section.values("input_precision")
    if len(precision) != 2:
        section.fault(f"`input_precision` must be [activation bits, weight bits], got {len(precision)} values")
        precision = [8, 8]
    activation, weight = (section.checked_integer("input_precision", value, 1, 8) for value in precision)
    serial = section.integer("bit_serial_precision", minimum=1)
    adc = section.integer("adc_resolution", minimum=0, default=0)
    for name, bits in (("input_precision", activation), ("input_precision", weight), ("bit_serial_precision", serial)):
        if bits & (bits - 1):
            section.fault(f"`{name}` must be a power of two, got {bits}")
    if serial > activation:
        section.fault(f"`bit_serial_precision` must be at most the {activation} activation bits, got {serial}")
    if kind == "digital" and adc:
        section.fault(f"`adc_resolution` must be 0 on a digital array, got {adc}")
    if kind == "analog" and not adc and "adc_resolution" not in section:
        section.fault("`adc_resolution` is missing; an analog array needs it")
    return ImcArray(cast(Literal["analog", "digital"], kind), activation, weight, serial, adc)


def check_imc_memories(memories: tuple[MemoryLevel, ...], imc: ImcArray, body: Section) -> None:
    """An in-memory array keeps its weights in a memory called `cells`, one per multiplier."""
    cells = [memory for memory in memories if memory.name == CELLS]
    if not cells:
        body.fault(f"an in-memory computing core needs a memory called '{CELLS}'")
        return
    if cells[0].operands != ("I2",):
        body.fault(f"memory '{CELLS}' must hold I2 alone, got {', '.join(cells[0].operands)}")
    if cells[0].served_dimensions:
        body.fault(f"memory '{CELLS}' must have `served_dimensions: []`, got {', '.join(cells[0].served_dimensions)}")
    if cells[0].size_bits % imc.weight_bits:
        body.fault(f"memory '{CELLS}' must hold whole {imc.weight_bits}-bit weights, got size {cells[0].size_bits}")
