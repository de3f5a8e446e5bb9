"""ConvolutionalBranch: base of the branch types that consist of convolutions."""

from collections import OrderedDict
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from offramp.nn.branches.exit_branch import ElasticBranch
from offramp.nn.elastic.elastic_layers import ElasticConvNorm, ElasticLinear

# Pixels of a side. The first convolution halves a larger map, which keeps early branches cheap.
_LARGE_MAP = 8


def first_stride(height: int, width: int) -> int:
    """Stride of the first convolution of a branch.

    Args:
        height: Rows of the feature map.
        width: Columns of the feature map.

    Returns:
        2 for a map with a side of more than 8 pixels, else 1.
    """
    return 2 if max(height, width) > _LARGE_MAP else 1


class ConvolutionalBranch(ElasticBranch):
    """Convolutions with batch norm, global average pool, linear.

    A depthwise convolution has as many output channels as input channels; all others keep their full width.

    Args:
        convolutions: The convolutions by name, in order of execution.
        num_classes: Number of logits.
    """

    def __init__(self, convolutions: OrderedDict[str, ElasticConvNorm], num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.convolutions = nn.ModuleDict(convolutions)
        self.linear = ElasticLinear(self._parts()[-1].conv.out_channels, num_classes)

    def _parts(self) -> list[ElasticConvNorm]:
        return [cast(ElasticConvNorm, part) for part in self.convolutions.values()]

    def activate(self, in_channels: int, height: int, width: int) -> None:
        channels = in_channels
        for part in self._parts():
            out_channels = channels if part.conv.depthwise else part.conv.weight.shape[0]
            part.activate(channels, out_channels, part.conv.kernel_size)
            channels = out_channels
        self.linear.activate(channels, self.num_classes)

    def forward(self, features: Tensor) -> Tensor:
        for part in self._parts():
            features = part(features)
        return cast(Tensor, self.linear(F.adaptive_avg_pool2d(features, 1)))

    def extract(self) -> nn.Module:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        for name, part in zip(self.convolutions, self._parts(), strict=True):
            parts[name] = part.extract()
        parts["pool"] = nn.AdaptiveAvgPool2d(1)
        parts["flatten"] = nn.Flatten()
        parts["linear"] = self.linear.extract()
        return nn.Sequential(parts)
