"""One 3x3 convolution to few channels, global average pool, linear."""

from collections import OrderedDict
from dataclasses import dataclass

from offramp.nn.branches.convolutional_branch import ConvolutionalBranch, first_stride
from offramp.nn.branches.exit_branch import EXIT_BRANCHES, ElasticBranch
from offramp.nn.elastic.elastic_layers import ElasticConvNorm

_MIN_CHANNELS, _MAX_CHANNELS = 16, 64


@dataclass(frozen=True)
class Conv:
    """The branch type of one 3x3 convolution; the more classes, the more channels (16 to 64).

    Attributes:
        name: Name of the type in settings and architectures.
        description: One line for people.
    """

    name: str = "conv"
    description: str = "3x3 convolution, global average pool, one linear layer"

    def build(self, max_channels: int, height: int, width: int, num_classes: int) -> ElasticBranch:
        # The linear layer needs about as many features as there are classes to tell them apart.
        channels = min(_MAX_CHANNELS, max(_MIN_CHANNELS, 8 * -(-num_classes // 8)))
        conv = ElasticConvNorm(max_channels, channels, 3, stride=first_stride(height, width))
        return ConvolutionalBranch(OrderedDict(conv=conv), num_classes)


EXIT_BRANCHES.add("conv", Conv())
