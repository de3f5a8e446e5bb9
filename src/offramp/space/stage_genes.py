"""Genes of one backbone stage: depth, width, and what is chosen block by block."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from offramp.space.architecture import Precision, StageChoice
from offramp.space.genes import GeneReader, SlotGene, index_of, pick
from offramp.space.precision_choices import FIXED, PrecisionChoices
from offramp.space.search_space import StageSpace


@dataclass(frozen=True)
class StageGenes:
    """In order: depth, width, one kernel size per block slot, one expansion per block slot, precisions,
    analog shares.

    Precisions are one gene for the stage or one per layer of each block slot; analog shares one per layer.
    """

    space: StageSpace
    where: str
    precisions: PrecisionChoices = FIXED
    analog_shares: tuple[float, ...] = ()

    @property
    def slots(self) -> int:
        return max(self.space.depths)

    @cached_property
    def _kernels(self) -> SlotGene[int]:
        return SlotGene("kernel size", self.space.kernel_sizes)

    @cached_property
    def _expansions(self) -> SlotGene[int]:
        return SlotGene("expansion", self.space.expansions)

    @cached_property
    def _precisions(self) -> SlotGene[Precision]:
        granularity = self.precisions.granularity
        choices = self.precisions.choices if granularity in ("stage", "layer") else ()
        per_block = self.space.layers_per_block if granularity == "layer" else 1
        return SlotGene("precision", choices, per_slot=per_block, shared=granularity == "stage")

    @cached_property
    def _shares(self) -> SlotGene[float]:
        return SlotGene("analog share", self.analog_shares, per_slot=self.space.layers_per_block)

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        counts = [len(self.space.depths), len(self.space.widths)]
        for gene in (self._kernels, self._expansions, self._precisions, self._shares):
            counts += gene.cardinalities(self.slots)
        return tuple(counts)

    def decode(self, reader: GeneReader) -> StageChoice:
        depth, width = reader.choose(self.space.depths), reader.choose(self.space.widths)
        return StageChoice(
            depth,
            width,
            self._kernels.decode(reader, self.slots, depth),
            self._expansions.decode(reader, self.slots, depth),
            self._precisions.decode(reader, self.slots, depth),
            self._shares.decode(reader, self.slots, depth),
        )

    def encode(self, choice: StageChoice) -> list[int]:
        depth, slots, where = choice.depth, self.slots, self.where
        return [
            index_of(self.space.depths, depth, f"depth of {where}"),
            index_of(self.space.widths, choice.width, f"width of {where}"),
            *self._kernels.encode(choice.kernel_sizes, slots, depth, where),
            *self._expansions.encode(choice.expansions, slots, depth, where),
            *self._precisions.encode(choice.precisions, slots, depth, where),
            *self._shares.encode(choice.analog_shares, slots, depth, where),
        ]

    def sample(self, rng: np.random.Generator) -> StageChoice:
        depth, width = pick(self.space.depths, rng), pick(self.space.widths, rng)
        return StageChoice(
            depth,
            width,
            self._kernels.sample(rng, depth),
            self._expansions.sample(rng, depth),
            self._precisions.sample(rng, depth),
            self._shares.sample(rng, depth),
        )

    def extreme(
        self, choose: Callable[[tuple[int, ...]], int], precision: Precision | None, share: float
    ) -> StageChoice:
        """The largest or smallest member (``choose`` = max or min) at one precision and one analog share."""
        stage = self.space
        depth = choose(stage.depths)
        return StageChoice(
            depth,
            choose(stage.widths),
            self._kernels.same(choose(stage.kernel_sizes), depth),
            self._expansions.same(choose(stage.expansions), depth),
            () if precision is None else self._precisions.same(precision, depth),
            self._shares.same(share, depth),
        )

    def num_choices(self, depth: int) -> int:
        """Number of distinct members of a depth, exactly."""
        ways = len(self.space.widths)
        for gene in (self._kernels, self._expansions, self._precisions, self._shares):
            ways *= gene.num_choices(depth)
        return ways
