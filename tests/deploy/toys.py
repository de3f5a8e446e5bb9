"""Small networks, and costs and profiles made up for them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offramp.cost.report import CostReport, StageCost
from offramp.exits.exit_policy import ExitProfile
from offramp.nn.network import EarlyExitNetwork
from offramp.space.architecture import Architecture, ExitChoice, StageChoice

CLASSES = ("cat", "dog", "fox", "hen", "owl")
INPUT_SHAPE = (3, 12, 10)
MEAN = (0.5, 0.4, 0.3)
STD = (0.25, 0.2, 0.3)


def architecture(num_exits: int = 3) -> Architecture:
    exits = tuple(ExitChoice(tap, f"toy_{tap}") for tap in range(num_exits - 1))
    return Architecture("toy", 12, (StageChoice(1, 8, (3,), (1,)),), exits, final_branch="toy_final")


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(features + self.inner(features))


def stage(inputs: int, outputs: int) -> nn.Module:
    layers = [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU6(), Residual(outputs)]
    return nn.Sequential(*layers)


def branch(channels: int, classes: int = len(CLASSES)) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(channels, classes))


def shake_(network: EarlyExitNetwork, seed: int) -> EarlyExitNetwork:
    """Batch norms with statistics of their own and logits far enough apart for confidences to spread over 0..1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean = torch.randn(module.num_features, generator=generator) * 0.2
                module.running_var = torch.rand(module.num_features, generator=generator) + 0.3
            elif isinstance(module, nn.Conv2d | nn.Linear):
                scale = 1.0 if isinstance(module, nn.Linear) else (2.0 / module.weight[0].numel()) ** 0.5
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * scale)
    return network


def network(num_exits: int = 3, seed: int = 0) -> EarlyExitNetwork:
    widths = (3, 6, 8, 10, 12)
    # Biases come from torch's global generator: without a seed they would depend on which tests ran before.
    torch.manual_seed(seed)
    stages = [stage(widths[i], widths[i + 1]) for i in range(num_exits)]
    branches = [branch(widths[i + 1]) for i in range(num_exits)]
    made = EarlyExitNetwork(architecture(num_exits), stages, branches, INPUT_SHAPE, len(CLASSES))
    return shake_(made, seed)


def samples(count: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, *INPUT_SHAPE)).astype(np.float32)


def logits_of(network: EarlyExitNetwork, inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        logits = tuple(exit_logits.numpy() for exit_logits in network(torch.from_numpy(inputs)))
    network.train(was_training)
    return logits


def cost_report(num_exits: int = 3) -> CostReport:
    stages = tuple(
        StageCost(f"exit_{i}", 80.0, 5.0, 15.0, 100.0, 10.0, 100.0 * (i + 1), 10.0 * (i + 1), 1000 * (i + 1))
        for i in range(num_exits)
    )
    return CostReport("toy-accelerator", "toy", "1", "offramp", stages, ())


def exit_profile() -> ExitProfile:
    return ExitProfile((0.5, 0.25, 0.25), (0.9, 0.8, 0.7), (0.7, 0.75, 0.8), 0.825, 400)
