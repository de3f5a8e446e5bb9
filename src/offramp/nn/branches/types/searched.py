"""Branches built layer by layer: up to four searched layers, then a pool and one or two linear layers.

Source: the idea of AEBNAS, that the depth and the layer types of exit branches matter.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from offramp.errors import ConfigError
from offramp.nn.branches.branch_layer import BRANCH_LAYERS, MAX_LAYERS, WIDTHS, ElasticBranchLayer
from offramp.nn.branches.exit_branch import EXIT_BRANCHES, ElasticBranch, LayeredBranch
from offramp.nn.elastic.elastic_layers import ElasticLinear
from offramp.nn.grid_pooling import GridPool
from offramp.space.architecture import BranchLayer

_HIDDEN = 32


class ElasticSearched(LayeredBranch):
    """A branch with one set of weights per slot and layer type, and one classifier behind the last layer.

    Args:
        max_channels: The largest number of input channels.
        height: The largest number of rows.
        width: The largest number of columns.
        num_classes: Number of logits.
        grid: Whether it max-pools to a 4x4 grid, instead of taking the mean of every channel.
        hidden: Whether the classifier has two linear layers, instead of one.
    """

    def __init__(
        self, max_channels: int, height: int, width: int, num_classes: int, *, grid: bool, hidden: bool
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.grid = grid
        widest = max(max_channels, *WIDTHS)
        self.slots = nn.ModuleList(
            nn.ModuleDict(
                {name: BRANCH_LAYERS.get(name).build(max_channels if slot == 0 else widest) for name in BRANCH_LAYERS}
            )
            for slot in range(MAX_LAYERS)
        )
        self.pool = GridPool(height, width)
        rows, columns = (self.pool.rows, self.pool.columns) if grid else (1, 1)
        self.hidden = ElasticLinear(widest, max(_HIDDEN, num_classes), height=rows, width=columns) if hidden else None
        outputs = max(_HIDDEN, num_classes)
        self.output = (
            ElasticLinear(outputs, num_classes)
            if hidden
            else ElasticLinear(widest, num_classes, height=rows, width=columns)
        )
        self.layers: tuple[BranchLayer, ...] = ()

    def choose(self, layers: Sequence[BranchLayer]) -> None:
        if len(layers) > MAX_LAYERS:
            raise ConfigError(f"a branch may have at most {MAX_LAYERS} layers, got {len(layers)}.")
        for layer in layers:
            if layer not in BRANCH_LAYERS.get(layer.kind).choices():
                raise ConfigError(f"a branch layer must be one of the choices of its type, got {layer}.")
        self.layers = tuple(layers)

    def _active(self) -> list[ElasticBranchLayer]:
        slots = [cast(nn.ModuleDict, slot) for slot in self.slots]
        return [cast(ElasticBranchLayer, slot[layer.kind]) for slot, layer in zip(slots, self.layers, strict=False)]

    def activate(self, in_channels: int, height: int, width: int) -> None:
        channels = in_channels
        for module, layer in zip(self._active(), self.layers, strict=True):
            channels = module.activate(channels, layer)
            height, width = -(-height // layer.stride), -(-width // layer.stride)
        self.pool = GridPool(height, width)
        rows, columns = (self.pool.rows, self.pool.columns) if self.grid else (1, 1)
        if self.hidden is not None:
            self.hidden.activate(channels, self.hidden.weight.shape[0], height=rows, width=columns)
            self.output.activate(self.hidden.weight.shape[0], self.num_classes)
        else:
            self.output.activate(channels, self.num_classes, height=rows, width=columns)

    def forward(self, features: Tensor) -> Tensor:
        for module in self._active():
            features = module(features)
        features = self.pool(features) if self.grid else F.adaptive_avg_pool2d(features, 1)
        if self.hidden is not None:
            features = F.relu6(self.hidden(features))
        return cast(Tensor, self.output(features))

    def extract(self) -> nn.Module:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        for number, module in enumerate(self._active()):
            parts[f"layer{number}"] = module.extract()
        if not self.grid:
            parts["pool"] = nn.AdaptiveAvgPool2d(1)
        elif not self.pool.is_identity:
            parts["pool"] = self.pool.extract()
        parts["flatten"] = nn.Flatten()
        if self.hidden is not None:
            parts["hidden"] = self.hidden.extract()
            parts["act"] = nn.ReLU6(inplace=True)
        parts["output"] = self.output.extract()
        return nn.Sequential(parts)


@dataclass(frozen=True)
class Searched:
    """A branch type with searched layers.

    Attributes:
        name: Name of the type in settings and architectures.
        description: One line for people.
        grid: Whether it max-pools to a 4x4 grid, instead of taking the mean of every channel.
        hidden: Whether the classifier has two linear layers, instead of one.
        layered: Whether branches of this type have layers to choose.
    """

    name: str
    description: str
    grid: bool
    hidden: bool
    layered: bool = True

    def build(self, max_channels: int, height: int, width: int, num_classes: int) -> ElasticBranch:
        return ElasticSearched(max_channels, height, width, num_classes, grid=self.grid, hidden=self.hidden)


for _type in (
    Searched("searched", "0 to 4 searched layers, global average pool, one linear layer", False, False),
    Searched("searched_mlp", "0 to 4 searched layers, global average pool, two linear layers", False, True),
    Searched("searched_grid", "0 to 4 searched layers, max-pool to 4x4, one linear layer", True, False),
    Searched("searched_grid_mlp", "0 to 4 searched layers, max-pool to 4x4, two linear layers", True, True),
):
    EXIT_BRANCHES.add(_type.name, _type)
