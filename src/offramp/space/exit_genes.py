"""Genes of the early exits: their positions and branches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from offramp.errors import InputError
from offramp.space.architecture import ExitChoice, Precision
from offramp.space.branch_layer_choices import NO_LAYERS, BranchLayerChoices
from offramp.space.genes import GeneReader, SlotGene, index_of, pick
from offramp.space.precision_choices import FIXED, PrecisionChoices

NO_EXIT = 0
_SHARE_WITHOUT_EXITS = 0.05
_LAYERED_OPTIONS = 3


@dataclass(frozen=True)
class ExitGenes:
    """In order: per tap slot 0 (no exit) or 1 + the index of the branch type; then per tap slot a precision; then per
    tap slot the layers of branches that have any to choose; then per tap slot an analog share.

    Taps that cannot carry an exit and exits beyond the first ``max_exits`` are ignored, and so are analog shares of
    ``digital_branches``, which are 0.
    """

    branches: tuple[str, ...]
    num_taps: int
    max_exits: int
    precisions: PrecisionChoices = FIXED
    layers: BranchLayerChoices = NO_LAYERS
    analog_shares: tuple[float, ...] = ()
    digital_branches: tuple[str, ...] = ()

    @cached_property
    def _shares(self) -> SlotGene[float]:
        return SlotGene("analog share", self.analog_shares)

    def _shares_of(self, branch: str) -> SlotGene[float]:
        return SlotGene("analog share", () if branch in self.digital_branches else self.analog_shares)

    def _least_share(self, branch: str) -> float:
        return min(self._shares_of(branch).choices, default=0.0)

    @cached_property
    def _precisions(self) -> SlotGene[Precision]:
        return SlotGene("precision", self.precisions.choices)

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        kinds = [1 + len(self.branches)] * self.num_taps
        return (
            *kinds,
            *self._precisions.cardinalities(self.num_taps),
            *self.layers.cardinalities * self.num_taps,
            *self._shares.cardinalities(self.num_taps),
        )

    def decode(self, reader: GeneReader, legal: Sequence[int]) -> tuple[ExitChoice, ...]:
        """Exits at the taps that are ``legal``."""
        kinds = [reader.next() for _ in range(self.num_taps)]
        precisions = self._precisions.decode(reader, self.num_taps, self.num_taps)
        layers = [self.layers.decode(reader) for _ in range(self.num_taps)]
        shares = self._shares.decode(reader, self.num_taps, self.num_taps) or (0.0,) * self.num_taps
        exits = []
        for tap in legal:
            if kinds[tap] != NO_EXIT:
                branch = self.branches[kinds[tap] - 1]
                own = layers[tap] if branch in self.layers.branches else ()
                share = 0.0 if branch in self.digital_branches else shares[tap]
                exits.append(ExitChoice(tap, branch, precisions[tap] if precisions else None, own, share))
        return tuple(exits[: self.max_exits])

    def encode(self, exits: Sequence[ExitChoice], legal: Sequence[int]) -> list[int]:
        if len(exits) > self.max_exits:
            raise InputError(
                f"an architecture of this space must have at most {self.max_exits} early exits, got {len(exits)}."
            )
        kinds = [NO_EXIT] * self.num_taps
        precisions = [0] * len(self._precisions.cardinalities(self.num_taps))
        layers = [[0] * self.layers.genes_per_slot for _ in range(self.num_taps)]
        shares = [0] * len(self._shares.cardinalities(self.num_taps))
        for item in exits:
            if item.tap not in legal:
                raise InputError(
                    f"an exit of this architecture must sit at one of the taps {tuple(legal)}, got {item.tap}."
                )
            kinds[item.tap] = 1 + index_of(self.branches, item.branch, "branch type")
            chosen, where = () if item.precision is None else (item.precision,), f"the exit at tap {item.tap}"
            genes = self._precisions.encode(chosen, 1, 1, where)
            precisions[item.tap : item.tap + len(genes)] = genes
            layers[item.tap] = self.layers.encode(item.layers, item.branch, where)
            choices = self._shares_of(item.branch)
            share = (item.analog_share,) if choices.choices or item.analog_share else ()
            genes = choices.encode(share, 1, 1, where)
            shares[item.tap : item.tap + len(genes)] = genes
        return kinds + precisions + [gene for row in layers for gene in row] + shares

    def sample(self, rng: np.random.Generator, legal: Sequence[int]) -> tuple[ExitChoice, ...]:
        """The number of exits is uniform from 1 to the most possible; one draw in twenty has none."""
        most = min(self.max_exits, len(legal))
        count = int(rng.integers(1, most + 1)) if most and rng.random() >= _SHARE_WITHOUT_EXITS else 0
        taps = sorted(int(tap) for tap in rng.choice(np.asarray(legal, dtype=np.int64), count, replace=False))
        return self.at(taps, rng)

    def at(self, taps: Sequence[int], rng: np.random.Generator) -> tuple[ExitChoice, ...]:
        """Exits at these taps, everything else about them drawn."""
        return tuple(self._drawn(tap, rng) for tap in taps)

    def _drawn(self, tap: int, rng: np.random.Generator) -> ExitChoice:
        branch = pick(self.branches, rng)
        precision = next(iter(self._precisions.sample(rng, 1)), None)
        layers = self.layers.sample(branch, rng)
        return ExitChoice(tap, branch, precision, layers, next(iter(self._shares_of(branch).sample(rng, 1)), 0.0))

    def options(self, legal: Sequence[int], precision: Precision | None) -> tuple[ExitChoice, ...]:
        """Every exit at these taps, in their order; of branches with layers to choose a few at random, the same each
        time. Their analog share is the least."""
        found: dict[ExitChoice, None] = {}
        for tap in legal:
            for branch in self.branches:
                rng = np.random.default_rng([tap, self.branches.index(branch)])
                for _ in range(_LAYERED_OPTIONS if branch in self.layers.branches else 1):
                    layers = self.layers.sample(branch, rng)
                    found[ExitChoice(tap, branch, precision, layers, self._least_share(branch))] = None
        return tuple(found)

    def spread(
        self, count: int, branch: str, legal: Sequence[int], precision: Precision | None, share: float | None = None
    ) -> tuple[ExitChoice, ...]:
        """At most ``count`` exits of one branch type, evenly spread over the legal taps; ``share`` None = the least."""
        share = self._least_share(branch) if share is None or branch in self.digital_branches else share
        count = min(count, self.max_exits, len(legal))
        places = sorted({round((index + 1) * (len(legal) + 1) / (count + 1)) - 1 for index in range(count)})
        taps = (legal[min(place, len(legal) - 1)] for place in places)
        return tuple(ExitChoice(tap, branch, precision, (), share) for tap in taps)

    def num_choices(self, num_legal: int, num_exits: int) -> int:
        """Number of distinct sets of ``num_exits`` exits, exactly."""
        each = sum(self.layers.num_choices(x) * self._shares_of(x).num_choices(1) for x in self.branches)
        each *= self._precisions.num_choices(1)
        return math.comb(num_legal, num_exits) * int(each**num_exits) if num_exits <= self.max_exits else 0
