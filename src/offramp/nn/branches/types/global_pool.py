"""Mean of every channel, then one linear layer: the usual final classifier."""

from collections import OrderedDict
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from offramp.nn.branches.exit_branch import EXIT_BRANCHES, ElasticBranch
from offramp.nn.elastic.elastic_layers import ElasticLinear


class ElasticGlobalPool(ElasticBranch):
    """Global average pool and one linear layer.

    Args:
        max_channels: The largest number of input channels.
        num_classes: Number of logits.
    """

    def __init__(self, max_channels: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.linear = ElasticLinear(max_channels, num_classes)

    def activate(self, in_channels: int, height: int, width: int) -> None:
        self.linear.activate(in_channels, self.num_classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(F.adaptive_avg_pool2d(features, 1))  # type: ignore[no-any-return]

    def extract(self) -> nn.Module:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["pool"] = nn.AdaptiveAvgPool2d(1)
        parts["flatten"] = nn.Flatten()
        parts["linear"] = self.linear.extract()
        return nn.Sequential(parts)


@dataclass(frozen=True)
class GlobalPool:
    """The branch type of a global average pool and one linear layer.

    Attributes:
        name: Name of the type in settings and architectures.
        description: One line for people.
    """

    name: str = "global_pool"
    description: str = "global average pool, one linear layer"

    def build(self, max_channels: int, height: int, width: int, num_classes: int) -> ElasticBranch:
        return ElasticGlobalPool(max_channels, num_classes)


EXIT_BRANCHES.add("global_pool", GlobalPool())
