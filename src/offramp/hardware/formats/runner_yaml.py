"""Accelerator files that name a runner in place of cores: their costs are measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo

from offramp.hardware.accelerator import Accelerator, ArrayDimension, Core, CoreKind
from offramp.hardware.block import Block, Fault, raise_faults
from offramp.hardware.device_power import DevicePower
from offramp.hardware.field_types import Count, Names, PositiveFigure, Text, must
from offramp.hardware.formats.faults import Faults, read_block
from offramp.hardware.runner import HOST, Command, Measurement, Runner

NANOSECOND_HZ = 1e9
"""Clock of a measured device without a stated one: a cycle is a nanosecond."""

DEVICE = "device"
"""Name of the one core of a measured device."""

_ENERGY = (
    "`power_w` must be given, the mean power in W while the device computes: onnxruntime on this machine measures no "
    "energy. With any figure, such as 1, energies are in proportion to latencies"
)


def _with_power(value: Measurement, info: ValidationInfo) -> Measurement:
    if info.data.get("runner") == HOST and value.power_w is None:
        raise_faults([Fault(_ENERGY, ("measurement",))])
    return value


@dataclass(frozen=True, kw_only=True)
class RunnerFile(Block):
    """A file with a runner as a whole.

    Attributes:
        schema_version: 1; the key is ``schema``.
        name: What the device is called.
        description: One sentence.
        clock_hz: Clock in Hz, which times are turned into cycles with; without it, a cycle is a nanosecond.
        sources: Where the figures come from.
        runner: ``host``, or a command.
        measurement: How it measures.
        device_power: Static power and energy of a start.
    """

    schema_version: Annotated[
        Count, must(lambda value: value == 1, "must be 1, got {value}"), Field(validation_alias="schema")
    ]
    name: Text
    description: Text = ""
    clock_hz: PositiveFigure = NANOSECOND_HZ
    sources: Names
    runner: Command
    measurement: Annotated[Measurement, AfterValidator(_with_power), Field(validate_default=True)] = field(
        default_factory=Measurement
    )
    device_power: DevicePower | None = None


def read_runner(data: Mapping[str, Any], label: str, doubtful: Sequence[str] = ()) -> Accelerator:
    """An accelerator whose costs are measured.

    Args:
        data: The content of the file.
        label: The file's name, for faults.
        doubtful: Faults that were found while the file was parsed.

    Returns:
        The accelerator, with one core that stands for the whole device.

    Raises:
        AcceleratorError: The file has faults; the message lists all of them.
    """
    faults = Faults(list(doubtful))
    modelled = [key for key in ("cores", "links", "reference", "formulas", "activations_offchip") if key in data]
    for key in modelled:
        faults.add("", f"`{key}` and `runner` exclude each other: a measured device is described by its runner alone")
    file = read_block(RunnerFile, {key: value for key, value in data.items() if key not in modelled}, "", faults)
    faults.raise_if_any(label)
    assert file is not None  # it has no faults
    core = Core(DEVICE, CoreKind.COMPUTE, (ArrayDimension("D1", 1),), 0.0, ())
    return Accelerator(
        name=file.name,
        cores=(core,),
        links=(),
        clock_hz=file.clock_hz,
        description=file.description,
        sources=tuple(" ".join(text.split()) for text in file.sources),
        device_power=file.device_power,
        runner=Runner(file.runner, file.measurement),
    )
