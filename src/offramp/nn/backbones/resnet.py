"""Residual networks of dense 3x3 convolutions, in the form used for small images.

Source: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2 (the CIFAR-10 networks); the
shortcut where the shape changes is a 1x1 convolution, as in the ResNet-8 of MLPerf Tiny.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from offramp.nn.backbone import (
    BACKBONES,
    BlockPlace,
    BlockSizes,
    ChannelPaths,
    ElasticBackbone,
    ElasticBlock,
    build_backbone,
)
from offramp.nn.elastic.elastic_layers import ElasticConvNorm
from offramp.space.search_space import BackboneSpace, StageSpace

_STEM = 8
# Sides in pixels. To limit costs, `ResNet` halves small images twice, medium ones three and large ones four times.
_SMALL_IMAGE = 24
_LARGE_IMAGE = 48


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut around them, then ReLU.

    Args:
        first: The first convolution, with its norm and activation function.
        second: The second convolution, with its norm.
        shortcut: Gives the input the shape of the output.
    """

    def __init__(self, first: nn.Module, second: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.shortcut = shortcut

    def forward(self, inputs: Tensor) -> Tensor:
        return F.relu(self.second(self.first(inputs)) + self.shortcut(inputs))


class ElasticBasicBlock(ElasticBlock):
    """A `BasicBlock` with elastic width, kernel size and inner width (expansion times output channels).

    Args:
        largest: The largest sizes that the block may take.
        place: Its stride, and whether its width is fixed.
    """

    def __init__(self, largest: BlockSizes, place: BlockPlace) -> None:
        super().__init__()
        inner = largest.out_channels * largest.expansion
        self.first = ElasticConvNorm(largest.in_channels, inner, largest.kernel_size, stride=place.stride)
        self.second = ElasticConvNorm(inner, largest.out_channels, largest.kernel_size, activation=None)
        self.shortcut: nn.Module = nn.Identity()
        if place.stride > 1 or not place.keeps_width:
            self.shortcut = ElasticConvNorm(
                largest.in_channels, largest.out_channels, 1, stride=place.stride, activation=None
            )
        self.activate(largest)

    def activate(self, sizes: BlockSizes) -> None:
        inner = sizes.out_channels * sizes.expansion
        self.first.activate(sizes.in_channels, inner, sizes.kernel_size)
        self.second.activate(inner, sizes.out_channels, sizes.kernel_size)
        if isinstance(self.shortcut, ElasticConvNorm):
            self.shortcut.activate(sizes.in_channels, sizes.out_channels, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        return F.relu(self.second(self.first(inputs)) + self.shortcut(inputs))

    def channel_paths(self) -> ChannelPaths:
        body = (self.first, self.second)
        if isinstance(self.shortcut, ElasticConvNorm):
            return ChannelPaths((body, (self.shortcut,)), passes_input=False)
        return ChannelPaths((body,), passes_input=True)

    def extract(self) -> nn.Module:
        shortcut = self.shortcut
        static = shortcut.extract() if isinstance(shortcut, ElasticConvNorm) else nn.Identity()
        return BasicBlock(self.first.extract(), self.second.extract(), static)


@dataclass(frozen=True)
class ResNet:
    """Small residual networks, for chips with little memory and few MACs per image.

    Attributes:
        name: Name of the family in settings and architectures.
        description: One line for people.
    """

    name: str = "resnet"
    description: str = "small residual networks, dense 3x3 convolutions: 0.8 to 5.7 M MACs at 32x32"

    def space(self, input_shape: tuple[int, int, int]) -> BackboneSpace:
        side = min(input_shape[1:])
        small = side < _SMALL_IMAGE
        widths = ((4, 8), (8, 12, 16), (16, 24, 32)) if small else ((8, 12, 16), (12, 16, 24), (24, 32, 40))
        return BackboneSpace(
            name=self.name,
            resolutions=(input_shape[1],),
            stages=tuple(
                StageSpace((1, 2), w, stride=s, layers_per_block=2)
                for w, s in zip(widths, (1 if small else 2, 2, 2), strict=True)
            ),
            stem_stride=2 if side >= _LARGE_IMAGE else 1,
        )

    def build(self, space: BackboneSpace, input_channels: int) -> ElasticBackbone:
        # The stem is narrow and keeps the full resolution. On CIFAR-10 at 2.4 M MACs, after 4 epochs, this gave 1.7
        # percentage points more than a wider stem that halves the image.
        return build_backbone(space, input_channels, ElasticBasicBlock, stem_width=_STEM)


@dataclass(frozen=True)
class LargeResNet:
    """The residual networks for CIFAR: at full width, depth 1 is ResNet-8 and depth 3 is ResNet-20.

    Attributes:
        name: Name of the family in settings and architectures.
        description: One line for people.
    """

    name: str = "resnet-large"
    description: str = "residual networks up to ResNet-20 (ResNet-8 is a member): 3 to 41 M MACs at 32x32"

    def space(self, input_shape: tuple[int, int, int]) -> BackboneSpace:
        stages = ((8, 12, 16), 1), ((16, 24, 32), 2), ((32, 48, 64), 2)
        return BackboneSpace(
            name=self.name,
            resolutions=(input_shape[1],),
            stages=tuple(StageSpace((1, 2, 3), widths, stride=stride, layers_per_block=2) for widths, stride in stages),
            stem_stride=2 if min(input_shape[1:]) >= _LARGE_IMAGE else 1,
        )

    def build(self, space: BackboneSpace, input_channels: int) -> ElasticBackbone:
        return build_backbone(space, input_channels, ElasticBasicBlock)


BACKBONES.add("resnet", ResNet())
BACKBONES.add("resnet-large", LargeResNet())
