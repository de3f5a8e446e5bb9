"""Magnitude pruning of weights during training, and counting of the zeros.

Source: Zhu & Gupta 2017, "To prune, or not to prune": by magnitude, layer by layer, to a share that grows
along a cubic curve; what was pruned once stays zero.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from offramp.nn.quantization.fake_quantize import quantize, step_size
from offramp.nn.quantization.matrix_layers import QuantizedMatrixLayer

RAMP = 0.7
"""Share of the training in which zeros grow in number; the rest is for the other weights to settle."""

_STEP = 0.002
"""So much of a layer is pruned at a time, so that not every step of the training sorts all weights."""


@dataclass(frozen=True)
class MatrixLayer:
    """A convolution or linear layer, floating or quantised, under the name that its workload gives it."""

    name: str
    module: nn.Module

    @property
    def weight(self) -> nn.Parameter:
        weight = self.module.weight
        assert isinstance(weight, nn.Parameter)
        return weight

    @property
    def is_depthwise(self) -> bool:
        weight, groups = self.weight, getattr(self.module, "groups", 1)
        return groups > 1 and groups == weight.shape[0] and weight.shape[1] == 1


def matrix_layers(network: nn.Module) -> Iterator[MatrixLayer]:
    """The layers with weights of their own."""
    for name, module in network.named_modules():
        known = isinstance(module, nn.Conv2d | nn.Linear | QuantizedMatrixLayer)
        if known and isinstance(getattr(module, "weight", None), nn.Parameter):
            yield MatrixLayer(name, module)


def prunable_layers(network: nn.Module) -> tuple[MatrixLayer, ...]:
    """Layers whose weights may become zero: all that are trained but depthwise convolutions, which have few."""
    return tuple(x for x in matrix_layers(network) if x.weight.requires_grad and not x.is_depthwise)


def kept_weights(count: int, density: float) -> int:
    """How many of so many weights are left at a density; at least one."""
    return max(1, round(count * density))


def planned_densities(network: nn.Module, density: float) -> dict[str, float]:
    """The share of nonzero weights that each layer will have once it is pruned, by name."""
    sizes = {layer.name: layer.weight.numel() for layer in prunable_layers(network)}
    return {name: kept_weights(size, density) / size for name, size in sizes.items()}


@torch.no_grad()
def measured_densities(network: nn.Module) -> dict[str, float]:
    """The share of weights that are not zero in each layer, as they are deployed: of quantised ones the integers."""
    densities = {}
    for layer in matrix_layers(network):
        weight = _deployed(layer.module, layer.weight)
        densities[layer.name] = max(1, int(weight.count_nonzero())) / weight.numel()
    return densities


def _deployed(module: nn.Module, weight: Tensor) -> Tensor:
    if not isinstance(module, QuantizedMatrixLayer) or module.weight_limits is None or module.weight_scale is None:
        return weight
    if module.is_exact:
        return module.integers().weight
    step = step_size(module.weight_scale.float()).view(-1, *[1] * (weight.dim() - 1))
    return quantize(weight.float(), step, module.weight_limits)


class WeightPruner:
    """Makes the smallest weights of each layer zero, more and more of them, until ``density`` of them are left.

    It keeps no state but the weights: a training that goes on from its checkpoint goes on as it would have.
    """

    def __init__(self, network: nn.Module, density: float) -> None:
        self.density = density
        self.layers = prunable_layers(network)
        self._masks: list[Tensor] = []

    def density_at(self, progress: float) -> float:
        """Share of weights left at a point (0 to 1) of the training; ``density`` from the end of the ramp on."""
        left = 1.0 - min(1.0, progress / RAMP)
        return self.density + (1.0 - self.density) * left**3

    @torch.no_grad()
    def begin(self, progress: float) -> None:
        """Called before the first step: what is zero in a training that goes on stays zero."""
        self._masks = [
            layer.weight != 0 if progress > 0 else torch.ones_like(layer.weight, dtype=torch.bool)
            for layer in self.layers
        ]

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Called after every step, and with 1.0 at the end: puts zeros back, and adds what the schedule asks for."""
        for index, layer in enumerate(self.layers):
            weight, mask = layer.weight, self._masks[index]
            weight.mul_(mask)
            wanted = kept_weights(weight.numel(), self.density_at(progress))
            surplus = int(mask.count_nonzero()) - wanted
            at_end = progress >= RAMP
            if surplus > 0 and (at_end or surplus >= _STEP * weight.numel()):
                mask = self._masks[index] = _largest(weight, mask, wanted)
                weight.mul_(mask)


def _largest(weight: Tensor, mask: Tensor, count: int) -> Tensor:
    """A mask of the ``count`` weights of largest magnitude among those of ``mask``."""
    sizes = torch.where(mask, weight.abs(), -1.0).reshape(-1)
    result = torch.zeros_like(sizes, dtype=torch.bool)
    result[sizes.topk(count).indices] = True
    return result.reshape(weight.shape)
