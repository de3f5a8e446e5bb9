"""Numbers of analog channels of a workload's layers, from the analog shares of an architecture."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from offramp.cost.engines.formula.core_limits import why_not
from offramp.cost.mapping.channel_split.core_options import analog_refusal
from offramp.hardware.accelerator import Accelerator
from offramp.hardware.chip_formulas import ChipFormulas, CoreFormula, InMemoryArray
from offramp.space.architecture import Architecture
from offramp.workload.graph import Layer, Role, Workload
from offramp.workload.layer import MATRIX_OPS, LayerShape

_BLOCK = re.compile(r"(?:^|\.)block(\d+)(?:\.|$)")


@dataclass(frozen=True)
class AnalogPlan:
    """What the analog shares of an architecture mean for the layers of its workload.

    Attributes:
        channels: Analog channels by layer; layers without any are left out.
        refused: By layer, why one with a share stays digital.
    """

    channels: dict[str, int]
    refused: dict[str, str]


@dataclass(frozen=True)
class AnalogSplit:
    """How a chip divides a layer's output channels: the rule of `plan_analog`, for one layer by itself.

    Attributes:
        analog: The analog core.
        array: Its array.
        step: Channels are divided into multiples of this.
    """

    analog: CoreFormula
    array: InMemoryArray
    step: int

    def channels(self, shape: LayerShape, share: float) -> int:
        """Count the analog channels of a layer that does not read the network's input.

        Args:
            shape: The layer.
            share: Share of its channels, from 0 to 1.

        Returns:
            Number of channels; 0 where the core cannot run the layer.
        """
        return 0 if not share or why_not(self.analog, shape) else _rounded(share, shape.k, self.step)


def analog_split(accelerator: Accelerator) -> AnalogSplit | None:
    """Find out how an accelerator divides layers.

    Args:
        accelerator: The accelerator.

    Returns:
        The rule; None without an analog core.
    """
    chip = accelerator.formulas
    if chip is None or chip.analog is None or not isinstance(chip.analog.cycles, InMemoryArray):
        return None
    return AnalogSplit(chip.analog, chip.analog.cycles, chip.split_channels)


def _rounded(share: float, channels: int, step: int) -> int:
    """Rounded to what the chip divides layers into, halves up; a share of 1 is all channels."""
    return channels if share == 1.0 else min(channels, math.floor(share * channels / step + 0.5) * step)


def plan_analog(workload: Workload, architecture: Architecture, accelerator: Accelerator) -> AnalogPlan:
    """Channels of every layer that the architecture gives a share of to the analog core.

    Channels are rounded to what the chip divides layers into, halves up. The layers of a block take its values in the
    order in which they run; where a block has more layers than values, the last value holds for the rest. All layers of
    an exit's branch have the exit's share, also where it is the head; the final classifier of the family has none.

    Args:
        workload: The network that the architecture describes.
        architecture: What states the shares.
        accelerator: What it runs on.

    Returns:
        The channels, and why layers stay digital that the analog core cannot run; nothing without an analog core.
    """
    chip = accelerator.formulas
    if chip is None or chip.analog is None or not architecture.has_analog_shares:
        return AnalogPlan({}, {})
    channels: dict[str, int] = {}
    refused: dict[str, str] = {}
    for layer, share in _shares(workload, architecture):
        reason = analog_refusal(chip, layer)
        if share and reason:
            refused[layer.name] = reason
        elif count := _rounded(share, layer.shape.k, chip.split_channels):
            channels[layer.name] = count
    return AnalogPlan(channels, refused)


def _shares(workload: Workload, architecture: Architecture) -> Iterator[tuple[Layer, float]]:
    """Matrix layers of blocks and branches, each with its share."""
    shares = [stage.block_analog_shares(block) for stage in architecture.stages for block in range(stage.depth)]
    for own, values in zip(_blocks(workload), shares, strict=False):
        for index, layer in enumerate(own):
            yield layer, values[min(index, len(values) - 1)] if values else 0.0
    of_branches = architecture.analog_shares_of_branches
    for layer in workload.layers:
        if layer.role is Role.BRANCH and layer.shape.op in MATRIX_OPS:
            yield layer, of_branches[layer.stage]


def _blocks(workload: Workload) -> list[list[Layer]]:
    """Matrix layers of each backbone block, in order; the stem belongs to none."""
    found: dict[str, list[Layer]] = {}
    for layer in workload.layers:
        match = _BLOCK.search(layer.name)
        if layer.role is Role.BACKBONE and layer.shape.op in MATRIX_OPS and match is not None:
            found.setdefault(match[1], []).append(layer)
    return list(found.values())


@dataclass(frozen=True)
class AnalogRefusal:
    """Layers that the analog core cannot run, for one reason.

    Attributes:
        core: Name of the analog core.
        reason: The reason.
        layers: Names of the layers.
    """

    core: str
    reason: str
    layers: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The refusal in words, with the first layers."""
        shown = ", ".join(self.layers[:_SHOWN]) + (", ..." if len(self.layers) > _SHOWN else "")
        number = "1 layer cannot" if len(self.layers) == 1 else f"{len(self.layers)} layers cannot"
        return f"{number} run on core {self.core!r}: {self.reason} ({shown})."


_SHOWN = 3


def analog_refusals(workload: Workload, accelerator: Accelerator) -> tuple[AnalogRefusal, ...]:
    """Find convolutions and linear layers that stay digital whatever is decided.

    Args:
        workload: The network.
        accelerator: What it runs on.

    Returns:
        One refusal per reason; none without an analog core.
    """
    chip: ChipFormulas | None = accelerator.formulas
    if chip is None or chip.analog is None:
        return ()
    found: dict[str, list[str]] = {}
    for layer in workload.layers:
        if layer.shape.op in MATRIX_OPS and (reason := analog_refusal(chip, layer)):
            found.setdefault(reason, []).append(layer.name)
    return tuple(AnalogRefusal(chip.analog.core, reason, tuple(names)) for reason, names in found.items())
