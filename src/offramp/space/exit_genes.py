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
    """Genes of the early exits.

    In order: per tap slot 0 (no exit) or 1 + the index of the branch type; per tap slot a precision; per tap slot the
    layers of a branch that is built layer by layer; per tap slot an analog share. Genes of taps that cannot carry an
    exit,
    of exits beyond the first `max_exits`, and analog shares of `digital_branches` are ignored.

    Attributes:
        branches: Branch types to choose among.
        num_taps: Number of tap slots.
        max_exits: Largest number of early exits.
        precisions: Precisions to choose among.
        layers: Layers to choose among.
        analog_shares: Analog shares to choose among, 0 to 1.
        digital_branches: Branch types whose analog share is 0.
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
        """Number of choices of each gene."""
        kinds = [1 + len(self.branches)] * self.num_taps
        return (
            *kinds,
            *self._precisions.cardinalities(self.num_taps),
            *self.layers.cardinalities * self.num_taps,
            *self._shares.cardinalities(self.num_taps),
        )

    def decode(self, reader: GeneReader, legal: Sequence[int]) -> tuple[ExitChoice, ...]:
        """Read the exits.

        Args:
            reader: Genes; the next ones are those of the exits.
            legal: Taps that may carry an exit, increasing.

        Returns:
            The exits, at increasing taps.
        """
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
        """Find the canonical genes of exits.

        Args:
            exits: The exits.
            legal: Taps that may carry an exit.

        Returns:
            One gene per entry of `cardinalities`.

        Raises:
            InputError: There are too many exits, or one lies outside the space.
        """
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
        """Draw exits at random: their number is uniform from 1 to the largest possible one; one draw in twenty has
        none.

        Args:
            rng: Source of randomness.
            legal: Taps that may carry an exit.

        Returns:
            The exits, at increasing taps.
        """
        most = min(self.max_exits, len(legal))
        count = int(rng.integers(1, most + 1)) if most and rng.random() >= _SHARE_WITHOUT_EXITS else 0
        taps = sorted(int(tap) for tap in rng.choice(np.asarray(legal, dtype=np.int64), count, replace=False))
        return self.at_taps(taps, rng)

    def at_taps(self, taps: Sequence[int], rng: np.random.Generator) -> tuple[ExitChoice, ...]:
        """Draw exits at given taps.

        Args:
            taps: Taps of the exits.
            rng: Source of randomness.

        Returns:
            One exit per tap.
        """
        return tuple(self._drawn(tap, rng) for tap in taps)

    def _drawn(self, tap: int, rng: np.random.Generator) -> ExitChoice:
        branch = pick(self.branches, rng)
        precision = next(iter(self._precisions.sample(rng, 1)), None)
        layers = self.layers.sample(branch, rng)
        return ExitChoice(tap, branch, precision, layers, next(iter(self._shares_of(branch).sample(rng, 1)), 0.0))

    def options(self, legal: Sequence[int], precision: Precision | None) -> tuple[ExitChoice, ...]:
        """List the exits at given taps, with the least analog share.

        Branches with layers to choose appear with a few random rows of layers, the same in every call.

        Args:
            legal: Taps that may carry an exit.
            precision: Precision of all exits; None: that of the architecture.

        Returns:
            Different exits, in the order of the taps.
        """
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
        """Place exits of one branch type evenly over taps.

        Args:
            count: Number of exits; fewer if `max_exits` or the taps do not allow as many.
            branch: Branch type.
            legal: Taps that may carry an exit.
            precision: Precision of all exits; None: that of the architecture.
            share: Analog share of all exits, 0 to 1; None: the least.

        Returns:
            The exits, at increasing taps.
        """
        share = self._least_share(branch) if share is None or branch in self.digital_branches else share
        count = min(count, self.max_exits, len(legal))
        places = sorted({round((index + 1) * (len(legal) + 1) / (count + 1)) - 1 for index in range(count)})
        taps = (legal[min(place, len(legal) - 1)] for place in places)
        return tuple(ExitChoice(tap, branch, precision, (), share) for tap in taps)

    def num_choices(self, num_legal: int, num_exits: int) -> int:
        """Count the distinct sets of exits.

        Args:
            num_legal: Number of taps that may carry an exit.
            num_exits: Number of exits.

        Returns:
            The exact number.
        """
        each = sum(self.layers.num_choices(x) * self._shares_of(x).num_choices(1) for x in self.branches)
        each *= self._precisions.num_choices(1)
        return math.comb(num_legal, num_exits) * int(each**num_exits) if num_exits <= self.max_exits else 0
