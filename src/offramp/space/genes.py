"""The parts that gene groups are made of: reading genes in order, and choices made once per slot.

A group owns a run of genes and all that is to know about them: how many choices each has, what they mean, the
canonical genes of a value, how to draw one, and how many distinct ones there are. Genes without meaning (of a block
or an exit that is not there) are ignored on reading and written as 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from offramp.errors import InputError
from offramp.space.search_space import Genes

T = TypeVar("T")


class GeneReader:
    """Hands out checked genes one by one. Raises InputError for a wrong number of genes or one out of range."""

    def __init__(self, genes: Genes, cardinalities: Sequence[int]) -> None:
        if len(genes) != len(cardinalities):
            raise InputError(f"genes of this space must be {len(cardinalities)} numbers, got {len(genes)}.")
        for index, (gene, count) in enumerate(zip(genes, cardinalities, strict=True)):
            if not (0 <= gene < count and gene == int(gene)):
                raise InputError(f"gene {index} must be an integer from 0 to {count - 1}, got {gene}.")
        self._genes = iter(int(gene) for gene in genes)

    def next(self) -> int:
        return next(self._genes)

    def choose(self, choices: tuple[T, ...]) -> T:
        return choices[self.next()]


@dataclass(frozen=True)
class SlotGene(Generic[T]):
    """A choice made for every slot that is in use, of which there may be fewer than slots.

    Each slot in use gets ``per_slot`` values. With ``shared`` one gene decides for all of them. Without choices there
    are no genes and no values.
    """

    name: str
    choices: tuple[T, ...]
    per_slot: int = 1
    shared: bool = False

    def cardinalities(self, slots: int) -> list[int]:
        return [len(self.choices)] * self._num_genes(slots)

    def _num_genes(self, slots: int) -> int:
        if not self.choices:
            return 0
        return 1 if self.shared else slots * self.per_slot

    def decode(self, reader: GeneReader, slots: int, used: int) -> tuple[T, ...]:
        genes = [reader.next() for _ in range(self._num_genes(slots))]
        return self._values([self.choices[gene] for gene in genes], used)

    def _values(self, drawn: Sequence[T], used: int) -> tuple[T, ...]:
        count = used * self.per_slot
        return tuple(drawn) * count if self.shared else tuple(drawn[:count])

    def encode(self, values: Sequence[T], slots: int, used: int, where: str) -> list[int]:
        """Canonical genes. Raises InputError for values that genes cannot give."""
        expected = used * self.per_slot if self.choices else 0
        if len(values) != expected:
            raise InputError(f"{self.name} in {where} must have {expected} value(s) in this space, got {len(values)}.")
        genes = [index_of(self.choices, value, f"{self.name} in {where}") for value in values]
        if not self.shared or not genes:
            return genes + [0] * (self._num_genes(slots) - len(genes))
        if len(set(genes)) > 1:
            raise InputError(f"{self.name} in {where} must be the same everywhere in this space, got {values}.")
        return genes[:1]

    def sample(self, rng: np.random.Generator, used: int) -> tuple[T, ...]:
        if not self.choices:
            return ()
        return self._values([pick(self.choices, rng) for _ in range(self._num_genes(used))], used)

    def same(self, value: T, used: int) -> tuple[T, ...]:
        """``value`` everywhere."""
        return (value,) * (used * self.per_slot) if self.choices else ()

    def num_choices(self, used: int) -> int:
        """Number of distinct values, exactly."""
        return int(len(self.choices) ** self._num_genes(used))


def index_of(choices: tuple[T, ...], value: T, what: str) -> int:
    if value not in choices:
        raise InputError(f"{what} must be among {_shown(choices)} in this space, got {_shown(value)}.")
    return choices.index(value)


def _shown(value: object) -> str:
    """Numbers and texts as Python writes them, other values by their own short text."""
    if isinstance(value, tuple):
        return f"({', '.join(_shown(item) for item in value)}{',' if len(value) == 1 else ''})"
    return repr(value) if isinstance(value, str | int | float) else str(value)


def pick(choices: tuple[T, ...], rng: np.random.Generator) -> T:
    return choices[int(rng.integers(len(choices)))]
