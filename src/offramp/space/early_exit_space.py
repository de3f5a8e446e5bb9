"""EarlyExitSpace: backbone choices, exits, precisions and thresholds in one vector of genes."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from offramp.errors import ConfigError, InputError
from offramp.exits.confidence_measures import MEASURES, Measure
from offramp.space.architecture import Architecture, ExitChoice, PolicyChoice, Precision, StageChoice
from offramp.space.branch_layer_choices import NO_LAYERS, BranchLayerChoices
from offramp.space.exit_genes import ExitGenes
from offramp.space.genes import GeneReader, SlotGene, index_of, pick
from offramp.space.policy_genes import PolicyGenes
from offramp.space.precision_choices import FIXED, PrecisionChoices
from offramp.space.search_space import BackboneSpace, Genes
from offramp.space.stage_genes import StageGenes

_PRECISION = Precision()


@dataclass(frozen=True)
class EarlyExitSpace:
    """All early-exit networks of a backbone family.

    Genes, in order: the resolution; those of each stage (`StageGenes`); those of the exits (`ExitGenes`); those of the
    policy (`PolicyGenes`); where precision is chosen, that of the stem and that of the final classifier. Every gene is
    an
    index into the tuple of its choices, except those of the taps. `decode` ignores genes without meaning, and `encode`
    writes 0 for them (canonical genes): those of inactive blocks, of taps at inactive blocks, of the tap at the last
    active
    block (the place of the final classifier), of exits beyond the first `max_exits`, and of the policy of a network
    without
    exits.

    Attributes:
        backbone: Choices of the backbone family.
        branches: Branch types to choose among.
        measures: Confidence measures to choose among.
        accuracy_drops: Accuracy drops to choose among, 0 to 1.
        max_exits: Largest number of early exits, at least 0.
        final_branch: Branch type of the final classifier.
        precision: Precision of the backbone where it is not chosen.
        branch_precision: Precision of the branches where it is not chosen.
        precisions: Precisions to choose among and their granularity.
        analog_shares: Analog shares to choose among, 0 to 1, for each layer and each exit.
        digital_branches: Branch types without layers for an analog core; their share is 0.
        branch_layers: Layers to choose among for branches that are built layer by layer.
    """

    backbone: BackboneSpace
    branches: tuple[str, ...]
    measures: tuple[Measure, ...] = ("max_probability",)
    accuracy_drops: tuple[float, ...] = (0.0,)
    max_exits: int = 4
    final_branch: str = "global_pool"
    precision: Precision = _PRECISION
    branch_precision: Precision = _PRECISION
    precisions: PrecisionChoices = FIXED
    analog_shares: tuple[float, ...] = ()
    digital_branches: tuple[str, ...] = ()
    branch_layers: BranchLayerChoices = NO_LAYERS

    def __post_init__(self) -> None:
        for name in ("branches", "measures", "accuracy_drops"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ConfigError(f"`{name}` must hold at least one value and none twice, got {values}.")
        unknown = [measure for measure in self.measures if measure not in MEASURES]
        if unknown:
            raise ConfigError(f"`measures` must be among {', '.join(MEASURES)}, got {unknown}.")
        if not all(0.0 <= drop <= 1.0 for drop in self.accuracy_drops):
            raise ConfigError(f"`accuracy_drops` must be shares from 0 to 1, got {self.accuracy_drops}.")
        shares = self.analog_shares
        if len(set(shares)) != len(shares) or not all(0.0 <= share <= 1.0 for share in shares):
            raise ConfigError(f"`analog_shares` must be different shares from 0 to 1, got {shares}.")
        if self.max_exits < 0:
            raise ConfigError(f"`max_exits` must be >= 0, got {self.max_exits}.")
        resolutions = self.backbone.resolutions
        if not self.backbone.stages or not resolutions or len(set(resolutions)) != len(resolutions):
            raise ConfigError(
                f"backbone {self.backbone.name!r} must have at least one stage and distinct resolutions, "
                f"got {len(self.backbone.stages)} stages and resolutions {resolutions}."
            )

    @cached_property
    def _stages(self) -> tuple[StageGenes, ...]:
        return tuple(
            StageGenes(stage, f"stage {number}", self.precisions, self.analog_shares)
            for number, stage in enumerate(self.backbone.stages)
        )

    @cached_property
    def _exits(self) -> ExitGenes:
        return ExitGenes(
            self.branches,
            self.backbone.num_taps,
            self.max_exits,
            self.precisions,
            self.branch_layers,
            self.analog_shares,
            self.digital_branches,
        )

    @cached_property
    def _policy(self) -> PolicyGenes:
        return PolicyGenes(self.measures, self.accuracy_drops)

    @cached_property
    def _end_precisions(self) -> SlotGene[Precision]:
        """Precisions of the two parts that are always there: the stem and the final classifier."""
        return SlotGene("precision", self.precisions.choices)

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of choices of each gene."""
        stages = itertools.chain.from_iterable(stage.cardinalities for stage in self._stages)
        return (
            len(self.backbone.resolutions),
            *stages,
            *self._exits.cardinalities,
            *self._policy.cardinalities,
            *self._end_precisions.cardinalities(2),
        )

    @cached_property
    def size(self) -> int:
        """Number of distinct architectures, exactly."""
        by_depth = {0: len(self.backbone.resolutions) * self._end_precisions.num_choices(2)}
        for stage in self._stages:
            longer: dict[int, int] = {}
            for before, depth in itertools.product(by_depth, stage.space.depths):
                ways = by_depth[before] * stage.num_choices(depth)
                longer[before + depth] = longer.get(before + depth, 0) + ways
            by_depth = longer
        return sum(ways * self._num_exit_choices(depth - 1) for depth, ways in by_depth.items())

    def _num_exit_choices(self, num_taps: int) -> int:
        return sum(
            self._exits.num_choices(num_taps, count) * self._policy.num_choices(count)
            for count in range(min(self.max_exits, num_taps) + 1)
        )

    def active_taps(self, architecture: Architecture) -> tuple[int, ...]:
        """List the taps that may carry an early exit: the ends of all active blocks but the last.

        Args:
            architecture: An architecture of this space.

        Returns:
            Numbers of the taps, increasing.
        """
        return self._legal_taps(architecture.stages)

    def _legal_taps(self, stages: Sequence[StageChoice]) -> tuple[int, ...]:
        starts = itertools.accumulate((stage.slots for stage in self._stages), initial=0)
        taps = [start + block for start, stage in zip(starts, stages, strict=False) for block in range(stage.depth)]
        return tuple(taps[:-1])

    def decode(self, genes: Genes) -> Architecture:
        """Build the architecture that genes describe.

        Args:
            genes: One gene per entry of `cardinalities`.

        Returns:
            The architecture.

        Raises:
            InputError: The number of genes is wrong, or a gene is out of range.
        """
        reader = GeneReader(genes, self.cardinalities)
        resolution = reader.choose(self.backbone.resolutions)
        stages = tuple(stage.decode(reader) for stage in self._stages)
        exits = self._exits.decode(reader, self._legal_taps(stages))
        policy = self._policy.decode(reader, len(exits))
        return self._architecture(resolution, stages, exits, policy, self._end_precisions.decode(reader, 2, 2))

    def _architecture(
        self,
        resolution: int,
        stages: tuple[StageChoice, ...],
        exits: tuple[ExitChoice, ...],
        policy: PolicyChoice,
        ends: tuple[Precision, ...],
    ) -> Architecture:
        precision, branch_precision = ends or (self.precision, self.branch_precision)
        return Architecture(
            backbone=self.backbone.name,
            resolution=resolution,
            stages=stages,
            exits=exits,
            final_branch=self.final_branch,
            policy=policy,
            precision=precision,
            branch_precision=branch_precision,
        )

    def encode(self, architecture: Architecture) -> Genes:
        """Find the canonical genes of an architecture.

        Args:
            architecture: The architecture.

        Returns:
            One gene per entry of `cardinalities`.

        Raises:
            InputError: The architecture lies outside the space; the message names the part that does.
        """
        self._check_fixed_parts(architecture)
        stages = zip(self._stages, architecture.stages, strict=True)
        exits = architecture.exits
        ends = (architecture.precision, architecture.branch_precision) if self.precisions.choices else ()
        return (
            index_of(self.backbone.resolutions, architecture.resolution, "resolution"),
            *itertools.chain.from_iterable(group.encode(choice) for group, choice in stages),
            *self._exits.encode(exits, self.active_taps(architecture)),
            *self._policy.encode(architecture.policy, len(exits)),
            *self._end_precisions.encode(ends, 2, 2, "stem and final classifier"),
        )

    def _check_fixed_parts(self, architecture: Architecture) -> None:
        if architecture.head is not None:
            raise InputError(
                "genes describe networks with the final classifier of the family, "
                f"got one that ends at tap {architecture.head.tap}."
            )
        expected: dict[str, object] = {"backbone": self.backbone.name, "final_branch": self.final_branch}
        if not self.precisions.choices:
            expected |= {"precision": self.precision, "branch_precision": self.branch_precision}
        for name, value in expected.items():
            if getattr(architecture, name) != value:
                raise InputError(f"`{name}` must be {value!r} in this space, got {getattr(architecture, name)!r}.")
        if len(architecture.stages) != len(self.backbone.stages):
            raise InputError(
                f"an architecture of this space must have {len(self.backbone.stages)} stages, "
                f"got {len(architecture.stages)}."
            )

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw a random architecture.

        Backbone choices are uniform. The number of exits is uniform from 1 to the largest possible one, but one
        architecture
        in twenty has no early exit, so that every member of the space can be drawn.

        Args:
            rng: Source of randomness.

        Returns:
            The architecture.
        """
        stages = tuple(stage.sample(rng) for stage in self._stages)
        resolution = pick(self.backbone.resolutions, rng)
        exits = self._exits.sample(rng, self._legal_taps(stages))
        policy = self._policy.sample(rng, len(exits))
        return self._architecture(resolution, stages, exits, policy, self._end_precisions.sample(rng, 2))

    @property
    def max_depths(self) -> tuple[int, ...]:
        """Largest depth of each stage, by which taps are numbered."""
        return tuple(stage.slots for stage in self._stages)

    def max_architecture(self) -> Architecture:
        """The largest member with the most bits and the least analog shares, without early exits."""
        return self._extreme(max, self.precisions.finest, self._least_share)

    def reference_architecture(self) -> Architecture:
        """The largest member at the usual bit widths, without early exits: the reference of reductions.

        With the most bits offered instead, every further offer would make all reductions larger.
        """
        return self._extreme(max, self.precisions.usual, self._least_share)

    def min_architecture(self) -> Architecture:
        """The smallest member with the fewest bits and the largest analog shares, without early exits."""
        return self._extreme(min, self.precisions.coarsest, max(self.analog_shares, default=0.0))

    @property
    def _least_share(self) -> float:
        return min(self.analog_shares, default=0.0)

    def _extreme(
        self, choose: Callable[[tuple[int, ...]], int], precision: Precision | None, share: float
    ) -> Architecture:
        stages = tuple(stage.extreme(choose, precision, share) for stage in self._stages)
        ends = () if precision is None else self._end_precisions.repeated(precision, 2)
        return self._architecture(choose(self.backbone.resolutions), stages, (), PolicyChoice(), ends)

    def with_all_exits(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Put a random branch at every legal tap, regardless of `max_exits`.

        Args:
            architecture: The architecture whose backbone is kept.
            rng: Source of randomness.

        Returns:
            The architecture with the new exits.
        """
        return replace(architecture, exits=self._exits.at_taps(self.active_taps(architecture), rng))

    def with_full_widths(self, architecture: Architecture) -> Architecture:
        """Set every stage to its largest width.

        Args:
            architecture: An architecture of this space.

        Returns:
            The architecture with the largest widths.
        """
        stages = zip(architecture.stages, self.backbone.stages, strict=True)
        return replace(architecture, stages=tuple(replace(choice, width=max(x.widths)) for choice, x in stages))

    @property
    def has_elastic_widths(self) -> bool:
        """Whether some stage has several widths."""
        return any(len(stage.widths) > 1 for stage in self.backbone.stages)

    def exit_options(self, architecture: Architecture) -> tuple[ExitChoice, ...]:
        """List the exits that a backbone may have.

        Branches with layers to choose have too many variants; a few of them stand for all. Where precision is chosen,
        the exits
        have the precision of the final classifier.

        Args:
            architecture: The architecture that gives the backbone.

        Returns:
            The exits, in the order of their taps.
        """
        precision = architecture.branch_precision if self.precisions.choices else None
        return self._exits.options(self.active_taps(architecture), precision)

    def with_spread_exits(
        self, architecture: Architecture, count: int, branch: str, policy: PolicyChoice, share: float | None = None
    ) -> Architecture:
        """Replace the exits by ones of a single branch type, evenly spread over the legal taps.

        Where precision is chosen, the exits have the precision of the final classifier.

        Args:
            architecture: The architecture whose backbone is kept.
            count: Number of exits; fewer if `max_exits` or the taps do not allow as many.
            branch: Branch type.
            policy: Policy of the new architecture; ignored if it has no exits.
            share: Analog share of the exits, 0 to 1; None: the least.

        Returns:
            The architecture with the new exits.
        """
        precision = architecture.branch_precision if self.precisions.choices else None
        exits = self._exits.spread(count, branch, self.active_taps(architecture), precision, share)
        return replace(architecture, exits=exits, policy=policy if exits else PolicyChoice())

    def starting_points(self) -> tuple[Architecture, ...]:
        """Good first candidates: backbones of three sizes, each without exits and with evenly spread ones.

        The branch type that is listed first gets the most exits. Where analog shares are chosen, there are two sizes
        instead,
        both with the least and with the largest share.
        """
        points = []
        middle = len(self.accuracy_drops) // 2
        ends = dict.fromkeys((self._least_share, max(self.analog_shares, default=0.0)))
        sizes = (max, _middle, min) if len(ends) == 1 else (max, min)
        for share, choose in itertools.product(ends, sizes):
            backbone = self._extreme(choose, self.precisions.usual, share)
            points.append(backbone)
            counts = sorted({1, (self.max_exits + 1) // 2, self.max_exits} - {0}, reverse=True)
            for number, count in enumerate(counts):
                branch = self.branches[number % len(self.branches)]
                policy = PolicyChoice(self.measures[0], self.accuracy_drops[middle])
                points.append(self.with_spread_exits(backbone, count, branch, policy, share))
        return tuple(dict.fromkeys(points))


def _middle(options: tuple[int, ...]) -> int:
    """The lower one of two in the middle: costs grow faster than accuracy does."""
    return sorted(options)[(len(options) - 1) // 2]
