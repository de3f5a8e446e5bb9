"""A dense convolution, batch norm, ReLU."""

from dataclasses import dataclass

from torch import Tensor, nn

from offramp.nn.branches.branch_layer import BRANCH_LAYERS, KERNEL_SIZES, WIDTHS, ElasticBranchLayer, all_combinations
from offramp.nn.elastic.elastic_layers import ElasticConvNorm
from offramp.space.architecture import BranchLayer


class ElasticConvolution(ElasticBranchLayer):
    """A dense convolution with elastic kernel size and width, batch norm, ReLU.

    Args:
        max_channels: The largest number of input channels.
    """

    def __init__(self, max_channels: int) -> None:
        super().__init__()
        self.conv = ElasticConvNorm(max_channels, max(WIDTHS), max(KERNEL_SIZES))

    def activate(self, in_channels: int, layer: BranchLayer) -> int:
        self.conv.activate(in_channels, layer.width, layer.kernel_size)
        self.conv.conv.stride = layer.stride
        return layer.width

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.conv(features)
        return result

    def extract(self) -> nn.Module:
        return self.conv.extract()


@dataclass(frozen=True)
class Convolution:
    """The layer type of a dense convolution.

    Attributes:
        name: Name of the type in settings and architectures.
        description: One line for people.
    """

    name: str = "convolution"
    description: str = "dense convolution, batch norm, ReLU"

    def choices(self) -> tuple[BranchLayer, ...]:
        return all_combinations(self.name)

    def build(self, max_channels: int) -> ElasticBranchLayer:
        return ElasticConvolution(max_channels)


BRANCH_LAYERS.add("convolution", Convolution())
