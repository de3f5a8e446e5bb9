"""Max-pool to a 4x4 grid, then one linear layer.

Source: Zniber et al., the one-layer classifier of their published ONNX graphs.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from offramp.nn.branches.exit_branch import EXIT_BRANCHES, ElasticBranch
from offramp.nn.elastic.elastic_layers import ElasticLinear
from offramp.nn.grid_pooling import GridPool


class ElasticPoolLinear(ElasticBranch):
    """Max-pool to a 4x4 grid and one linear layer.

    Args:
        max_channels: The largest number of input channels.
        height: The largest number of rows.
        width: The largest number of columns.
        num_classes: Number of logits.
    """

    def __init__(self, max_channels: int, height: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.pool = GridPool(height, width)
        self.linear = ElasticLinear(max_channels, num_classes, height=self.pool.rows, width=self.pool.columns)

    def activate(self, in_channels: int, height: int, width: int) -> None:
        self.pool = GridPool(height, width)
        self.linear.activate(in_channels, self.num_classes, height=self.pool.rows, width=self.pool.columns)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.pool(features))  # type: ignore[no-any-return]

    def extract(self) -> nn.Module:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if not self.pool.is_identity:
            parts["pool"] = self.pool.extract()
        parts["flatten"] = nn.Flatten()
        parts["linear"] = self.linear.extract()
        return nn.Sequential(parts)


@dataclass(frozen=True)
class PoolLinear:
    """The branch type of a max-pool to a 4x4 grid and one linear layer.

    Attributes:
        name: Name of the type in settings and architectures.
        description: One line for people.
    """

    name: str = "pool_linear"
    description: str = "max-pool to 4x4, one linear layer"

    def build(self, max_channels: int, height: int, width: int, num_classes: int) -> ElasticBranch:
        return ElasticPoolLinear(max_channels, height, width, num_classes)


EXIT_BRANCHES.add("pool_linear", PoolLinear())
