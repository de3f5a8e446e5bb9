"""A depthwise and a pointwise convolution, each with batch norm; ReLU after the second."""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from offramp.nn.branches.branch_layer import BRANCH_LAYERS, KERNEL_SIZES, WIDTHS, ElasticBranchLayer, all_combinations
from offramp.nn.elastic.elastic_layers import ElasticConvNorm
from offramp.space.architecture import BranchLayer


class ElasticSeparable(ElasticBranchLayer):
    """A depthwise convolution with elastic kernel size, then a pointwise one with elastic width.

    Args:
        max_channels: The largest number of input channels.
    """

    def __init__(self, max_channels: int) -> None:
        super().__init__()
        largest = max(KERNEL_SIZES)
        self.depthwise = ElasticConvNorm(max_channels, max_channels, largest, depthwise=True, activation=None)
        self.pointwise = ElasticConvNorm(max_channels, max(WIDTHS), 1)

    def activate(self, in_channels: int, layer: BranchLayer) -> int:
        self.depthwise.activate(in_channels, in_channels, layer.kernel_size)
        self.depthwise.conv.stride = layer.stride
        self.pointwise.activate(in_channels, layer.width, 1)
        return layer.width

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.pointwise(self.depthwise(features))
        return result

    def extract(self) -> nn.Module:
        return nn.Sequential(OrderedDict(depthwise=self.depthwise.extract(), pointwise=self.pointwise.extract()))


@dataclass(frozen=True)
class DepthwiseSeparable:
    """The layer type of a depthwise separable convolution.

    Attributes:
        name: Name of the type in settings and architectures.
        description: One line for people.
    """

    name: str = "depthwise_separable"
    description: str = "depthwise and pointwise convolution, batch norms, ReLU"

    def choices(self) -> tuple[BranchLayer, ...]:
        return all_combinations(self.name)

    def build(self, max_channels: int) -> ElasticBranchLayer:
        return ElasticSeparable(max_channels)


BRANCH_LAYERS.add("depthwise_separable", DepthwiseSeparable())
