"""Max-pool to a 4x4 grid, then two linear layers with half as many hidden units as inputs, at least one per class.

Source: Zniber et al., the two-layer classifier of their published ONNX graphs.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from offramp.nn.branches.exit_branch import EXIT_BRANCHES, ElasticBranch
from offramp.nn.elastic.elastic_layers import ElasticLinear
from offramp.nn.grid_pooling import GridPool


class ElasticPoolMlp(ElasticBranch):
    """Max-pool to a 4x4 grid and two linear layers, ReLU6 between them.

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
        rows, columns = self.pool.rows, self.pool.columns
        hidden = _hidden(max_channels, rows, columns, num_classes)
        self.hidden = ElasticLinear(max_channels, hidden, height=rows, width=columns)
        self.output = ElasticLinear(hidden, num_classes)

    def activate(self, in_channels: int, height: int, width: int) -> None:
        self.pool = GridPool(height, width)
        rows, columns = self.pool.rows, self.pool.columns
        hidden = _hidden(in_channels, rows, columns, self.num_classes)
        self.hidden.activate(in_channels, hidden, height=rows, width=columns)
        self.output.activate(hidden, self.num_classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.output(F.relu6(self.hidden(self.pool(features))))  # type: ignore[no-any-return]

    def extract(self) -> nn.Module:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if not self.pool.is_identity:
            parts["pool"] = self.pool.extract()
        parts["flatten"] = nn.Flatten()
        parts["hidden"] = self.hidden.extract()
        parts["act"] = nn.ReLU6(inplace=True)
        parts["output"] = self.output.extract()
        return nn.Sequential(parts)


def _hidden(channels: int, rows: int, columns: int, num_classes: int) -> int:
    # Half of very few inputs would be too few units to tell the classes apart; some of them may also never be active.
    return max(channels * rows * columns // 2, num_classes)


@dataclass(frozen=True)
class PoolMlp:
    """The branch type of a max-pool to a 4x4 grid and two linear layers.

    Attributes:
        name: Name of the type in settings and architectures.
        description: One line for people.
    """

    name: str = "pool_mlp"
    description: str = "max-pool to 4x4, two linear layers"

    def build(self, max_channels: int, height: int, width: int, num_classes: int) -> ElasticBranch:
        return ElasticPoolMlp(max_channels, height, width, num_classes)


EXIT_BRANCHES.add("pool_mlp", PoolMlp())
