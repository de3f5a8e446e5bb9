"""Networks whose architecture gives layers to an analog core: prepared, priced and run as such."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from offramp.cost.formula.shares import has_analog_shares, plan_analog, with_analog_channels
from offramp.hardware.accelerator import Accelerator
from offramp.hardware.formulas import InMemoryArray
from offramp.nn.analog import make_analog_, set_noise_
from offramp.nn.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantize import is_prepared, prepare_
from offramp.workload.graph import Workload


def assigned_workload(network: EarlyExitNetwork, accelerator: Accelerator) -> Workload:
    """The network's layers; where its architecture states analog shares, with the channels they mean."""
    workload = lower(network)
    if not has_analog_shares(network.architecture):
        return workload
    return with_analog_channels(workload, plan_analog(workload, network.architecture, accelerator))


def make_assigned_(network: EarlyExitNetwork, accelerator: Accelerator, images: Sequence[Tensor], seed: int) -> None:
    """Give layers their analog channels, with converter noise from ``seed``, as the architecture says.

    A float network is prepared for its bit widths first. Nothing happens without analog shares. Raises ConfigError
    where the bit widths leave a layer in floating point.
    """
    chip = accelerator.formulas
    if chip is None or chip.analog is None or not has_analog_shares(network.architecture):
        return
    plan = plan_analog(lower(network), network.architecture, accelerator)
    if not is_prepared(network):
        prepare_(network, images)
    make_analog_(network, plan.channels, cast(InMemoryArray, chip.analog.cycles), images)
    set_noise_(network, torch.Generator().manual_seed(seed))
