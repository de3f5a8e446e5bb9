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
    """``branches`` are the types that take layers; a branch has up to ``most`` of ``layers``.

    Genes per tap slot: one per layer, 0 (left out) or 1 + the index of the layer. Layers that are there move up, so
    that every branch has one canonical row of genes.
    """

    branches: tuple[str, ...] = ()
    layers: tuple[BranchLayer, ...] = ()
    most: int = 4

    def __post_init__(self) -> None:
        if len(set(self.layers)) != len(self.layers) or self.most < 1:
            raise ConfigError(f"branch layers must hold none twice and `most` be at least 1, got {self}.")

    @property
    def genes_per_slot(self) -> int:
        return self.most if self.branches and self.layers else 0

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        """Of one slot."""
        return (1 + len(self.layers),) * self.genes_per_slot

    def decode(self, reader: GeneReader) -> tuple[BranchLayer, ...]:
        """The layers of one slot."""
        genes = [reader.next() for _ in range(self.genes_per_slot)]
        return tuple(self.layers[gene - 1] for gene in genes if gene)

    def encode(self, layers: Sequence[BranchLayer], branch: str, where: str) -> list[int]:
        """Canonical genes of one slot. Raises InputError for layers that genes cannot give."""
        if layers and (branch not in self.branches or len(layers) > self.most):
            raise InputError(
                f"{where} must have at most {self.most if branch in self.branches else 0} layers in this space, "
                f"got {len(layers)}."
            )
        genes = [1 + index_of(self.layers, layer, f"layer of {where}") for layer in layers]
        return genes + [0] * (self.genes_per_slot - len(genes))

    def sample(self, branch: str, rng: np.random.Generator) -> tuple[BranchLayer, ...]:
        """Every number of layers is equally likely."""
        if branch not in self.branches or not self.layers:
            return ()
        count = int(rng.integers(self.most + 1))
        return tuple(self.layers[int(place)] for place in rng.integers(len(self.layers), size=count))

    def num_choices(self, branch: str) -> int:
        """Number of distinct sequences of layers, exactly."""
        if branch not in self.branches:
            return 1
        return sum(int(len(self.layers) ** count) for count in range(self.most + 1))


NO_LAYERS = BranchLayerChoices()
