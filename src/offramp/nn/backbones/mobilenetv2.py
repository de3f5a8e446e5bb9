"""Inverted residual blocks: an elastic family, and the fixed network of a published early-exit study.

Source: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", section 3.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import cast

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
from offramp.nn.residual import Residual
from offramp.space.search_space import BackboneSpace, StageSpace


class ElasticInvertedResidual(ElasticBlock):
    """1x1 expansion, depthwise convolution, linear 1x1 projection.

    A block whose largest expansion is 1 has no expansion layer.

    Args:
        largest: The largest sizes that the block may take.
        place: Its stride, and whether its width is fixed.
    """

    def __init__(self, largest: BlockSizes, place: BlockPlace) -> None:
        super().__init__()
        inner = largest.in_channels * largest.expansion
        self.expand: ElasticConvNorm | None = None
        if largest.expansion > 1:
            self.expand = ElasticConvNorm(largest.in_channels, inner, 1, activation="relu6")
        self.depthwise = ElasticConvNorm(
            inner, inner, largest.kernel_size, stride=place.stride, depthwise=True, activation="relu6"
        )
        self.project = ElasticConvNorm(inner, largest.out_channels, 1, activation=None)
        self.residual = place.stride == 1 and place.keeps_width
        self.ends_in_layer = not self.residual
        self.activate(largest)

    def activate(self, sizes: BlockSizes) -> None:
        inner = sizes.in_channels * sizes.expansion
        if self.expand is not None:
            self.expand.activate(sizes.in_channels, inner, 1)
        self.depthwise.activate(inner, inner, sizes.kernel_size)
        self.project.activate(inner, sizes.out_channels, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        features = inputs if self.expand is None else self.expand(inputs)
        features = cast(Tensor, self.project(self.depthwise(features)))
        return features + inputs if self.residual else features

    def channel_paths(self) -> ChannelPaths:
        layers = (self.depthwise, self.project)
        return ChannelPaths((layers if self.expand is None else (self.expand, *layers),), self.residual)

    def extract(self) -> nn.Module:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if self.expand is not None:
            parts["expand"] = self.expand.extract()
        parts["depthwise"] = self.depthwise.extract()
        parts["project"] = self.project.extract()
        body = nn.Sequential(parts)
        return Residual(body) if self.residual else body


@dataclass(frozen=True)
class MobileNetV2:
    """The family that is elastic in depth, width, kernel and expansion; for images of 32x32 and smaller.

    Attributes:
        name: Name of the family in settings and architectures.
        description: One line for people.
    """

    name: str = "mobilenetv2"
    description: str = "elastic MobileNetV2: depth, width, kernel 3/5/7, expansion 3/4/6; 0.7 to 16 M MACs at 32x32"

    def space(self, input_shape: tuple[int, int, int]) -> BackboneSpace:
        side = min(input_shape[1:])
        tiny = side < 16
        kernels = (3, 5) if tiny else (3, 5, 7)

        def stage(depths: tuple[int, ...], widths: tuple[int, ...], stride: int) -> StageSpace:
            return StageSpace(depths, widths, kernels, (3, 4, 6), stride, layers_per_block=3)

        return BackboneSpace(
            name=self.name,
            resolutions=(input_shape[1],),
            stages=(
                StageSpace((1,), (8, 12, 16), (3,), (1,), 2 if side >= 64 else 1, layers_per_block=2),
                stage((1, 2), (12, 16, 24), 1),
                stage((1, 2, 3), (24, 32, 40), 2),
                stage((1, 2, 3), (40, 64, 80), 1 if tiny else 2),
            ),
            stem_stride=1 if side < 24 else 2,
        )

    def build(self, space: BackboneSpace, input_channels: int) -> ElasticBackbone:
        return build_backbone(space, input_channels, ElasticInvertedResidual, stem_width=_STEM, stem_activation="relu6")


_STEM = 16
_ZNIBER_STEM = 32


@dataclass(frozen=True)
class ZniberMobileNetV2:
    """The fixed backbone of Zniber et al.: 12 blocks, 195,325,952 MACs at 32x32.

    Kernels are 3x3 in the first 7 blocks and 7x7 in the last 5. Source: the published ONNX graphs of
    the study. The files beside the graphs state 3x3 kernels everywhere; the graphs do not.

    Attributes:
        name: Name of the family in settings and architectures.
        description: One line for people.
    """

    name: str = "mobilenetv2-zniber"
    description: str = "the fixed MobileNetV2 of Zniber et al., 12 blocks: 195 M MACs at 32x32"

    def space(self, input_shape: tuple[int, int, int]) -> BackboneSpace:
        rows = (
            (1, 16, 3, 1, 1),
            (2, 24, 3, 6, 1),
            (2, 32, 3, 6, 1),
            (2, 64, 3, 6, 2),
            (2, 96, 7, 6, 1),
            (2, 160, 7, 6, 2),
            (1, 320, 7, 6, 1),
        )
        return BackboneSpace(
            name=self.name,
            resolutions=(input_shape[1],),
            stages=tuple(
                StageSpace((depth,), (width,), (kernel,), (expansion,), stride, 3 if expansion > 1 else 2)
                for depth, width, kernel, expansion, stride in rows
            ),
        )

    def build(self, space: BackboneSpace, input_channels: int) -> ElasticBackbone:
        return build_backbone(
            space, input_channels, ElasticInvertedResidual, stem_width=_ZNIBER_STEM, stem_activation="relu6"
        )


BACKBONES.add("mobilenetv2", MobileNetV2())
BACKBONES.add("mobilenetv2-zniber", ZniberMobileNetV2())
