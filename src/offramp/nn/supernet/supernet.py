"""Supernet: one set of weights for every backbone of a space, every tap and every branch type."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from offramp.errors import ConfigError
from offramp.nn.backbone import BACKBONES, ActiveBlock, BackboneFamily
from offramp.nn.batch_norm import recalibrate_batch_norm_
from offramp.nn.branches.exit_branch import EXIT_BRANCHES, ElasticBranch, LayeredBranch
from offramp.nn.elastic.analog_channels import AnalogChannelRule
from offramp.nn.elastic.single_axes import fit_to_axes_
from offramp.nn.exit_link import ExitLink, ExitReuse, build_link
from offramp.nn.network import EarlyExitNetwork, FeatureInfo, Resize, input_size
from offramp.nn.quantization.precision_marks import mark_precision_, marked_precision
from offramp.nn.supernet.active_analog_shares import SupernetAnalogChannels
from offramp.nn.supernet.active_bit_widths import SupernetQuantizers
from offramp.nn.supernet.membership import check_architecture
from offramp.nn.tap_gradient import TapGradient, split_gradient
from offramp.space.architecture import Architecture, ExitChoice, Precision
from offramp.space.search_space import BackboneSpace

DEFAULT_FINAL_BRANCH = "global_pool"


@dataclass(frozen=True)
class _ActiveSubnet:
    architecture: Architecture
    resize: Resize
    blocks: tuple[ActiveBlock, ...]
    branches: dict[int, ElasticBranch]  # by tap, in order; the last one is the final classifier


class Supernet(nn.Module):
    """A network with shared weights for all architectures of a space.

    ``activate`` chooses the architecture that ``forward`` runs. ``extract`` copies one to a plain network. Each tap but
    the last has a branch of each type. A final classifier exists for each of these types, for ``global_pool`` and for
    each head that the backbone defines; all depths of the last stage share it.

    Attributes:
        space: the space of the backbone.
        branch_names: names of the types of early-exit branches.
        input_shape: shape of the images (channels, height, width).
        num_classes: number of classes.
        backbone: the backbone.
        taps: branches of early exits by tap and name.
        final: final classifiers by name.
        quantizers: quantisers between the parts; None = floating point.
        analog: analog channels of the layers; None = all channels are digital.
        tap_gradient: how gradients of the exits pass into the backbone in training.
        links: links of the exits at each tap, and of the final classifier; empty = exits reuse nothing.
    """

    def __init__(
        self,
        space: BackboneSpace,
        branches: tuple[str, ...],
        input_shape: tuple[int, int, int],
        num_classes: int,
        seed: int,
        family: BackboneFamily | None = None,
        precisions: Sequence[Precision] = (),
        analog: AnalogChannelRule | None = None,
        exit_reuse: ExitReuse = "none",
    ) -> None:
        """Build the backbone and the branches.

        Args:
            space: the space of the backbone.
            branches: names of the types of early-exit branches.
            input_shape: shape of the images (channels, height, width).
            num_classes: number of classes, >= 2.
            seed: seed of the initial weights; the random state of torch is not changed.
            family: builds the backbone; None = the registered family that has the name of the space.
            precisions: bit widths that architectures may have; empty = the supernet computes in floating point.
            analog: says which channels an analog core computes; None = all channels are digital.
            exit_reuse: what an exit does with the logits of the exit before it. The branch types of a tap share a link.

        Raises:
            ConfigError: if ``input_shape`` or ``num_classes`` is out of range.
        """
        super().__init__()
        _check_sizes(input_shape, num_classes)
        self.space = space
        self.branch_names = branches
        self.input_shape = input_shape
        self.num_classes = num_classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.backbone = (family or BACKBONES.get(space.name)).build(space, input_shape[0])
            self._fit_to_axes_(self.backbone, *input_shape[1:])
            features = self.backbone.features(input_shape, max(space.resolutions))
            banks = [self._build_branches(branches, tap, info) for tap, info in enumerate(features[:-1])]
            self.taps = nn.ModuleList(banks)
            final_names = tuple(dict.fromkeys((*branches, DEFAULT_FINAL_BRANCH)))
            self.final = self._build_branches(final_names, len(features) - 1, features[-1])
            self.final.update(self.backbone.own_heads(num_classes))
        num_links = 0 if exit_reuse == "none" else len(features)
        self.links = nn.ModuleList(build_link(exit_reuse, num_classes) for _ in range(num_links))
        self._predecessors: tuple[int, ...] | None = None
        self.quantizers = SupernetQuantizers(self, precisions, len(features)) if precisions else None
        self.analog = None if analog is None else SupernetAnalogChannels(self.backbone, self.taps, analog)
        self.tap_gradient: TapGradient = "full"
        self._active: _ActiveSubnet | None = None

    def _build_branches(self, names: Sequence[str], tap: int, features: FeatureInfo) -> nn.ModuleDict:
        channels, height, width = features.channels, features.height, features.width
        built = {name: EXIT_BRANCHES.get(name).build(channels, height, width, self.num_classes) for name in names}
        bank = nn.ModuleDict({name: self.backbone.adapt_branch(tap, branch) for name, branch in built.items()})
        self._fit_to_axes_(bank, height, width)
        return bank

    def _fit_to_axes_(self, part: nn.Module, height: int, width: int) -> None:
        """Narrow windows where maps have one row or one column, as those of series and vectors do.

        The last maps of small images may be single pixels; their branches keep square windows.
        """
        if height * width > 1 or self.input_shape[1:] == (1, 1):
            fit_to_axes_(part, one_row=height == 1, one_column=width == 1)

    @property
    def active_architecture(self) -> Architecture | None:
        """The architecture that ``forward`` runs; None before the first ``activate``."""
        return None if self._active is None else self._active.architecture

    def activate(self, architecture: Architecture) -> None:
        """Choose the architecture that ``forward`` runs.

        Args:
            architecture: a member of the space.

        Raises:
            ConfigError: if the architecture is not in the space, or chooses layers of a branch that has no choice.
            UnknownNameError: if a branch type is not one of the supernet's.
        """
        if self._active is not None and self._active.architecture == architecture:
            return
        check_architecture(architecture, self.space, tuple(self.final), self.branch_names)
        self._active = None  # stays so if something below fails
        self._predecessors = None
        self.backbone.activate(architecture.stages)
        blocks = self.backbone.active_blocks
        features = self.backbone.features(self.input_shape, architecture.resolution)
        chosen: dict[int, ElasticBranch] = {}
        for choice in architecture.exits:
            chosen[choice.tap] = self._chosen_branch(choice)
        head = architecture.head
        if head is None:
            chosen[blocks[-1].tap] = cast(ElasticBranch, self.final[architecture.final_branch])
        else:
            chosen[head.tap] = self._chosen_branch(head)
        channels = {active.tap: active.channels for active in blocks}
        for tap, branch in chosen.items():
            branch.activate(channels[tap], features[tap].height, features[tap].width)
        resize = Resize(*input_size(self.input_shape, architecture.resolution))
        if self.quantizers is not None:
            self.quantizers.choose(self.backbone, architecture, blocks, chosen)
        if self.analog is not None:
            self.analog.choose(architecture, blocks, chosen)
        self._active = _ActiveSubnet(architecture, resize, blocks, chosen)

    def _chosen_branch(self, choice: ExitChoice) -> ElasticBranch:
        branch = cast(ElasticBranch, cast(nn.ModuleDict, self.taps[choice.tap])[choice.branch])
        if isinstance(branch, LayeredBranch):
            branch.choose(choice.layers)
        elif choice.layers:
            raise ConfigError(f"a branch of type {choice.branch!r} must have no choice of layers, got {choice.layers}.")
        return branch

    def draw_predecessors(self, rng: np.random.Generator) -> None:
        """Choose at random, for the training forwards to come, the exit whose logits each active exit reads.

        The candidates of a search have few of the exits that are trained together, so an exit must be able to follow
        any other one, or none. In evaluation, an exit reads the exit before it.

        Args:
            rng: source of randomness; it is not used where exits reuse nothing.
        """
        count = len(self._subnet().branches)
        self._predecessors = tuple(int(rng.integers(-1, place)) for place in range(count)) if self.links else None

    def _link(self, step: ActiveBlock) -> ExitLink | None:
        """The link of the exit at a block; all branch types of a tap share it, as do all final classifiers.

        A frozen classifier has none: it answers as it always did.
        """
        active = self._subnet()
        is_final = step is active.blocks[-1] and active.architecture.head is None
        if is_final and not any(item.requires_grad for item in active.branches[step.tap].parameters()):
            return None
        return cast(ExitLink, self.links[-1 if is_final else step.tap]) if self.links else None

    def _linked(self, step: ActiveBlock, logits: Tensor, before: Sequence[Tensor]) -> Tensor:
        """Logits of an exit, given those of its own branch and those of the exits before it."""
        drawn = self._predecessors if self.training else None
        place = len(before) - 1 if drawn is None else drawn[len(before)]
        link = self._link(step)
        return logits if link is None or place < 0 else cast(Tensor, link(before[place].detach(), logits))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the active architecture.

        Args:
            images: (batch, channels, height, width).

        Returns:
            Logits (batch, classes) of each exit, the final one last.
        """
        active = self._subnet()
        features = self.backbone.stem(active.resize(images))
        logits: list[Tensor] = []
        for step in active.blocks:
            features = step.block(features)
            if self.quantizers is not None:
                features = self.quantizers.block_output(step, features)
            branch = active.branches.get(step.tap)
            if branch is not None:
                num_behind = len(active.branches) - 1 - len(logits)
                entering, features = split_gradient(features, self.tap_gradient, num_behind)
                if self.quantizers is not None:
                    entering = self.quantizers.branch_input(step.tap, entering)
                logits.append(self._linked(step, branch(entering), logits))
        return tuple(logits)

    def extract(self, architecture: Architecture) -> EarlyExitNetwork:
        """Copy an architecture to a plain network; the active architecture does not change.

        Args:
            architecture: a member of the space.

        Returns:
            A network with its own copy of the weights, in the same training mode.
        """
        before = self.active_architecture
        self.activate(architecture)
        active = self._subnet()
        stages: list[nn.Module] = []
        branches: list[nn.Module] = []
        links: dict[int, nn.Module] = {}
        stage = nn.Sequential()
        if input_size(self.input_shape, architecture.resolution) != self.input_shape[1:]:
            stage.add_module("resize", Resize(active.resize.height, active.resize.width))
        copies = self.backbone.extract()
        stage.add_module("stem", copies.stem)
        for step, block, precision in zip(active.blocks, copies.blocks, _own_precisions(architecture), strict=True):
            mark_precision_(block, marked_precision(block) or precision)
            stage.add_module(f"block{step.tap}", block)
            branch = active.branches.get(step.tap)
            if branch is not None:
                link = self._link(step)
                if link is not None and stages:
                    links[len(stages)] = copy.deepcopy(link)
                stages.append(stage)
                branches.append(branch.extract())
                stage = nn.Sequential()
        if before is not None:
            self.activate(before)
        network = EarlyExitNetwork(architecture, stages, branches, self.input_shape, self.num_classes, links)
        return network.train(self.training)

    def recalibrate_batch_norm_(self, batches: Iterable[Tensor]) -> None:
        """Measure the batch-norm statistics of the active architecture.

        Args:
            batches: batches of images (batch, channels, height, width), each of at least 2 images.
        """
        self._subnet()
        recalibrate_batch_norm_(self, batches)

    def _subnet(self) -> _ActiveSubnet:
        if self._active is None:
            raise RuntimeError("call `activate` with an architecture before running the supernet.")
        return self._active


def _own_precisions(architecture: Architecture) -> Iterator[Precision | None]:
    """The precision of each block, in order; None if that of the architecture holds."""
    for stage in architecture.stages:
        for block in range(stage.depth):
            yield stage.block_precisions(block, architecture.precision)[-1] if stage.precisions else None


def _check_sizes(input_shape: tuple[int, int, int], num_classes: int) -> None:
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ConfigError(f"`input_shape` must be (channels, height, width), each >= 1, got {input_shape}.")
    if num_classes < 2:
        raise ConfigError(f"`num_classes` must be >= 2, got {num_classes}.")
