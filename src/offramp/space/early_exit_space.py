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

    Genes, in order: resolution; those of each stage (StageGenes); those of the exits (ExitGenes); those of the policy
    (PolicyGenes); where precision is chosen, that of the stem and that of the final classifier. Each gene but the
    taps' is an index into the tuple of its choices. Genes that mean nothing are ignored by `decode` and are 0 in what
    `encode` gives (the canonical genes): those of inactive blocks, taps of inactive blocks, the tap of the last active
    block (the final classifier sits there), exits beyond the first ``max_exits``, and the policy of a network without
    exits. ``precision`` and ``branch_precision`` hold where they are not chosen. ``analog_shares`` are chosen layer by
    layer and exit by exit, but for branches of the types ``digital_branches``, which have nothing for an analog core.
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
    def _ends(self) -> SlotGene[Precision]:
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
            *self._ends.cardinalities(2),
        )

    @cached_property
    def size(self) -> int:
        """Number of distinct architectures, exactly."""
        by_depth = {0: len(self.backbone.resolutions) * self._ends.num_choices(2)}
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
        """Tap slots that may carry an early exit: the ends of all active blocks but the last."""
        return self._legal_taps(architecture.stages)

    def _legal_taps(self, stages: Sequence[StageChoice]) -> tuple[int, ...]:
        starts = itertools.accumulate((stage.slots for stage in self._stages), initial=0)
        taps = [start + block for start, stage in zip(starts, stages, strict=False) for block in range(stage.depth)]
        return tuple(taps[:-1])

    def decode(self, genes: Genes) -> Architecture:
        """The architecture that genes mean. Raises InputError for a wrong number of genes or a gene out of range."""
        reader = GeneReader(genes, self.cardinalities)
        resolution = reader.choose(self.backbone.resolutions)
        stages = tuple(stage.decode(reader) for stage in self._stages)
        exits = self._exits.decode(reader, self._legal_taps(stages))
        policy = self._policy.decode(reader, len(exits))
        return self._architecture(resolution, stages, exits, policy, self._ends.decode(reader, 2, 2))

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
        """The canonical genes of an architecture. Raises InputError that names what lies outside the space."""
        self._check_fixed_parts(architecture)
        stages = zip(self._stages, architecture.stages, strict=True)
        exits = architecture.exits
        ends = (architecture.precision, architecture.branch_precision) if self.precisions.choices else ()
        return (
            index_of(self.backbone.resolutions, architecture.resolution, "resolution"),
            *itertools.chain.from_iterable(group.encode(choice) for group, choice in stages),
            *self._exits.encode(exits, self.active_taps(architecture)),
            *self._policy.encode(architecture.policy, len(exits)),
            *self._ends.encode(ends, 2, 2, "stem and final classifier"),
        )

    def _check_fixed_parts(self, architecture: Architecture) -> None:
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
        """A random architecture: backbone choices uniform, the number of exits uniform from 1 to the most possible.

        One in twenty has no early exit, so that every member of the space can come up.
        """
        stages = tuple(stage.sample(rng) for stage in self._stages)
        resolution = pick(self.backbone.resolutions, rng)
        exits = self._exits.sample(rng, self._legal_taps(stages))
        policy = self._policy.sample(rng, len(exits))
        return self._architecture(resolution, stages, exits, policy, self._ends.sample(rng, 2))

    def max_architecture(self) -> Architecture:
        """The largest member at the most bits and the least analog shares, without early exits."""
        return self._extreme(max, self.precisions.finest, self._least_share)

    def reference_architecture(self) -> Architecture:
        """The largest member without exits that others are held against: at the usual bits, not at the most offered.

        Offering more bits would otherwise make every reduction larger.
        """
        return self._extreme(max, self.precisions.usual, self._least_share)

    def min_architecture(self) -> Architecture:
        """The smallest member at the fewest bits and the largest analog shares, without early exits."""
        return self._extreme(min, self.precisions.coarsest, max(self.analog_shares, default=0.0))

    @property
    def _least_share(self) -> float:
        return min(self.analog_shares, default=0.0)

    def _extreme(
        self, choose: Callable[[tuple[int, ...]], int], precision: Precision | None, share: float
    ) -> Architecture:
        stages = tuple(stage.extreme(choose, precision, share) for stage in self._stages)
        ends = () if precision is None else self._ends.same(precision, 2)
        return self._architecture(choose(self.backbone.resolutions), stages, (), PolicyChoice(), ends)

    def with_all_exits(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """The same backbone with a random branch at every legal tap, ``max_exits`` notwithstanding."""
        return replace(architecture, exits=self._exits.at(self.active_taps(architecture), rng))

    def with_full_widths(self, architecture: Architecture) -> Architecture:
        """The same architecture with every stage as wide as can be."""
        stages = zip(architecture.stages, self.backbone.stages, strict=True)
        return replace(architecture, stages=tuple(replace(choice, width=max(x.widths)) for choice, x in stages))

    @property
    def has_elastic_widths(self) -> bool:
        return any(len(stage.widths) > 1 for stage in self.backbone.stages)

    def exit_options(self, architecture: Architecture) -> tuple[ExitChoice, ...]:
        """The exits that this backbone may have, in the order of the taps: all of them, but for branches with layers to
        choose, of which there are too many and a few stand for the others.

        Where precision is chosen, theirs is that of the final classifier.
        """
        precision = architecture.branch_precision if self.precisions.choices else None
        return self._exits.options(self.active_taps(architecture), precision)

    def with_spread_exits(
        self, architecture: Architecture, count: int, branch: str, policy: PolicyChoice, share: float | None = None
    ) -> Architecture:
        """The same backbone with at most ``count`` exits of one branch type, evenly spread over the legal taps.

        Where precision is chosen, theirs is that of the final classifier; their analog share is the least unless given.
        """
        precision = architecture.branch_precision if self.precisions.choices else None
        exits = self._exits.spread(count, branch, self.active_taps(architecture), precision, share)
        return replace(architecture, exits=exits, policy=policy if exits else PolicyChoice())

    def starting_points(self) -> tuple[Architecture, ...]:
        """Sensible first candidates: backbones of three sizes, without exits and with spread ones.

        The branch type that is listed first gets the most exits.
        Where analog shares are chosen: of two sizes, both with the least and with the largest share.
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
