"""Depthwise 3x3 and pointwise convolution, global average pool, linear."""

from collections import OrderedDict
from dataclasses import dataclass

from offramp.nn.branches.convolutional_branch import ConvolutionalBranch, first_stride
from offramp.nn.branches.exit_branch import EXIT_BRANCHES, ElasticBranch
from offramp.nn.elastic.elastic_layers import ElasticConvNorm

_MIN_CHANNELS = 32


@dataclass(frozen=True)
class DepthwiseSeparable:
    """The branch type of one depthwise separable convolution with at least 32 output channels.

    Attributes:
        name: Name of the type in settings and architectures.
        description: One line for people.
    """

    name: str = "depthwise_separable"
    description: str = "depthwise 3x3 and pointwise convolution, global average pool, one linear layer"

    def build(self, max_channels: int, height: int, width: int, num_classes: int) -> ElasticBranch:
        stride = first_stride(height, width)
        depthwise = ElasticConvNorm(max_channels, max_channels, 3, stride=stride, depthwise=True, activation=None)
        pointwise = ElasticConvNorm(max_channels, max(_MIN_CHANNELS, max_channels), 1)
        return ConvolutionalBranch(OrderedDict(depthwise=depthwise, pointwise=pointwise), num_classes)


EXIT_BRANCHES.add("depthwise_separable", DepthwiseSeparable())
