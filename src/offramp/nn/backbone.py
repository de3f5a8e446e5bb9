"""Backbones as plug-ins: a stem and stages of elastic blocks, each block end a tap."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from torch import Tensor, nn

from offramp.nn.branches.exit_branch import ElasticBranch
from offramp.nn.elastic.elastic_layers import Activation, ElasticConvNorm
from offramp.nn.network import FeatureInfo, input_size
from offramp.registry import Registry
from offramp.space.architecture import Precision, StageChoice
from offramp.space.search_space import BackboneSpace


@dataclass(frozen=True)
class BlockSizes:
    """Sizes of one block: the largest when it is built, the chosen ones when it is activated."""

    in_channels: int
    out_channels: int
    kernel_size: int
    expansion: int


@dataclass(frozen=True)
class BlockPlace:
    """Where a block stands: its stride, and whether every member has as many channels after it as before."""

    stride: int
    keeps_width: bool


@dataclass(frozen=True)
class ChannelPaths:
    """How channels pass through a block: layers in a row, each row from the input to the output.

    ``passes_input`` where the input itself is added to the output.
    """

    layers: tuple[tuple[ElasticConvNorm, ...], ...]
    passes_input: bool


class ElasticBlock(nn.Module, ABC):
    """A block of a stage; after ``activate`` it behaves as a plain block of the given sizes."""

    ends_in_layer: bool = False
    """Whether the last thing the block does is a layer, whose output is quantised already."""

    @abstractmethod
    def activate(self, sizes: BlockSizes) -> None: ...

    def set_precisions(self, precisions: tuple[Precision, ...]) -> None:
        """Bit widths of the block: none, one for all of it, or one per layer in the order in which they were made.

        Layers beyond the last, and what the block does itself, take the last one.
        """
        last = precisions[-1] if precisions else None
        for index, layer in enumerate(self._conv_norms()):
            layer.precision = precisions[index] if index < len(precisions) - 1 else last

    def choose_precisions(self, precisions: tuple[Precision, ...]) -> None:
        """Compute at these bit widths from now on: as `set_precisions`, but never none."""
        for index, layer in enumerate(self._conv_norms()):
            layer.choose_precision(precisions[min(index, len(precisions) - 1)])

    def _conv_norms(self) -> list[ElasticConvNorm]:
        return [module for module in self.modules() if isinstance(module, ElasticConvNorm)]

    def channel_paths(self) -> ChannelPaths | None:
        """What sorting channels by importance needs to know; None = they are not to be sorted."""
        return None

    @abstractmethod
    def extract(self) -> nn.Module:
        """A plain module with copies of the active weights and the same outputs."""


@dataclass(frozen=True)
class ActiveBlock:
    """A block that takes part, and the tap at its end."""

    tap: int
    block: ElasticBlock
    channels: int


@dataclass(frozen=True)
class ExtractedBackbone:
    """Plain copies of the stem and of the active blocks, in order."""

    stem: nn.Module
    blocks: tuple[nn.Module, ...]


class Backbone(nn.Module, ABC):
    """What a supernet asks of its backbone: a stem, blocks in a row, and the sizes of the features behind each."""

    space: BackboneSpace
    stem: nn.Module
    active_blocks: tuple[ActiveBlock, ...] = ()

    @abstractmethod
    def activate(self, stages: tuple[StageChoice, ...]) -> None:
        """Use the chosen member; the choices must lie in the space."""

    @abstractmethod
    def extract(self) -> ExtractedBackbone:
        """Copies of what is active that give the same features."""

    def features(self, input_shape: tuple[int, int, int], resolution: int) -> tuple[FeatureInfo, ...]:
        """Largest channels and the map size at every tap."""
        return tap_features(self.space, input_shape, resolution)

    def fitted_branch(self, tap: int, branch: ElasticBranch) -> ElasticBranch:
        """The branch, with what it takes to read features that are no map (batch, channels, height, width)."""
        return branch

    def own_heads(self, num_classes: int) -> dict[str, ElasticBranch]:
        """Final classifiers by name that the backbone brings along, if it has any for this number of classes."""
        return {}


class ElasticBackbone(Backbone):
    """``stages[s][j]`` ends at tap ``sum(max_depth[:s]) + j``; ``activate`` picks one member of the family.

    ``stem_width=None`` gives the stem the width of the first stage.
    """

    def __init__(
        self,
        space: BackboneSpace,
        stem: ElasticConvNorm,
        stages: Sequence[Sequence[ElasticBlock]],
        *,
        stem_width: int | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self.stem: ElasticConvNorm = stem
        self.stages = nn.ModuleList(nn.ModuleList(blocks) for blocks in stages)
        self.stem_width = stem_width
        self.active_blocks: tuple[ActiveBlock, ...] = ()

    def activate(self, stages: tuple[StageChoice, ...]) -> None:
        """Use the first ``depth`` blocks of each stage at the chosen sizes; the choices must lie in the space."""
        channels = self.stem_width or stages[0].width
        stem = self.stem.conv
        stem.activate(stem.in_channels, channels, stem.kernel_size)
        self.stem.norm.activate(channels)
        active = []
        first_tap = 0
        for stage, choice, blocks in zip(self.space.stages, stages, self.stages, strict=True):
            for index in range(choice.depth):
                block = cast(ElasticBlock, cast(nn.ModuleList, blocks)[index])
                sizes = BlockSizes(channels, choice.width, choice.kernel_sizes[index], choice.expansions[index])
                block.activate(sizes)
                block.set_precisions(_precisions(choice, index))
                channels = choice.width
                active.append(ActiveBlock(first_tap + index, block, channels))
            first_tap += max(stage.depths)
        self.active_blocks = tuple(active)

    def extract(self) -> ExtractedBackbone:
        return ExtractedBackbone(self.stem.extract(), tuple(active.block.extract() for active in self.active_blocks))

    def forward(self, images: Tensor) -> Tensor:
        """Features of the last active block."""
        features = cast(Tensor, self.stem(images))
        for active in self.active_blocks:
            features = active.block(features)
        return features


def _precisions(choice: StageChoice, block: int) -> tuple[Precision, ...]:
    """Of one block; none where those of the architecture hold."""
    return choice.block_precisions(block, Precision()) if choice.precisions else ()


class BackboneFamily(Protocol):
    """A plug-in: the space of a family for a kind of image, and the weights that all its members share."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str:
        """One line for people."""
        ...

    def space(self, input_shape: tuple[int, int, int]) -> BackboneSpace:
        """The choices for images of shape (channels, height, width)."""
        ...

    def build(self, space: BackboneSpace, input_channels: int) -> Backbone: ...


BACKBONES: Registry[BackboneFamily] = Registry("backbone", "offramp.nn.backbones", entry_points="offramp.backbones")


def build_backbone(
    space: BackboneSpace,
    input_channels: int,
    build_block: Callable[[BlockSizes, BlockPlace], ElasticBlock],
    *,
    stem_width: int | None = None,
    stem_activation: Activation = "relu",
) -> ElasticBackbone:
    """The usual backbone: one convolution as stem, then stages whose first block has the stage's stride.

    ``build_block`` gets the largest sizes a block may take.
    """
    channels = stem_width or max(space.stages[0].widths)
    stem = ElasticConvNorm(
        input_channels,
        channels,
        space.stem_kernel,
        stride=space.stem_stride,
        padding=space.stem_padding,
        activation=stem_activation,
    )
    stages: list[list[ElasticBlock]] = []
    for stage in space.stages:
        blocks: list[ElasticBlock] = []
        for index in range(max(stage.depths)):
            sizes = BlockSizes(channels, max(stage.widths), max(stage.kernel_sizes), max(stage.expansions))
            follows_stem = not stages and stem_width is None
            place = BlockPlace(stage.stride if index == 0 else 1, keeps_width=index > 0 or follows_stem)
            blocks.append(build_block(sizes, place))
            channels = sizes.out_channels
        stages.append(blocks)
    return ElasticBackbone(space, stem, stages, stem_width=stem_width)


def tap_features(space: BackboneSpace, input_shape: tuple[int, int, int], resolution: int) -> tuple[FeatureInfo, ...]:
    """Largest channels and the map size at every tap; a stride ``s`` divides sizes by ``s``, rounding up."""
    height, width = input_size(input_shape, resolution)
    height, width = -(-height // space.stem_stride), -(-width // space.stem_stride)
    features = []
    for stage in space.stages:
        height, width = -(-height // stage.stride), -(-width // stage.stride)
        features += [FeatureInfo(max(stage.widths), height, width)] * max(stage.depths)
    return tuple(features)
