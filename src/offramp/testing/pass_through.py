"""A network whose logits are its input: what is deployed from it can be given any logits."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from offramp.deploy.bundle.export_bundle import export_bundle
from offramp.exits.exit_rule import ExitRule
from offramp.nn.network import EarlyExitNetwork
from offramp.space.architecture import Architecture, ExitChoice, StageChoice


def pass_through(num_exits: int, num_classes: int) -> EarlyExitNetwork:
    """Make a network whose input holds the logits of all exits as channels, and whose exits give these.

    Args:
        num_exits: How many exits it has, the final one included.
        num_classes: How many classes it has.

    Returns:
        The network in evaluation mode; its input has the shape (exits * classes, 1, 1).
    """
    channels = num_exits * num_classes
    stages, branches = [], []
    for index in range(num_exits):
        stages.append(_convolution(torch.eye(channels)))
        chosen = torch.eye(channels)[index * num_classes : (index + 1) * num_classes]
        branches.append(nn.Sequential(_convolution(chosen), nn.Flatten()))
    exits = tuple(ExitChoice(tap, "pass_through") for tap in range(num_exits - 1))
    architecture = Architecture(
        "pass_through", 1, (StageChoice(1, channels, (1,), (1,)),), exits, final_branch="pass_through"
    )
    return EarlyExitNetwork(architecture, stages, branches, (channels, 1, 1), num_classes).eval()


def _convolution(matrix: torch.Tensor) -> nn.Module:
    layer = nn.Conv2d(matrix.shape[1], matrix.shape[0], 1, bias=False)
    layer.weight.data.copy_(matrix[:, :, None, None])
    return layer


def export_pass_through(bundle: Path, rule: ExitRule, inputs: NDArray[np.float32], num_classes: int) -> Path:
    """Write the bundle of a `pass_through` network.

    Args:
        bundle: Where to write it.
        rule: The exit rule.
        inputs: Inputs to verify it on, (samples, exits * classes, 1, 1).
        num_classes: How many classes it has.

    Returns:
        The path of the bundle.
    """
    channels = inputs.shape[1]
    return export_bundle(
        pass_through(channels // num_classes, num_classes),
        bundle,
        policy=rule,
        class_names=[str(index) for index in range(num_classes)],
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        checks=inputs,
        name="pass_through",
        seed=0,
    ).path
