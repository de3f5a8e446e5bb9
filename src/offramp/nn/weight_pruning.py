"""Magnitude pruning of weights during training, and counting of the zeros.

Source: Zhu & Gupta 2017, "To prune, or not to prune": the smallest weights of each layer become zero; the share of
zeros grows along a cubic curve; a pruned weight stays zero.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from offramp.nn.quantization.fake_quantize import quantize, step_size
from offramp.nn.quantization.matrix_layers import QuantizedMatrixLayer

RAMP = 0.7
"""Share of the training in which the number of zeros grows; in the rest, the other weights settle."""

_STEP = 0.002
"""Smallest share of a layer that is pruned at once, so that not every step of the training sorts all weights."""


@dataclass(frozen=True)
class MatrixLayer:
    """A convolution or linear layer, in floating point or quantised.

    Attributes:
        name: Name of the layer in the network, and in its workload.
        module: The layer.
    """

    name: str
    module: nn.Module

    @property
    def weight(self) -> nn.Parameter:
        """The weights (output channels, ...)."""
        weight = self.module.weight
        assert isinstance(weight, nn.Parameter)
        return weight

    @property
    def is_depthwise(self) -> bool:
        """Whether each output channel has an input channel of its own."""
        weight, groups = self.weight, getattr(self.module, "groups", 1)
        return groups > 1 and groups == weight.shape[0] and weight.shape[1] == 1


def matrix_layers(network: nn.Module) -> Iterator[MatrixLayer]:
    """The convolutions and linear layers of a network.

    Args:
        network: The network.

    Yields:
        Each layer with trainable or frozen weights.
    """
    for name, module in network.named_modules():
        known = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear | QuantizedMatrixLayer)
        if known and isinstance(getattr(module, "weight", None), nn.Parameter):
            yield MatrixLayer(name, module)


def prunable_layers(network: nn.Module) -> tuple[MatrixLayer, ...]:
    """The layers that are pruned: all that are trained, except depthwise convolutions, which have few weights.

    Args:
        network: The network.

    Returns:
        The layers, in the order of the modules.
    """
    return tuple(x for x in matrix_layers(network) if x.weight.requires_grad and not x.is_depthwise)


def kept_weights(count: int, density: float) -> int:
    """How many weights of a layer are left at a density.

    Args:
        count: Number of weights.
        density: Share of weights that are left, 0..1.

    Returns:
        The number of nonzero weights, at least 1.
    """
    return max(1, round(count * density))


def planned_densities(network: nn.Module, density: float) -> dict[str, float]:
    """The shares of nonzero weights after pruning.

    Args:
        network: The network.
        density: Share of weights that are left in each layer, 0..1.

    Returns:
        The share of each pruned layer by name, 0..1.
    """
    sizes = {layer.name: layer.weight.numel() for layer in prunable_layers(network)}
    return {name: kept_weights(size, density) / size for name, size in sizes.items()}


@torch.no_grad()
def measured_densities(network: nn.Module) -> dict[str, float]:
    """The shares of nonzero weights at present; of a quantised layer, those of its integers.

    Args:
        network: The network.

    Returns:
        The share of each convolution and linear layer by name, above 0, at most 1.
    """
    densities = {}
    for layer in matrix_layers(network):
        weight = _deployed_weight(layer.module, layer.weight)
        densities[layer.name] = max(1, int(weight.count_nonzero())) / weight.numel()
    return densities


def _deployed_weight(module: nn.Module, weight: Tensor) -> Tensor:
    if not isinstance(module, QuantizedMatrixLayer) or module.weight_limits is None or module.weight_scale is None:
        return weight
    if module.is_exact:
        return module.integers().weight
    step = step_size(module.weight_scale.float()).view(-1, *[1] * (weight.dim() - 1))
    return quantize(weight.float(), step, module.weight_limits)


class WeightPruner:
    """Prunes the smallest weights of each layer step by step during training.

    The weights are its only state: a resumed training continues as if it had not been interrupted.

    Args:
        network: The network.
        density: Share of weights that are left in each layer at the end, 0..1.
    """

    def __init__(self, network: nn.Module, density: float) -> None:
        self.density = density
        self.layers = prunable_layers(network)
        self._masks: list[Tensor] = []

    def density_at(self, progress: float) -> float:
        """The scheduled density at a point of the training.

        Args:
            progress: Share of the training that is done, 0..1.

        Returns:
            Share of weights that are left: 1 at the beginning, ``density`` from `RAMP` on.
        """
        left = 1.0 - min(1.0, progress / RAMP)
        return self.density + (1.0 - self.density) * left**3

    @torch.no_grad()
    def begin(self, progress: float) -> None:
        """See `WeightRule.begin`; in a resumed training, zeros stay zero."""
        self._masks = [
            layer.weight != 0 if progress > 0 else torch.ones_like(layer.weight, dtype=torch.bool)
            for layer in self.layers
        ]

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """See `WeightRule.after_step`; restores the zeros and prunes more weights as scheduled."""
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
