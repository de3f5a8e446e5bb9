"""A device whose costs are measured: a runner is given files and says how long each takes."""

import shlex
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AfterValidator

from offramp.hardware.block import Block
from offramp.hardware.field_types import Count, PositiveFigure, Text, WholeNumber, whole

Arithmetic = Literal["float32", "int8"]
"""What measured networks compute in."""

HOST = "host"
"""The runner that is onnxruntime on this machine."""

MODEL = "{model}"
"""What stands in a command for the path of the file to measure."""

PLACEHOLDERS = (MODEL, "{warm_up}", "{repetitions}")
"""What a command may contain: the path of the file, and how often it is to be run."""


def split_command(command: str) -> tuple[str, ...]:
    """Split a command into the program and its arguments, as a shell would. No shell is started.

    Args:
        command: The text of a runner.

    Returns:
        The program and its arguments, with placeholders.

    Raises:
        ValueError: A quote is open, or there is nothing.
    """
    try:
        words = tuple(shlex.split(command))
    except ValueError as exc:
        raise ValueError(f"must be a command with closed quotes, got {command!r}") from exc
    if not words:
        raise ValueError("must name a program, got an empty one")
    return words


def _program(command: str) -> str:
    if command != HOST:
        split_command(command)
    return command


Command = Annotated[Text, AfterValidator(_program)]


@dataclass(frozen=True)
class Measurement(Block):
    """How a runner measures.

    Attributes:
        arithmetic: What the measured networks compute in.
        threads: Threads inside an operator, for runner ``host``.
        warm_up: Runs before the measured ones.
        repetitions: Measured runs.
        timeout_s: Seconds after which a file is given up.
        power_w: Mean power of the device in W while it computes; None where the runner prints energies.
        power_source: Where the power is from.
        version: A text of the user's that changes with the device or its program; measurements of another version are
            not used again.
    """

    arithmetic: Arithmetic = "float32"
    threads: Annotated[int, whole(1, 1024)] = 1
    warm_up: WholeNumber = 5
    repetitions: Count = 40
    timeout_s: PositiveFigure = 60.0
    power_w: PositiveFigure | None = None
    power_source: Text = ""
    version: Text = ""


@dataclass(frozen=True)
class Runner:
    """What measures layers and networks on a device.

    Attributes:
        command: ``host``, or a command that is given a file and prints how long it takes.
        measurement: How it measures.
    """

    command: str
    measurement: Measurement = field(default_factory=Measurement)

    @property
    def is_host(self) -> bool:
        """Whether onnxruntime on this machine is the runner."""
        return self.command == HOST
