"""Genes of one backbone stage: depth, width, and the choices for each block."""

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
    """Genes of one stage.

    In order: depth, width, one kernel size per block slot, one expansion per block slot, precisions (one gene for the
    stage or one per layer of each block slot), analog shares (one per layer of each block slot), numbers of heads (one
    per block slot, where blocks have attention).

    Attributes:
        space: Choices of the stage.
        where: Name of the stage in messages.
        precisions: Precisions to choose among and their granularity.
        analog_shares: Analog shares to choose among, 0 to 1.
    """

    space: StageSpace
    where: str
    precisions: PrecisionChoices = FIXED
    analog_shares: tuple[float, ...] = ()

    @property
    def slots(self) -> int:
        """Number of block slots."""
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
    def _heads(self) -> SlotGene[int]:
        return SlotGene("number of heads", self.space.heads)

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of choices of each gene."""
        counts = [len(self.space.depths), len(self.space.widths)]
        for gene in (self._kernels, self._expansions, self._precisions, self._shares, self._heads):
            counts += gene.cardinalities(self.slots)
        return tuple(counts)

    def decode(self, reader: GeneReader) -> StageChoice:
        """Read the stage.

        Args:
            reader: Genes; the next ones are those of the stage.

        Returns:
            The stage.
        """
        depth, width = reader.choose(self.space.depths), reader.choose(self.space.widths)
        return StageChoice(
            depth,
            width,
            self._kernels.decode(reader, self.slots, depth),
            self._expansions.decode(reader, self.slots, depth),
            self._precisions.decode(reader, self.slots, depth),
            self._shares.decode(reader, self.slots, depth),
            self._heads.decode(reader, self.slots, depth),
        )

    def encode(self, choice: StageChoice) -> list[int]:
        """Find the canonical genes of a stage.

        Args:
            choice: The stage.

        Returns:
            One gene per entry of `cardinalities`.

        Raises:
            InputError: The stage lies outside the space.
        """
        depth, slots, where = choice.depth, self.slots, self.where
        return [
            index_of(self.space.depths, depth, f"depth of {where}"),
            index_of(self.space.widths, choice.width, f"width of {where}"),
            *self._kernels.encode(choice.kernel_sizes, slots, depth, where),
            *self._expansions.encode(choice.expansions, slots, depth, where),
            *self._precisions.encode(choice.precisions, slots, depth, where),
            *self._shares.encode(choice.analog_shares, slots, depth, where),
            *self._heads.encode(choice.heads, slots, depth, where),
        ]

    def sample(self, rng: np.random.Generator) -> StageChoice:
        """Draw a stage at random.

        Args:
            rng: Source of randomness.

        Returns:
            The stage.
        """
        depth, width = pick(self.space.depths, rng), pick(self.space.widths, rng)
        return StageChoice(
            depth,
            width,
            self._kernels.sample(rng, depth),
            self._expansions.sample(rng, depth),
            self._precisions.sample(rng, depth),
            self._shares.sample(rng, depth),
            self._heads.sample(rng, depth),
        )

    def extreme(
        self, choose: Callable[[tuple[int, ...]], int], precision: Precision | None, share: float
    ) -> StageChoice:
        """Build the largest or the smallest stage.

        Args:
            choose: ``max`` or ``min``.
            precision: Precision of all blocks; None: that of the architecture.
            share: Analog share of all layers, 0 to 1.

        Returns:
            The stage.
        """
        stage = self.space
        depth = choose(stage.depths)
        return StageChoice(
            depth,
            choose(stage.widths),
            self._kernels.repeated(choose(stage.kernel_sizes), depth),
            self._expansions.repeated(choose(stage.expansions), depth),
            () if precision is None else self._precisions.repeated(precision, depth),
            self._shares.repeated(share, depth),
            self._heads.repeated(choose(stage.heads), depth) if stage.heads else (),
        )

    def num_choices(self, depth: int) -> int:
        """Count the distinct stages of one depth.

        Args:
            depth: Number of blocks.

        Returns:
            The exact number.
        """
        ways = len(self.space.widths)
        for gene in (self._kernels, self._expansions, self._precisions, self._shares, self._heads):
            ways *= gene.num_choices(depth)
        return ways
