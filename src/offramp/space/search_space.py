"""Search spaces: what may be chosen, as vectors of small integers (genes) and as architectures."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from offramp.space.architecture import Architecture

Genes = tuple[int, ...]


@dataclass(frozen=True)
class StageSpace:
    """The choices of one backbone stage; kernel sizes and expansions are chosen block by block.

    ``layers_per_block`` says how many layers of a block can have bit widths of their own.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    kernel_sizes: tuple[int, ...] = (3,)
    expansions: tuple[int, ...] = (1,)
    stride: int = 1
    layers_per_block: int = 1

    def __post_init__(self) -> None:
        for name in ("depths", "widths", "kernel_sizes", "expansions"):
            values = getattr(self, name)
            if not values or list(values) != sorted(set(values)) or values[0] < 1:
                raise ValueError(f"`{name}` must be increasing integers >= 1, got {values}.")
        if self.layers_per_block < 1:
            raise ValueError(f"`layers_per_block` must be >= 1, got {self.layers_per_block}.")


@dataclass(frozen=True)
class BackboneSpace:
    """All members of a backbone family; each block end of the deepest member is a tap slot.

    The stem is a convolution of ``stem_kernel`` (height, width). ``stem_padding`` None: half of the kernel; one of even
    size needs a padding that makes its stride ``s`` divide the image's sizes by ``s``, rounding up.
    """

    name: str
    resolutions: tuple[int, ...]
    stages: tuple[StageSpace, ...]
    stem_stride: int = 1
    stem_kernel: tuple[int, int] = (3, 3)
    stem_padding: tuple[int, int] | None = None

    @property
    def num_taps(self) -> int:
        return sum(max(stage.depths) for stage in self.stages)

    def with_full_widths(self) -> "BackboneSpace":
        """The members in which every stage is as wide as can be."""
        return replace(self, stages=tuple(replace(stage, widths=stage.widths[-1:]) for stage in self.stages))


class SearchSpace(Protocol):
    """Genes to architectures and back: ``decode(encode(a)) == a`` always."""

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of choices of each gene."""
        ...

    def sample(self, rng: np.random.Generator) -> Architecture: ...

    def encode(self, architecture: Architecture) -> Genes: ...

    def decode(self, genes: Genes) -> Architecture: ...
