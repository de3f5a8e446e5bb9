"""Search spaces: choices as vectors of small integers (genes) and as architectures."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from offramp.space.architecture import Architecture

Genes = tuple[int, ...]


@dataclass(frozen=True)
class StageSpace:
    """The choices of one backbone stage; kernel sizes, expansions and heads are chosen for each block.

    Attributes:
        depths: Numbers of blocks to choose among, increasing, at least 1.
        widths: Output channels to choose among, increasing, at least 1.
        kernel_sizes: Kernel sizes to choose among, increasing, at least 1.
        expansions: Expansion factors to choose among, increasing, at least 1.
        stride: Stride of the first block.
        layers_per_block: Number of layers of a block that can have a precision of their own, at least 1.
        heads: Numbers of attention heads to choose among, increasing, at least 1; empty: blocks have no attention.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    kernel_sizes: tuple[int, ...] = (3,)
    expansions: tuple[int, ...] = (1,)
    stride: int = 1
    layers_per_block: int = 1
    heads: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("depths", "widths", "kernel_sizes", "expansions"):
            values = getattr(self, name)
            if not values or list(values) != sorted(set(values)) or values[0] < 1:
                raise ValueError(f"`{name}` must be increasing integers >= 1, got {values}.")
        if list(self.heads) != sorted(set(self.heads)) or (self.heads and self.heads[0] < 1):
            raise ValueError(f"`heads` must be increasing integers >= 1, got {self.heads}.")
        if self.layers_per_block < 1:
            raise ValueError(f"`layers_per_block` must be >= 1, got {self.layers_per_block}.")


@dataclass(frozen=True)
class BackboneSpace:
    """All members of a backbone family; each block end of the deepest member is a tap slot.

    The stem is a convolution.

    Attributes:
        name: Registered name of the backbone family.
        resolutions: Input heights and widths to choose among, in pixels.
        stages: Choices of each stage.
        stem_stride: Stride of the stem.
        stem_kernel: Height and width of the stem's kernel.
        stem_padding: Padding of the stem in height and width; None: half of the kernel. A kernel of even size needs a
            padding with which the stem divides the input's sizes by its stride, rounded up.
    """

    name: str
    resolutions: tuple[int, ...]
    stages: tuple[StageSpace, ...]
    stem_stride: int = 1
    stem_kernel: tuple[int, int] = (3, 3)
    stem_padding: tuple[int, int] | None = None

    @property
    def num_taps(self) -> int:
        """Number of tap slots."""
        return sum(max(stage.depths) for stage in self.stages)

    def with_full_widths(self) -> "BackboneSpace":
        """The members whose stages all have their largest width."""
        return replace(self, stages=tuple(replace(stage, widths=stage.widths[-1:]) for stage in self.stages))


class SearchSpace(Protocol):
    """Translates genes to architectures and back: ``decode(encode(a)) == a`` always."""

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of choices of each gene."""
        ...

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw a random architecture.

        Args:
            rng: Source of randomness.

        Returns:
            The architecture.
        """
        ...

    def encode(self, architecture: Architecture) -> Genes:
        """Find the canonical genes of an architecture.

        Args:
            architecture: The architecture.

        Returns:
            One gene per entry of `cardinalities`.
        """
        ...

    def decode(self, genes: Genes) -> Architecture:
        """Build the architecture that genes describe.

        Args:
            genes: One gene per entry of `cardinalities`.

        Returns:
            The architecture.
        """
        ...
