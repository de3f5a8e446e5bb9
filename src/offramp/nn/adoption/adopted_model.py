"""AdoptedModel: a user's torch model, cut into blocks, as a backbone family with one member."""

import copy
from dataclasses import dataclass

from torch import Tensor, nn

from offramp.errors import AdoptError
from offramp.nn.adoption.feature_layout import FeatureLayout, MappedBranch
from offramp.nn.backbone import ActiveBlock, Backbone, BlockSizes, ElasticBlock, ExtractedBackbone
from offramp.nn.branches.exit_branch import ElasticBranch
from offramp.nn.network import FeatureInfo
from offramp.space.architecture import StageChoice
from offramp.space.search_space import BackboneSpace, StageSpace

OWN_HEAD = "own_head"
ADOPTED = "adopted:"


@dataclass(frozen=True)
class Tap:
    """A place for an exit.

    Attributes:
        name: The module behind which the exit is.
        layout: Layout of the features there.
        macs_share: Share of the model's MACs up to there, 0..1.
    """

    name: str
    layout: FeatureLayout
    macs_share: float


class AdoptedBlock(ElasticBlock):
    """A piece of the model; if frozen, it stays in evaluation mode and keeps its weights and statistics.

    Args:
        body: The piece.
        frozen: Whether training leaves it as it is.
    """

    def __init__(self, body: nn.Module, *, frozen: bool) -> None:
        super().__init__()
        self.body = body
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)
            self.eval()

    @property
    def keeps_statistics(self) -> bool:
        """Whether the statistics of batch norms in the piece are not recalibrated."""
        return self.frozen

    def train(self, mode: bool = True) -> "AdoptedBlock":
        super().train(mode and not self.frozen)
        return self

    def activate(self, sizes: BlockSizes) -> None:
        """There is one size only."""

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.body(features)
        return result

    def extract(self) -> nn.Module:
        return copy.deepcopy(self)


class OwnHead(ElasticBranch):
    """The model's own classifier.

    Args:
        body: The last piece of the model.
        frozen: Whether training leaves it as it is.
    """

    def __init__(self, body: nn.Module, *, frozen: bool) -> None:
        super().__init__()
        self.piece = AdoptedBlock(body, frozen=frozen)

    def activate(self, in_channels: int, height: int, width: int) -> None:
        """There is one size only."""

    def forward(self, features: Tensor) -> Tensor:
        return self.piece.forward(features)

    def extract(self) -> nn.Module:
        return self.piece.extract()


class _Image(nn.Module):
    """In place of the stem of other backbones: gives the image back."""

    def forward(self, images: Tensor) -> Tensor:
        return images

    def extract(self) -> nn.Module:
        return nn.Identity()


class AdoptedBackbone(Backbone):
    """The pieces of a model, all of which are active but those behind the end of a network that ends early.

    Args:
        space: The search space of the model.
        model: The model.
    """

    def __init__(self, space: BackboneSpace, model: "AdoptedModel") -> None:
        super().__init__()
        self.space = space
        self.stem = _Image()
        # One deep copy of all, so that layers which several pieces share stay shared.
        *bodies, head = copy.deepcopy(list(model.pieces))
        self.blocks = nn.ModuleList(AdoptedBlock(body, frozen=model.frozen) for body in bodies)
        self.layouts = tuple(tap.layout for tap in model.taps)
        self.num_classes = model.num_classes
        self._head = [OwnHead(head, frozen=model.frozen)]  # a part of the supernet, not of the backbone

    def activate(self, stages: tuple[StageChoice, ...]) -> None:
        active = []
        for tap, block in enumerate(list(self.blocks)[: len(stages)]):
            assert isinstance(block, AdoptedBlock)
            active.append(ActiveBlock(tap, block, self.layouts[tap].features.channels))
        self.active_blocks = tuple(active)

    def features(self, input_shape: tuple[int, int, int], resolution: int) -> tuple[FeatureInfo, ...]:
        return tuple(layout.features for layout in self.layouts)

    def adapt_branch(self, tap: int, branch: ElasticBranch) -> ElasticBranch:
        layout = self.layouts[tap]
        return branch if layout.is_map else MappedBranch(layout, branch)

    def own_heads(self, num_classes: int) -> dict[str, ElasticBranch]:
        return {OWN_HEAD: self._head[0]} if num_classes == self.num_classes else {}

    def extract(self) -> ExtractedBackbone:
        # One deep copy of all, so that layers which several pieces share stay shared.
        blocks = copy.deepcopy([active.block for active in self.active_blocks])
        return ExtractedBackbone(nn.Identity(), tuple(blocks))


@dataclass(frozen=True, eq=False)
class AdoptedModel:
    """A model that can be searched like a backbone family; made by `offramp.adopt`.

    Attributes:
        name: Name of the backbone in settings and architectures.
        description: One line for people.
        pieces: The parts of the model between taps, in order; the last one is the model's own classifier.
        taps: The end of each piece except the last.
        input_shape: Shape of an image: channels, height, width.
        num_classes: Number of logits.
        frozen: Whether training changes the exit branches only.
        fingerprint: Hash of the weights, the calls and the cuts.
        notes: What a user should know about how the model was cut.
    """

    name: str
    description: str
    pieces: tuple[nn.Module, ...]
    taps: tuple[Tap, ...]
    input_shape: tuple[int, int, int]
    num_classes: int
    frozen: bool
    fingerprint: str
    notes: tuple[str, ...] = ()

    @property
    def early_taps(self) -> tuple[Tap, ...]:
        """The taps for early exits; the last tap has the final classifier."""
        return self.taps[:-1]

    def space(self, input_shape: tuple[int, int, int]) -> BackboneSpace:
        """See `BackboneFamily.space`; the only member is the model itself.

        Args:
            input_shape: Shape of the images: channels, height, width.

        Returns:
            The search space.

        Raises:
            AdoptError: The model was adopted for images of another shape.
        """
        if tuple(input_shape) != self.input_shape:
            raise AdoptError(
                f"Model {self.name!r} was adopted for images of shape {self.input_shape}, the data have "
                f"{tuple(input_shape)}. Set data.image_size, or adopt it with an example like the data."
            )
        stages = tuple(
            StageSpace(depths=(1,), widths=(tap.layout.features.channels,), kernel_sizes=(1,)) for tap in self.taps
        )
        return BackboneSpace(self.name, (self.input_shape[1],), stages)

    def build(self, space: BackboneSpace, input_channels: int) -> Backbone:
        return AdoptedBackbone(space, self)
