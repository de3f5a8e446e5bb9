"""The three classifiers of MLPerf Tiny, each as one fixed network and as the largest member of an elastic family.

In an elastic family, each stage has the width of the reference network, three quarters or half of it. The elastic
DS-CNN takes inputs of any size: on larger maps than those of keyword spotting its stages get strides.

Source: Banbury et al. 2021, "MLPerf Tiny Benchmark", section 4; layer shapes from the reference TFLite files.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from offramp.nn.backbone import BACKBONES, BlockPlace, BlockSizes, ElasticBackbone, ElasticBlock, build_backbone
from offramp.nn.backbones.resnet import ElasticBasicBlock
from offramp.nn.elastic.elastic_layers import ElasticConvNorm
from offramp.space.search_space import BackboneSpace, StageSpace


class ElasticSeparableBlock(ElasticBlock):
    """Depthwise convolution, then a 1x1 convolution to the block's width, each with batch norm and ReLU.

    Args:
        largest: The largest sizes that the block may take.
        place: Its stride, and whether its width is fixed.
    """

    def __init__(self, largest: BlockSizes, place: BlockPlace) -> None:
        super().__init__()
        channels = largest.in_channels
        self.depthwise = ElasticConvNorm(channels, channels, largest.kernel_size, stride=place.stride, depthwise=True)
        self.pointwise = ElasticConvNorm(channels, largest.out_channels, 1)

    def activate(self, sizes: BlockSizes) -> None:
        self.depthwise.activate(sizes.in_channels, sizes.in_channels, sizes.kernel_size)
        self.pointwise.activate(sizes.in_channels, sizes.out_channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.pointwise(self.depthwise(features))
        return result

    def extract(self) -> nn.Module:
        return nn.Sequential(self.depthwise.extract(), self.pointwise.extract())


@dataclass(frozen=True)
class ReferenceStage:
    """A stage of a reference network.

    Attributes:
        depth: Number of blocks.
        width: Output channels of each block.
        stride: Stride of the first block.
    """

    depth: int
    width: int
    stride: int = 1


@dataclass(frozen=True)
class ReferenceNetwork:
    """A reference network.

    Attributes:
        stages: Its stages, in order of execution.
        block: Builds a block from its sizes and its place.
        stem_width: Output channels of the stem; None: those of the first stage.
        stem_stride: Stride of the stem.
        stem_kernel: Kernel of the stem: height, width.
        most_positions: Places of a map behind the stem from which the stages of the elastic family halve it, until
            there are fewer; None: stages have the reference's strides whatever the input.
    """

    stages: tuple[ReferenceStage, ...]
    block: Callable[[BlockSizes, BlockPlace], ElasticBlock]
    stem_width: int | None = None
    stem_stride: int = 1
    stem_kernel: tuple[int, int] = (3, 3)
    most_positions: int | None = None

    def strides(self, input_shape: tuple[int, int, int]) -> tuple[int, ...]:
        """Strides of the stages for an input of any size.

        The second stage is the first to halve a map that is too large, then the third and so on; the first is the last.

        Args:
            input_shape: Shape of the input: channels, height, width.

        Returns:
            One stride per stage.
        """
        own = tuple(stage.stride for stage in self.stages)
        if self.most_positions is None:
            return own
        _, height, width = input_shape
        height, width = -(-height // self.stem_stride), -(-width // self.stem_stride)
        halved = 0
        while height * width > self.most_positions and halved < len(own):
            height, width, halved = -(-height // 2), -(-width // 2), halved + 1
        order = (*range(1, len(own)), 0)
        return tuple(2 * stride if stage in order[:halved] else stride for stage, stride in enumerate(own))

    def stem_kernel_for(self, input_shape: tuple[int, int, int]) -> tuple[int, int]:
        """Kernel of the stem for an input of any size: that of the reference, but no larger than the input.

        Args:
            input_shape: Shape of the input: channels, height, width.

        Returns:
            Height and width.
        """
        if self.most_positions is None:
            return self.stem_kernel
        return min(self.stem_kernel[0], input_shape[1]), min(self.stem_kernel[1], input_shape[2])


@dataclass(frozen=True)
class ReferenceFamily:
    """A family of one reference network, or of it and all narrower ones.

    Attributes:
        name: Name of the family in settings and architectures.
        description: One line for people.
        reference: The reference network.
        elastic: Whether each stage may also have three quarters or half of the reference's width.
    """

    name: str
    description: str
    reference: ReferenceNetwork
    elastic: bool

    def space(self, input_shape: tuple[int, int, int]) -> BackboneSpace:
        # A fixed network is that of the reference, on whatever input.
        reference = self.reference if self.elastic else replace(self.reference, most_positions=None)
        kernel = reference.stem_kernel_for(input_shape)
        return BackboneSpace(
            name=self.name,
            resolutions=(input_shape[1],),
            stages=tuple(
                StageSpace((stage.depth,), self._widths(stage.width), stride=stride)
                for stage, stride in zip(reference.stages, reference.strides(input_shape), strict=True)
            ),
            stem_stride=reference.stem_stride,
            stem_kernel=kernel,
            stem_padding=_stem_padding(reference.stem_stride, kernel, input_shape),
        )

    def build(self, space: BackboneSpace, input_channels: int) -> ElasticBackbone:
        return build_backbone(space, input_channels, self.reference.block, stem_width=self.reference.stem_width)

    def _widths(self, full: int) -> tuple[int, ...]:
        return (full // 2, full * 3 // 4, full) if self.elastic else (full,)


def _stem_padding(stride: int, kernel: tuple[int, int], input_shape: tuple[int, int, int]) -> tuple[int, int]:
    """The least padding, equal on both sides, with which a stride ``s`` divides sizes by ``s``, rounding up.

    Where the reference's total padding is odd, it pads one side by one row less; sizes and MACs are the same.
    """
    rows, columns = (
        -(-max(0, (-(-size // stride) - 1) * stride + length - size) // 2)
        for size, length in zip(input_shape[1:], kernel, strict=True)
    )
    return rows, columns


def _stages(*rows: tuple[int, int, int]) -> tuple[ReferenceStage, ...]:
    """Stages from depth, width and stride."""
    return tuple(ReferenceStage(*row) for row in rows)


_RESNET8 = ReferenceNetwork(_stages((1, 16, 1), (1, 32, 2), (1, 64, 2)), ElasticBasicBlock)
# The reference has 25 x 5 places behind its stem.
_DS_CNN = ReferenceNetwork(
    _stages(*[(1, 64, 1)] * 4), ElasticSeparableBlock, stem_stride=2, stem_kernel=(10, 4), most_positions=512
)
_MOBILENETV1 = ReferenceNetwork(
    _stages((1, 16, 1), (2, 32, 2), (2, 64, 2), (6, 128, 2), (2, 256, 2)),
    ElasticSeparableBlock,
    stem_width=8,
    stem_stride=2,
)

for _name, _reference, _what in (
    ("resnet8", _RESNET8, "ResNet-8 of MLPerf Tiny (32x32x3), 12.5 M MACs"),
    ("ds-cnn", _DS_CNN, "DS-CNN of MLPerf Tiny (49x10x1), 2.7 M MACs"),
    ("mobilenetv1", _MOBILENETV1, "MobileNetV1 0.25 of MLPerf Tiny (96x96x3), 7.5 M MACs"),
):
    BACKBONES.add(_name, ReferenceFamily(_name, f"{_what}, and narrower: 50/75/100 % a stage", _reference, True))
    _fixed = f"mlperf-{_name}"
    BACKBONES.add(_fixed, ReferenceFamily(_fixed, f"the fixed {_what}", _reference, False))
