"""A 1x1 convolution, batch norm, ReLU."""

from dataclasses import dataclass

from torch import Tensor, nn

from offramp.nn.branches.branch_layer import BRANCH_LAYERS, STRIDES, WIDTHS, ElasticBranchLayer
from offramp.nn.elastic.elastic_layers import ElasticConvNorm
from offramp.space.architecture import BranchLayer


class ElasticPointwise(ElasticBranchLayer):
    """A 1x1 convolution with elastic width, batch norm, ReLU.

    Args:
        max_channels: The largest number of input channels.
    """

    def __init__(self, max_channels: int) -> None:
        super().__init__()
        self.conv = ElasticConvNorm(max_channels, max(WIDTHS), 1)

    def activate(self, in_channels: int, layer: BranchLayer) -> int:
        self.conv.activate(in_channels, layer.width, 1)
        self.conv.conv.stride = layer.stride
        return layer.width

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.conv(features)
        return result

    def extract(self) -> nn.Module:
        return self.conv.extract()


@dataclass(frozen=True)
class Pointwise:
    """The layer type of a 1x1 convolution.

    Attributes:
        name: Name of the type in settings and architectures.
        description: One line for people.
    """

    name: str = "pointwise"
    description: str = "1x1 convolution, batch norm, ReLU"

    def choices(self) -> tuple[BranchLayer, ...]:
        return tuple(BranchLayer(self.name, 1, stride, width) for stride in STRIDES for width in WIDTHS)

    def build(self, max_channels: int) -> ElasticBranchLayer:
        return ElasticPointwise(max_channels)


BRANCH_LAYERS.add("pointwise", Pointwise())
