"""Families for series: convolutions over time alone, kernels 1xk. Series are maps (channels, 1, steps).

Vectors (features, 1, 1) are series of one step: all kernels are 1x1, and the residual family is a residual network of
dense layers.

Sources: Choi et al. 2019, "Temporal Convolution for Real-time Keyword Spotting on Mobile Devices" (TC-ResNet: residual
blocks of two convolutions over time); Zhang et al. 2017, "Hello Edge: Keyword Spotting on Microcontrollers" (DS-CNN:
depthwise separable blocks).
"""

from collections.abc import Callable
from dataclasses import dataclass

from offramp.errors import ConfigError
from offramp.nn.backbone import BACKBONES, BlockPlace, BlockSizes, ElasticBackbone, ElasticBlock, build_backbone
from offramp.nn.backbones.mlperf_tiny import ElasticSeparableBlock
from offramp.nn.backbones.resnet import ElasticBasicBlock
from offramp.nn.elastic.single_axes import fit_to_axes_
from offramp.space.search_space import BackboneSpace, StageSpace

_FINAL_STEPS = 12
"""The strides leave at least this many steps of a long series for the last stage, and fewer than twice as many."""

_MEDIUM_SERIES, _LONG_SERIES = 256, 2048
"""Steps from which a family has four and five stages in place of three."""

_SHORT_SERIES = 32
"""Below as many steps there is no kernel of 9."""


@dataclass(frozen=True)
class TimeStrides:
    """Where a family divides the length of a series.

    Attributes:
        stem: Stride of the stem: 1, 2 or 4.
        stages: Stride of the first block of each stage: 1, 2 or 4.
    """

    stem: int
    stages: tuple[int, ...]


def time_strides(steps: int) -> TimeStrides:
    """Choose strides that bring a series to 12 to 23 steps, as far as five stages can.

    Late stages are the first to get a stride of 2, because early taps see more of the series the longer it stays. The
    stem comes next, up to 4, and then strides of 4 from the first stage on.

    Args:
        steps: Length of the series, at least 1.

    Returns:
        The strides; more stages for longer series.
    """
    halvings = max(0, (steps // _FINAL_STEPS).bit_length() - 1)
    count = 3 if steps < _MEDIUM_SERIES else 4 if steps < _LONG_SERIES else 5
    exponents = [1 if index >= count - halvings else 0 for index in range(count)]
    left = halvings - sum(exponents)
    stem = min(2, left)
    left -= stem
    exponents = [exponent + (1 if index < left else 0) for index, exponent in enumerate(exponents)]
    return TimeStrides(2**stem, tuple(2**exponent for exponent in exponents))


@dataclass(frozen=True)
class TemporalFamily:
    """An elastic family over time; stages, strides and kernels follow from the length of the series.

    Attributes:
        name: Name of the family in settings and architectures.
        description: One line for people.
        block: Builds a block from the largest sizes that it may take, and from its place.
        widths: Widths of the first stage; each next stage has those of the next row.
        depths: Numbers of blocks of a stage.
    """

    name: str
    description: str
    block: Callable[[BlockSizes, BlockPlace], ElasticBlock]
    widths: tuple[tuple[int, ...], ...]
    depths: tuple[int, ...]

    def space(self, input_shape: tuple[int, int, int]) -> BackboneSpace:
        _, height, steps = input_shape
        if height != 1:
            raise ConfigError(
                f"Backbone {self.name!r} is for series (channels, 1, steps), got samples of shape {input_shape}. Use "
                "resnet, mobilenetv2 or ds-cnn for images and for maps of features."
            )
        strides = time_strides(steps)
        return BackboneSpace(
            name=self.name,
            resolutions=(1,),
            stages=tuple(
                StageSpace(self.depths, widths, _kernels(steps, stride), stride=stride, layers_per_block=2)
                for widths, stride in zip(self.widths, strides.stages, strict=False)
            ),
            stem_stride=strides.stem,
            stem_kernel=(1, 1 if steps == 1 else 2 * strides.stem + 1),
        )

    def build(self, space: BackboneSpace, input_channels: int) -> ElasticBackbone:
        backbone = build_backbone(space, input_channels, self.block)
        fit_to_axes_(backbone, one_row=True, one_column=space.stem_kernel == (1, 1))
        return backbone


def _kernels(steps: int, stride: int) -> tuple[int, ...]:
    """Kernel sizes to choose among; a kernel is larger than its stride, so that no step is left out."""
    if steps == 1:
        return (1,)
    choices = (3, 5) if steps < _SHORT_SERIES else (3, 5, 9)
    return tuple(size for size in choices if size > stride)


_RESIDUAL = ((12, 16, 24), (16, 24, 32), (24, 32, 48), (32, 48, 64), (48, 64, 96))
_LARGE_RESIDUAL = ((16, 24, 32), (32, 48, 64), (48, 64, 96), (64, 96, 128), (96, 128, 160))
_SEPARABLE = ((32, 48, 64),) * 5

for _family in (
    TemporalFamily(
        "tc-resnet",
        "residual networks over time, kernels 1x3 to 1x9, for series and vectors: 0.2 to 3.0 M MACs at 9 x 100",
        ElasticBasicBlock,
        _RESIDUAL,
        (1, 2),
    ),
    TemporalFamily(
        "tc-resnet-large",
        "wider and deeper residual networks over time, for many samples: 0.4 to 14 M MACs at 9 x 100",
        ElasticBasicBlock,
        _LARGE_RESIDUAL,
        (1, 2, 3),
    ),
    TemporalFamily(
        "tc-ds-cnn",
        "depthwise separable networks over time, kernels 1x3 to 1x9: 0.2 to 1.0 M MACs at 9 x 100",
        ElasticSeparableBlock,
        _SEPARABLE,
        (1, 2),
    ),
):
    BACKBONES.add(_family.name, _family)
