"""Backbones as plug-ins: a stem and stages of elastic blocks. The end of each block is a tap."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from torch import Tensor, nn

from offramp.nn.branches.exit_branch import ElasticBranch
from offramp.nn.elastic.elastic_layers import Activation, ElasticConvNorm
from offramp.nn.network import FeatureInfo, input_size
from offramp.registry import Registry, object_like
from offramp.space.architecture import Precision, StageChoice
from offramp.space.search_space import BackboneSpace


@dataclass(frozen=True)
class BlockSizes:
    """Sizes of one block: the largest when it is built, the chosen ones when it is activated.

    Attributes:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        kernel_size: Side of the square kernel of its spatial convolutions.
        expansion: Its inner width, as a multiple of the input or the output channels; the block says of which.
        heads: Number of attention heads; 0: the block has no attention.
    """

    in_channels: int
    out_channels: int
    kernel_size: int
    expansion: int
    heads: int = 0


@dataclass(frozen=True)
class BlockPlace:
    """What a block's place in the backbone demands of it.

    Attributes:
        stride: Its stride; height and width are divided by it, rounding up.
        keeps_width: Whether every member of the family has as many channels after the block as before it.
    """

    stride: int
    keeps_width: bool


@dataclass(frozen=True)
class ChannelPaths:
    """How channels pass through a block.

    Attributes:
        layers: One row of layers per path from the input to the output, in order of execution.
        passes_input: Whether the input itself is added to the output.
    """

    layers: tuple[tuple[ElasticConvNorm, ...], ...]
    passes_input: bool


class ElasticBlock(nn.Module, ABC):
    """A block of a stage; after ``activate`` it behaves as a plain block of the given sizes.

    Attributes:
        ends_in_layer: Whether the last operation of the block is a layer, whose output is quantised already.
        computes_integers: Whether the block can be quantised and given to analog cores; else it is in floating point.
    """

    ends_in_layer: bool = False
    computes_integers: bool = True

    @abstractmethod
    def activate(self, sizes: BlockSizes) -> None:
        """Compute with these sizes from now on.

        Args:
            sizes: The chosen sizes, none above the largest.
        """

    def set_precisions(self, precisions: tuple[Precision, ...]) -> None:
        """State the bit widths of the block's layers, which the extracted block keeps.

        Args:
            precisions: None, one for all layers, or one per layer in the order in which the layers were made. Layers
                beyond the last entry have the last one.
        """
        last = precisions[-1] if precisions else None
        for index, layer in enumerate(self._conv_norms()):
            layer.precision = precisions[index] if index < len(precisions) - 1 else last

    def choose_precisions(self, precisions: tuple[Precision, ...]) -> None:
        """Compute at these bit widths from now on.

        Args:
            precisions: As in `set_precisions`, at least one.
        """
        for index, layer in enumerate(self._conv_norms()):
            layer.choose_precision(precisions[min(index, len(precisions) - 1)])

    def _conv_norms(self) -> list[ElasticConvNorm]:
        return [module for module in self.modules() if isinstance(module, ElasticConvNorm)]

    def channel_paths(self) -> ChannelPaths | None:
        """The paths of channels through the block, for sorting them by importance; None forbids sorting."""
        return None

    @abstractmethod
    def extract(self) -> nn.Module:
        """A plain module with copies of the active weights and the same outputs."""


@dataclass(frozen=True)
class ActiveBlock:
    """A block of the active member.

    Attributes:
        tap: Number of the tap at its end, counted in the deepest member from 0.
        block: The block.
        channels: Number of output channels.
    """

    tap: int
    block: ElasticBlock
    channels: int


@dataclass(frozen=True)
class ExtractedBackbone:
    """Plain copies of the active parts of a backbone.

    Attributes:
        stem: The stem.
        blocks: The active blocks, in order of execution.
    """

    stem: nn.Module
    blocks: tuple[nn.Module, ...]


class Backbone(nn.Module, ABC):
    """What a supernet requires of its backbone: a stem, blocks in a row, and the sizes of the features behind each.

    Attributes:
        space: The members of the family.
        stem: The part before the first block; images (batch, channels, height, width) to features.
        active_blocks: The blocks of the active member in order; empty before the first ``activate``.
    """

    space: BackboneSpace
    stem: nn.Module
    active_blocks: tuple[ActiveBlock, ...] = ()

    @abstractmethod
    def activate(self, stages: tuple[StageChoice, ...]) -> None:
        """Compute with the chosen member from now on.

        Args:
            stages: The choices of each stage; they must lie in the space. A network that ends early has fewer stages,
                and its last stage may have any depth up to the largest.
        """

    @abstractmethod
    def extract(self) -> ExtractedBackbone:
        """Plain copies of the active parts, which compute the same features."""

    def features(self, input_shape: tuple[int, int, int], resolution: int) -> tuple[FeatureInfo, ...]:
        """Sizes of the features at every tap.

        Args:
            input_shape: Shape of the images: channels, height, width.
            resolution: Height to which images are resized.

        Returns:
            For each tap the largest number of channels, and the size of the feature map.
        """
        return tap_features(self.space, input_shape, resolution)

    def adapt_branch(self, tap: int, branch: ElasticBranch) -> ElasticBranch:
        """Make a branch read the features at a tap, if they are no map (batch, channels, height, width).

        Args:
            tap: Number of the tap.
            branch: A branch for feature maps.

        Returns:
            The branch itself, or one that converts the features first.
        """
        return branch

    def own_heads(self, num_classes: int) -> dict[str, ElasticBranch]:
        """Final classifiers that belong to the backbone.

        Args:
            num_classes: Number of logits.

        Returns:
            Classifiers by name; empty if the backbone has none for this number of classes.
        """
        return {}


class ElasticBackbone(Backbone):
    """A backbone of stages whose blocks are elastic; block ``stages[s][j]`` ends at tap ``sum(max_depth[:s]) + j``.

    Args:
        space: The members of the family.
        stem: The convolution before the first block.
        stages: The blocks of each stage, as many as its largest depth.
        stem_width: Output channels of the stem; None: those of the first stage.
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
        """See `Backbone.activate`; the first ``depth`` blocks of each stage are active."""
        channels = self.stem_width or stages[0].width
        stem = self.stem.conv
        stem.activate(stem.in_channels, channels, stem.kernel_size)
        self.stem.norm.activate(channels)
        active = []
        first_tap = 0
        for stage, choice, blocks in zip(self.space.stages, stages, self.stages, strict=False):
            for index in range(choice.depth):
                block = cast(ElasticBlock, cast(nn.ModuleList, blocks)[index])
                heads = choice.heads[index] if choice.heads else 0
                sizes = BlockSizes(channels, choice.width, choice.kernel_sizes[index], choice.expansions[index], heads)
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
    """Bit widths of one block; none where those of the architecture hold."""
    return choice.block_precisions(block, Precision()) if choice.precisions else ()


class BackboneFamily(Protocol):
    """A plug-in: the search space of a family for a shape of images, and the weights that all its members share."""

    @property
    def name(self) -> str:
        """Name of the family in settings and architectures."""
        ...

    @property
    def description(self) -> str:
        """One line for people."""
        ...

    def space(self, input_shape: tuple[int, int, int]) -> BackboneSpace:
        """The members of the family for a shape of images.

        Args:
            input_shape: Shape of the images: channels, height, width.

        Returns:
            The search space.
        """
        ...

    def build(self, space: BackboneSpace, input_channels: int) -> Backbone:
        """The backbone with the weights of all members.

        Args:
            space: The members, as from ``space`` or a part of them.
            input_channels: Channels of the images.

        Returns:
            The backbone.
        """
        ...


BACKBONES: Registry[BackboneFamily] = Registry(
    "backbone", "offramp.nn.backbones", entry_points="offramp.backbones", expects=object_like(BackboneFamily)
)


def build_backbone(
    space: BackboneSpace,
    input_channels: int,
    build_block: Callable[[BlockSizes, BlockPlace], ElasticBlock],
    *,
    stem_width: int | None = None,
    stem_activation: Activation = "relu",
) -> ElasticBackbone:
    """The usual backbone: one convolution as stem, then stages whose first block has the stage's stride.

    Args:
        space: The members of the family.
        input_channels: Channels of the images.
        build_block: Builds a block from the largest sizes that it may take, and from its place.
        stem_width: Output channels of the stem; None: those of the first stage.
        stem_activation: Activation function behind the stem.

    Returns:
        The backbone.
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
            sizes = BlockSizes(
                channels,
                max(stage.widths),
                max(stage.kernel_sizes),
                max(stage.expansions),
                max(stage.heads, default=0),
            )
            follows_stem = not stages and stem_width is None
            place = BlockPlace(stage.stride if index == 0 else 1, keeps_width=index > 0 or follows_stem)
            blocks.append(build_block(sizes, place))
            channels = sizes.out_channels
        stages.append(blocks)
    return ElasticBackbone(space, stem, stages, stem_width=stem_width)


def tap_features(space: BackboneSpace, input_shape: tuple[int, int, int], resolution: int) -> tuple[FeatureInfo, ...]:
    """Sizes of the features at every tap; a stride ``s`` divides sizes by ``s``, rounding up.

    Args:
        space: The members of the family.
        input_shape: Shape of the images: channels, height, width.
        resolution: Height to which images are resized.

    Returns:
        For each tap the largest number of channels, and the size of the feature map.
    """
    height, width = input_size(input_shape, resolution)
    height, width = -(-height // space.stem_stride), -(-width // space.stem_stride)
    features = []
    for stage in space.stages:
        height, width = -(-height // stage.stride), -(-width // stage.stride)
        features += [FeatureInfo(max(stage.widths), height, width)] * max(stage.depths)
    return tuple(features)
