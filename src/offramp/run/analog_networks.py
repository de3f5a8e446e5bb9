"""Networks whose architecture gives layers to an analog core: prepared, priced and run as such."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from offramp.cost.mapping.channel_split.analog_shares import AnalogRefusal, analog_refusals, plan_analog
from offramp.hardware.accelerator import Accelerator
from offramp.hardware.chip_formulas import InMemoryArray
from offramp.nn.analog_convolution import make_analog_, set_noise_
from offramp.nn.backbone import ElasticBackbone
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.quantize import is_prepared, prepare_
from offramp.run.context import Context
from offramp.space.architecture import PolicyChoice
from offramp.workload.graph import Workload


def assigned_workload(network: EarlyExitNetwork, accelerator: Accelerator) -> Workload:
    """The network's layers; where its architecture states analog shares, with the channels they mean."""
    workload = lower(network)
    if not network.architecture.has_analog_shares:
        return workload
    return workload.with_analog_channels(plan_analog(workload, network.architecture, accelerator).channels)


def analog_notes(context: Context) -> tuple[str, ...]:
    """What stays digital whatever shares are chosen, a sentence per reason; nothing where no shares are searched.

    Told of the largest backbone with all the exits it may have, branch type by branch type.
    """
    space, notes = context.space, []
    if not any(space.analog_shares):
        return ()
    backbone = space.max_architecture()
    layers: dict[str, dict[str, None]] = {}
    for branch in space.branches:
        taps = len(space.active_taps(backbone))
        with_exits = replace(space, max_exits=taps).with_spread_exits(backbone, taps, branch, PolicyChoice())
        for refusal in analog_refusals(lower(context.supernet.extract(with_exits)), context.accelerator):
            named = (_with_branch(name, branch, taps) for name in refusal.layers)
            layers.setdefault(refusal.reason, {}).update(dict.fromkeys(named))
    chip = context.accelerator.formulas
    core = chip.analog.core if chip is not None and chip.analog is not None else ""
    notes += [AnalogRefusal(core, reason, tuple(names)).sentence for reason, names in layers.items()]
    if not isinstance(context.supernet.backbone, ElasticBackbone):
        notes.append(
            "Only exit branches were trained with analog shares before the search, not this backbone: what candidates "
            "lose by its analog layers is more than what the chosen networks lose after fine-tuning."
        )
    return tuple(notes)


def _with_branch(name: str, branch: str, taps: int) -> str:
    """A layer's name with the type of the branch it is in; the final classifier has one type."""
    parts = name.split(".")
    return f"{name} of {branch}" if parts[0] == "branches" and int(parts[1]) < taps else name


def make_assigned_(network: EarlyExitNetwork, accelerator: Accelerator, images: Sequence[Tensor], seed: int) -> None:
    """Give layers their analog channels, with converter noise from ``seed``, as the architecture says.

    A float network is prepared for its bit widths first. Nothing happens without analog shares. Raises ConfigError
    where the bit widths leave a layer in floating point.
    """
    chip = accelerator.formulas
    if chip is None or chip.analog is None or not network.architecture.has_analog_shares:
        return
    plan = plan_analog(lower(network), network.architecture, accelerator)
    if not is_prepared(network):
        prepare_(network, images)
    make_analog_(network, plan.channels, cast(InMemoryArray, chip.analog.cycles), images)
    set_noise_(network, torch.Generator().manual_seed(seed))
