"""Expansion by two, depthwise convolution, linear projection; a shortcut where input and output have the same shape.

Source: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", section 3.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from offramp.nn.branches.branch_layer import BRANCH_LAYERS, KERNEL_SIZES, WIDTHS, ElasticBranchLayer, all_combinations
from offramp.nn.elastic.elastic_layers import ElasticConvNorm
from offramp.nn.residual import Residual
from offramp.space.architecture import BranchLayer

_EXPANSION = 2


class ElasticBranchInvertedResidual(ElasticBranchLayer):
    """Expansion by two, depthwise convolution with elastic kernel size, linear projection with elastic width.

    Args:
        max_channels: The largest number of input channels.
    """

    def __init__(self, max_channels: int) -> None:
        super().__init__()
        inner = _EXPANSION * max_channels
        self.expand = ElasticConvNorm(max_channels, inner, 1, activation="relu6")
        self.depthwise = ElasticConvNorm(inner, inner, max(KERNEL_SIZES), depthwise=True, activation="relu6")
        self.project = ElasticConvNorm(inner, max(WIDTHS), 1, activation=None)
        self.shortcut = False

    def activate(self, in_channels: int, layer: BranchLayer) -> int:
        inner = _EXPANSION * in_channels
        self.expand.activate(in_channels, inner, 1)
        self.depthwise.activate(inner, inner, layer.kernel_size)
        self.depthwise.conv.stride = layer.stride
        self.project.activate(inner, layer.width, 1)
        self.shortcut = layer.stride == 1 and layer.width == in_channels
        return layer.width

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.project(self.depthwise(self.expand(features)))
        return result + features if self.shortcut else result

    def extract(self) -> nn.Module:
        body = nn.Sequential(
            OrderedDict(
                expand=self.expand.extract(), depthwise=self.depthwise.extract(), project=self.project.extract()
            )
        )
        return Residual(body) if self.shortcut else body


@dataclass(frozen=True)
class InvertedResidual:
    """The layer type of an inverted residual.

    Attributes:
        name: Name of the type in settings and architectures.
        description: One line for people.
    """

    name: str = "inverted_residual"
    description: str = "expansion by 2, depthwise convolution, projection; a shortcut where sizes stay"

    def choices(self) -> tuple[BranchLayer, ...]:
        return all_combinations(self.name)

    def build(self, max_channels: int) -> ElasticBranchLayer:
        return ElasticBranchInvertedResidual(max_channels)


BRANCH_LAYERS.add("inverted_residual", InvertedResidual())
