"""EarlyExitSpace: backbone choices, exit positions, branch types and thresholds in one vector of genes."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

from offramp.errors import ConfigError, InputError
from offramp.exiting.measures import MEASURES, Measure
from offramp.space.architecture import Architecture, ExitChoice, PolicyChoice, Precision, StageChoice
from offramp.space.space import BackboneSpace, Genes, StageSpace

T = TypeVar("T")

NO_EXIT = 0
_PRECISION = Precision()
_SHARE_WITHOUT_EXITS = 0.05


@dataclass(frozen=True)
class EarlyExitSpace:
    """All early-exit networks of a backbone family.

    Genes, in order: resolution; per stage depth, width, one kernel size per block slot, one expansion per block slot;
    per tap slot 0 (no exit) or 1 + the index of the branch type; measure; accuracy drop. Each gene but the taps' is an
    index into the tuple of its choices. Genes that mean nothing are ignored by `decode` and are 0 in what `encode`
    gives (the canonical genes): those of inactive blocks, taps of inactive blocks, the tap of the last active block
    (the final classifier sits there), exits beyond the first ``max_exits``, and the policy of a network without exits.
    """

    backbone: BackboneSpace
    branches: tuple[str, ...]
    measures: tuple[Measure, ...] = ("max_probability",)
    accuracy_drops: tuple[float, ...] = (0.0,)
    max_exits: int = 4
    final_branch: str = "global_pool"
    precision: Precision = _PRECISION
    branch_precision: Precision = _PRECISION

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
        if self.max_exits < 0:
            raise ConfigError(f"`max_exits` must be >= 0, got {self.max_exits}.")
        resolutions = self.backbone.resolutions
        if not self.backbone.stages or not resolutions or len(set(resolutions)) != len(resolutions):
            raise ConfigError(
                f"backbone {self.backbone.name!r} must have at least one stage and distinct resolutions, "
                f"got {len(self.backbone.stages)} stages and resolutions {resolutions}."
            )

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of choices of each gene."""
        counts = [len(self.backbone.resolutions)]
        for stage in self.backbone.stages:
            slots = max(stage.depths)
            counts += [len(stage.depths), len(stage.widths)]
            counts += [len(stage.kernel_sizes)] * slots + [len(stage.expansions)] * slots
        counts += [1 + len(self.branches)] * self.backbone.num_taps
        return (*counts, len(self.measures), len(self.accuracy_drops))

    @cached_property
    def size(self) -> int:
        """Number of distinct architectures, exactly."""
        by_depth = {0: len(self.backbone.resolutions)}
        for stage in self.backbone.stages:
            per_block = len(stage.kernel_sizes) * len(stage.expansions)
            longer: dict[int, int] = {}
            for before, depth in itertools.product(by_depth, stage.depths):
                ways = by_depth[before] * len(stage.widths) * int(per_block**depth)
                longer[before + depth] = longer.get(before + depth, 0) + ways
            by_depth = longer
        return sum(ways * self._num_exit_choices(depth - 1) for depth, ways in by_depth.items())

    def _num_exit_choices(self, num_taps: int) -> int:
        with_exits = sum(
            math.comb(num_taps, count) * len(self.branches) ** count
            for count in range(1, min(self.max_exits, num_taps) + 1)
        )
        return 1 + len(self.measures) * len(self.accuracy_drops) * int(with_exits)

    def active_taps(self, architecture: Architecture) -> tuple[int, ...]:
        """Tap slots that may carry an early exit: the ends of all active blocks but the last."""
        return self._taps_of([stage.depth for stage in architecture.stages])[:-1]

    def _taps_of(self, depths: Sequence[int]) -> tuple[int, ...]:
        starts = itertools.accumulate((max(stage.depths) for stage in self.backbone.stages), initial=0)
        return tuple(start + block for start, depth in zip(starts, depths, strict=False) for block in range(depth))

    def decode(self, genes: Genes) -> Architecture:
        """The architecture that genes mean. Raises InputError for a wrong number of genes or a gene out of range."""
        self._check_genes(genes)
        reader = iter(int(gene) for gene in genes)
        resolution = self.backbone.resolutions[next(reader)]
        stages = []
        for stage in self.backbone.stages:
            slots = max(stage.depths)
            depth, width = stage.depths[next(reader)], stage.widths[next(reader)]
            kernels = [stage.kernel_sizes[next(reader)] for _ in range(slots)]
            expansions = [stage.expansions[next(reader)] for _ in range(slots)]
            stages.append(StageChoice(depth, width, tuple(kernels[:depth]), tuple(expansions[:depth])))
        kinds = [next(reader) for _ in range(self.backbone.num_taps)]
        legal = self._taps_of([stage.depth for stage in stages])[:-1]
        exits = [ExitChoice(tap, self.branches[kinds[tap] - 1]) for tap in legal if kinds[tap] != NO_EXIT]
        measure, drop = self.measures[next(reader)], self.accuracy_drops[next(reader)]
        exits = exits[: self.max_exits]
        return self._architecture(resolution, tuple(stages), exits, PolicyChoice(measure, drop))

    def _architecture(
        self, resolution: int, stages: tuple[StageChoice, ...], exits: Sequence[ExitChoice], policy: PolicyChoice
    ) -> Architecture:
        return Architecture(
            backbone=self.backbone.name,
            resolution=resolution,
            stages=stages,
            exits=tuple(exits),
            final_branch=self.final_branch,
            policy=policy if exits else PolicyChoice(),
            precision=self.precision,
            branch_precision=self.branch_precision,
        )

    def _check_genes(self, genes: Genes) -> None:
        if len(genes) != len(self.cardinalities):
            raise InputError(f"genes of this space must be {len(self.cardinalities)} numbers, got {len(genes)}.")
        for index, (gene, count) in enumerate(zip(genes, self.cardinalities, strict=True)):
            if not (0 <= gene < count and gene == int(gene)):
                raise InputError(f"gene {index} must be an integer from 0 to {count - 1}, got {gene}.")

    def encode(self, architecture: Architecture) -> Genes:
        """The canonical genes of an architecture. Raises InputError that names what lies outside the space."""
        self._check_fixed_parts(architecture)
        genes = [_index(self.backbone.resolutions, architecture.resolution, "resolution")]
        for number, (stage, choice) in enumerate(zip(self.backbone.stages, architecture.stages, strict=True)):
            genes += _stage_genes(stage, choice, f"stage {number}")
        taps = [NO_EXIT] * self.backbone.num_taps
        legal = self.active_taps(architecture)
        for item in architecture.exits:
            if item.tap not in legal:
                raise InputError(f"an exit of this architecture must sit at one of the taps {legal}, got {item.tap}.")
            taps[item.tap] = 1 + _index(self.branches, item.branch, "branch type")
        policy = [0, 0]
        if architecture.exits:
            policy = [
                _index(self.measures, architecture.policy.measure, "measure"),
                _index(self.accuracy_drops, architecture.policy.accuracy_drop, "accuracy drop"),
            ]
        return (*genes, *taps, *policy)

    def _check_fixed_parts(self, architecture: Architecture) -> None:
        expected = {
            "backbone": self.backbone.name,
            "final_branch": self.final_branch,
            "precision": self.precision,
            "branch_precision": self.branch_precision,
        }
        for name, value in expected.items():
            if getattr(architecture, name) != value:
                raise InputError(f"`{name}` must be {value!r} in this space, got {getattr(architecture, name)!r}.")
        if len(architecture.stages) != len(self.backbone.stages):
            raise InputError(
                f"an architecture of this space must have {len(self.backbone.stages)} stages, "
                f"got {len(architecture.stages)}."
            )
        if len(architecture.exits) > self.max_exits:
            raise InputError(
                f"an architecture of this space must have at most {self.max_exits} early exits, "
                f"got {len(architecture.exits)}."
            )
        if not architecture.exits and architecture.policy != PolicyChoice():
            raise InputError(
                f"an architecture without exits must have the default policy, got {architecture.policy}; "
                f"use Architecture.without_exits()."
            )

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A random architecture: backbone choices uniform, the number of exits uniform from 1 to the most possible.

        One in twenty has no early exit, so that every member of the space can come up.
        """
        backbone = self._random_backbone(rng)
        legal = self.active_taps(backbone)
        most = min(self.max_exits, len(legal))
        count = int(rng.integers(1, most + 1)) if most and rng.random() >= _SHARE_WITHOUT_EXITS else 0
        taps = sorted(int(tap) for tap in rng.choice(np.asarray(legal, dtype=np.int64), count, replace=False))
        exits = [ExitChoice(tap, _pick(self.branches, rng)) for tap in taps]
        policy = PolicyChoice(_pick(self.measures, rng), _pick(self.accuracy_drops, rng))
        return self._architecture(backbone.resolution, backbone.stages, exits, policy)

    def _random_backbone(self, rng: np.random.Generator) -> Architecture:
        stages = []
        for stage in self.backbone.stages:
            depth, width = _pick(stage.depths, rng), _pick(stage.widths, rng)
            kernels = tuple(_pick(stage.kernel_sizes, rng) for _ in range(depth))
            expansions = tuple(_pick(stage.expansions, rng) for _ in range(depth))
            stages.append(StageChoice(depth, width, kernels, expansions))
        return self._architecture(_pick(self.backbone.resolutions, rng), tuple(stages), (), PolicyChoice())

    def max_architecture(self) -> Architecture:
        """The largest member, without early exits."""
        stages = tuple(
            _uniform_stage(max(x.depths), max(x.widths), max(x.kernel_sizes), max(x.expansions))
            for x in self.backbone.stages
        )
        return self._architecture(max(self.backbone.resolutions), stages, (), PolicyChoice())

    def min_architecture(self) -> Architecture:
        """The smallest member, without early exits."""
        stages = tuple(
            _uniform_stage(min(x.depths), min(x.widths), min(x.kernel_sizes), min(x.expansions))
            for x in self.backbone.stages
        )
        return self._architecture(min(self.backbone.resolutions), stages, (), PolicyChoice())

    def with_all_exits(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """The same backbone with an exit of a random branch type at every legal tap, ``max_exits`` notwithstanding."""
        exits = tuple(ExitChoice(tap, _pick(self.branches, rng)) for tap in self.active_taps(architecture))
        return replace(architecture, exits=exits)

    def with_spread_exits(
        self, architecture: Architecture, count: int, branch: str, policy: PolicyChoice
    ) -> Architecture:
        """The same backbone with at most ``count`` exits of one branch type, evenly spread over the legal taps."""
        legal = self.active_taps(architecture)
        count = min(count, self.max_exits, len(legal))
        places = sorted({round((index + 1) * (len(legal) + 1) / (count + 1)) - 1 for index in range(count)})
        exits = [ExitChoice(legal[min(place, len(legal) - 1)], branch) for place in places]
        return self._architecture(architecture.resolution, architecture.stages, exits, policy)

    def starting_points(self) -> tuple[Architecture, ...]:
        """Sensible first candidates: the largest and the smallest backbone, without exits and with spread ones."""
        points = []
        middle = len(self.accuracy_drops) // 2
        for backbone in (self.max_architecture(), self.min_architecture()):
            points.append(backbone)
            counts = sorted({1, (self.max_exits + 1) // 2, self.max_exits} - {0})
            for number, count in enumerate(counts):
                branch = self.branches[number % len(self.branches)]
                policy = PolicyChoice(self.measures[0], self.accuracy_drops[middle])
                points.append(self.with_spread_exits(backbone, count, branch, policy))
        return tuple(dict.fromkeys(points))


def _uniform_stage(depth: int, width: int, kernel: int, expansion: int) -> StageChoice:
    return StageChoice(depth, width, (kernel,) * depth, (expansion,) * depth)


def _stage_genes(stage: StageSpace, choice: StageChoice, where: str) -> list[int]:
    idle = [0] * (max(stage.depths) - choice.depth)
    return [
        _index(stage.depths, choice.depth, f"depth of {where}"),
        _index(stage.widths, choice.width, f"width of {where}"),
        *(_index(stage.kernel_sizes, size, f"kernel size in {where}") for size in choice.kernel_sizes),
        *idle,
        *(_index(stage.expansions, factor, f"expansion in {where}") for factor in choice.expansions),
        *idle,
    ]


def _index(choices: tuple[T, ...], value: T, what: str) -> int:
    if value not in choices:
        raise InputError(f"{what} must be among {choices} in this space, got {value!r}.")
    return choices.index(value)


def _pick(choices: tuple[T, ...], rng: np.random.Generator) -> T:
    return choices[int(rng.integers(len(choices)))]
