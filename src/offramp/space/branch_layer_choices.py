"""Choices for the layers of exit branches that are built layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from offramp.errors import ConfigError, InputError
from offramp.space.architecture import BranchLayer
from offramp.space.genes import GeneReader, index_of


@dataclass(frozen=True)
class BranchLayerChoices:
    """The layers that exit branches may have.

    Genes per tap slot: one per layer position, 0 (no layer) or 1 + the index of the layer. Present layers move up, so
    that
    every branch has one canonical row of genes.

    Attributes:
        branches: Branch types that are built layer by layer.
        layers: The layers to choose among, all different.
        max_layers: Largest number of layers in a branch, at least 1.
    """

    branches: tuple[str, ...] = ()
    layers: tuple[BranchLayer, ...] = ()
    max_layers: int = 4

    def __post_init__(self) -> None:
        if len(set(self.layers)) != len(self.layers) or self.max_layers < 1:
            raise ConfigError(f"`layers` must hold none twice and `max_layers` be at least 1, got {self}.")

    @property
    def genes_per_slot(self) -> int:
        """Number of genes of one tap slot; 0 if there is nothing to choose."""
        return self.max_layers if self.branches and self.layers else 0

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of choices of each gene of one tap slot."""
        return (1 + len(self.layers),) * self.genes_per_slot

    def decode(self, reader: GeneReader) -> tuple[BranchLayer, ...]:
        """Read the layers of one tap slot.

        Args:
            reader: Genes; the next ones are those of the slot.

        Returns:
            The layers, without empty positions.
        """
        genes = [reader.next() for _ in range(self.genes_per_slot)]
        return tuple(self.layers[gene - 1] for gene in genes if gene)

    def encode(self, layers: Sequence[BranchLayer], branch: str, where: str) -> list[int]:
        """Find the canonical genes of one tap slot.

        Args:
            layers: Layers of the branch.
            branch: Branch type.
            where: Name of the exit in messages.

        Returns:
            `genes_per_slot` genes.

        Raises:
            InputError: The branch type takes no layers, there are too many, or one is not among the choices.
        """
        if layers and (branch not in self.branches or len(layers) > self.max_layers):
            raise InputError(
                f"{where} must have at most {self.max_layers if branch in self.branches else 0} layers in this space, "
                f"got {len(layers)}."
            )
        genes = [1 + index_of(self.layers, layer, f"layer of {where}") for layer in layers]
        return genes + [0] * (self.genes_per_slot - len(genes))

    def sample(self, branch: str, rng: np.random.Generator) -> tuple[BranchLayer, ...]:
        """Draw layers at random: first their number, uniformly, then each layer.

        Args:
            branch: Branch type.
            rng: Source of randomness.

        Returns:
            The layers; none for a branch type that takes none.
        """
        if branch not in self.branches or not self.layers:
            return ()
        count = int(rng.integers(self.max_layers + 1))
        return tuple(self.layers[int(place)] for place in rng.integers(len(self.layers), size=count))

    def num_choices(self, branch: str) -> int:
        """Count the distinct sequences of layers.

        Args:
            branch: Branch type.

        Returns:
            The exact number; 1 for a branch type that takes no layers.
        """
        if branch not in self.branches:
            return 1
        return sum(int(len(self.layers) ** count) for count in range(self.max_layers + 1))


NO_LAYERS = BranchLayerChoices()
