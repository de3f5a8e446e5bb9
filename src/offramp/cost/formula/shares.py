"""From the analog shares that an architecture states to channels of the layers of its workload."""

import math
import re
from dataclasses import dataclass, replace

from offramp.cost.formula.options import analog_refusal
from offramp.hardware.accelerator import Accelerator
from offramp.space.architecture import Architecture
from offramp.workload.graph import Layer, Role, Workload
from offramp.workload.layer import MATRIX_OPS

_BLOCK = re.compile(r"(?:^|\.)block(\d+)(?:\.|$)")


@dataclass(frozen=True)
class AnalogPlan:
    """``channels`` by layer, those without any left out; ``refused``: why layers with a share stay digital."""

    channels: dict[str, int]
    refused: dict[str, str]


def has_analog_shares(architecture: Architecture) -> bool:
    return any(stage.analog_shares for stage in architecture.stages)


def plan_analog(workload: Workload, architecture: Architecture, accelerator: Accelerator) -> AnalogPlan:
    """Channels of every backbone layer that the architecture gives a share of to the analog core.

    Channels are rounded to what the chip divides layers into, halves up. The layers of a block take its values in the
    order in which they run; where a block has more layers than values, the last value holds for the rest. A layer that
    the analog core cannot run stays digital, with the reason.
    """
    chip = accelerator.formulas
    if chip is None or chip.analog is None or not has_analog_shares(architecture):
        return AnalogPlan({}, {})
    shares = [stage.block_analog_shares(block) for stage in architecture.stages for block in range(stage.depth)]
    channels: dict[str, int] = {}
    refused: dict[str, str] = {}
    for own, values in zip(_blocks(workload), shares, strict=False):
        for index, layer in enumerate(own):
            share = values[min(index, len(values) - 1)] if values else 0.0
            if not share:
                continue
            reason = analog_refusal(chip, layer)
            if reason:
                refused[layer.name] = reason
                continue
            count = min(
                layer.shape.k, math.floor(share * layer.shape.k / chip.split_channels + 0.5) * chip.split_channels
            )
            if share == 1.0:
                count = layer.shape.k
            if count:
                channels[layer.name] = count
    return AnalogPlan(channels, refused)


def _blocks(workload: Workload) -> list[list[Layer]]:
    """Matrix layers of each backbone block, in order; the stem belongs to none."""
    found: dict[str, list[Layer]] = {}
    for layer in workload.layers:
        match = _BLOCK.search(layer.name)
        if layer.role is Role.BACKBONE and layer.shape.op in MATRIX_OPS and match is not None:
            found.setdefault(match[1], []).append(layer)
    return list(found.values())


def with_analog_channels(workload: Workload, plan: AnalogPlan) -> Workload:
    """The workload with every layer's assignment decided."""
    layers = tuple(replace(layer, analog_channels=plan.channels.get(layer.name, 0)) for layer in workload.layers)
    return replace(workload, layers=layers)
