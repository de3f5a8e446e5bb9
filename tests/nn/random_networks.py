"""Small random networks in all the forms that quantisation knows, for tests that need many of them."""

from collections import OrderedDict
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.precision_marks import mark_precision_
from offramp.space.architecture import Architecture, ExitChoice, Precision, StageChoice

INPUT_SHAPE = (3, 9, 8)
NUM_CLASSES = 4


class Shortcut(nn.Module):
    """A sum of two paths, with or without an activation behind it."""

    def __init__(self, body: nn.Module, *, activation: bool) -> None:
        super().__init__()
        self.body = body
        self.activation = activation

    def forward(self, inputs: Tensor) -> Tensor:
        total = inputs + self.body(inputs)
        return F.relu(total) if self.activation else total


class Draw:
    """Random choices, all of them from one seed."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def integer(self, low: int, high: int) -> int:
        """From ``low`` to ``high``, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def of(self, *options: int) -> int:
        return options[self.integer(0, len(options) - 1)]

    def coin(self) -> bool:
        return self.integer(0, 1) == 1

    def images(self, count: int) -> Tensor:
        return torch.randn(count, *INPUT_SHAPE, generator=self.generator) * 1.5 + 0.2


def random_network(seed: int, *, bits: tuple[int, int, int, int] | None = None) -> EarlyExitNetwork:
    """Two exits; convolutions dense, depthwise and pointwise, sums, all kinds of pooling, one or two linear layers.

    ``bits`` are those of weights and activations, backbone then branches; without them they are drawn too.
    """
    draw = Draw(seed)
    widths = (INPUT_SHAPE[0], draw.integer(3, 6), draw.integer(4, 8))
    stages = [_stage(draw, widths[i], widths[i + 1]) for i in range(2)]
    branches = [_branch(draw, widths[i + 1]) for i in range(2)]
    if bits is None:
        bits = (draw.integer(2, 8), draw.integer(4, 8), draw.integer(2, 8), draw.integer(4, 8))
    architecture = Architecture("random", INPUT_SHAPE[1], (StageChoice(1, 4, (3,), (1,)),), (ExitChoice(0, "drawn"),))
    architecture = replace(architecture, precision=Precision(*bits[:2]), branch_precision=Precision(*bits[2:]))
    network = EarlyExitNetwork(architecture, stages, branches, INPUT_SHAPE, NUM_CLASSES)
    _shake(network, draw)
    return network.eval()


def mix_precisions_(network: EarlyExitNetwork, draw: Draw) -> None:
    """Other bit widths for some of the layers and groups of layers: floating point and ternary weights too."""
    for part in (*network.stages, *network.branches):
        for name, module in part.named_modules():
            # A convolution and its batch norm have one precision.
            marked = isinstance(module, nn.Sequential | Shortcut | nn.Linear)
            if name and marked and draw.integer(0, 2) == 0:
                mark_precision_(module, random_precision(draw))


def random_precision(draw: Draw) -> Precision:
    kind = draw.integer(0, 5)
    if kind == 0:
        return Precision(32, 32)
    return (
        Precision(2, draw.integer(4, 8), ternary=True) if kind == 1 else Precision(*(draw.of(2, 4, 8), draw.of(4, 8)))
    )


def _shake(network: nn.Module, draw: Draw) -> None:
    """Weights and batch norms of every kind: also negative and vanishing scales."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                spread = (1.5 / module.weight[0].numel()) ** 0.5
                module.weight.copy_(torch.randn(module.weight.shape, generator=draw.generator) * spread)
                if module.bias is not None:
                    module.bias.copy_(torch.randn(module.bias.shape, generator=draw.generator) * 0.3)
            elif isinstance(module, nn.BatchNorm2d):
                size = module.num_features
                module.weight.copy_(torch.randn(size, generator=draw.generator) + 0.7)
                if draw.integer(0, 4) == 0:
                    module.weight[0] = 0.0
                module.bias.copy_(torch.randn(size, generator=draw.generator) * 0.4)
                module.running_mean = torch.randn(size, generator=draw.generator) * 0.3
                module.running_var = torch.rand(size, generator=draw.generator) + 0.2


def _unit(
    draw: Draw, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, act: bool
) -> nn.Module:
    padding = kernel // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=draw.coin())
    parts: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
    if draw.integer(0, 3):
        parts["norm"] = nn.BatchNorm2d(outputs)
    if act:
        parts["act"] = nn.ReLU6() if draw.coin() else nn.ReLU()
    return nn.Sequential(parts)


def _stage(draw: Draw, inputs: int, outputs: int) -> nn.Module:
    parts = [_unit(draw, inputs, outputs, draw.of(1, 3), stride=draw.integer(1, 2), act=draw.coin())]
    for _ in range(draw.integer(1, 2)):
        inner = outputs * draw.integer(1, 2)
        body = nn.Sequential(
            _unit(draw, outputs, inner, 1, act=True),
            _unit(draw, inner, inner, draw.of(3, 5), groups=inner, act=draw.coin()),
            _unit(draw, inner, outputs, 1, act=draw.coin()),
        )
        parts.append(Shortcut(body, activation=draw.coin()))
    if draw.integer(0, 2) == 0:
        parts.append(nn.MaxPool2d(3, 2, 1) if draw.coin() else nn.AvgPool2d(3, 1, 1))
    return nn.Sequential(*parts)


def _branch(draw: Draw, channels: int) -> nn.Module:
    parts: list[nn.Module] = []
    if draw.coin():
        parts.append(_unit(draw, channels, channels, 3, groups=channels, act=draw.coin()))
    parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2)]
    if draw.coin():
        parts += [nn.Linear(channels, 7), nn.ReLU6()]
        channels = 7
    parts.append(nn.Linear(channels, NUM_CLASSES, bias=draw.coin()))
    return nn.Sequential(*parts)
