"""Building blocks of gene groups: reading genes in order, and choices made once per slot.

A group owns a run of genes. It knows the number of choices and the meaning of each gene, the canonical genes of a
value, how to draw a value, and how many distinct values there are. Genes without meaning (of a block or an exit that
is not there) are ignored on reading and written as 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from offramp.errors import InputError
from offramp.space.search_space import Genes

T = TypeVar("T")


class GeneReader:
    """Checks genes and returns them one by one."""

    def __init__(self, genes: Genes, cardinalities: Sequence[int]) -> None:
        """Check the genes.

        Args:
            genes: The genes.
            cardinalities: Number of choices of each gene.

        Raises:
            InputError: The number of genes is wrong, or a gene is out of range.
        """
        if len(genes) != len(cardinalities):
            raise InputError(f"genes of this space must be {len(cardinalities)} numbers, got {len(genes)}.")
        for index, (gene, count) in enumerate(zip(genes, cardinalities, strict=True)):
            if not (0 <= gene < count and gene == int(gene)):
                raise InputError(f"gene {index} must be an integer from 0 to {count - 1}, got {gene}.")
        self._genes = iter(int(gene) for gene in genes)

    def next(self) -> int:
        """The next gene."""
        return next(self._genes)

    def choose(self, choices: tuple[T, ...]) -> T:
        """Return what the next gene chooses.

        Args:
            choices: The choices, as many as the gene's cardinality.

        Returns:
            One of the choices.
        """
        return choices[self.next()]


@dataclass(frozen=True)
class SlotGene(Generic[T]):
    """A choice made for every slot in use.

    Without choices there are no genes and no values.

    Attributes:
        name: Name of the choice in messages.
        choices: The values to choose among.
        per_slot: Number of values of each slot.
        shared: Whether one gene decides for all slots.
    """

    name: str
    choices: tuple[T, ...]
    per_slot: int = 1
    shared: bool = False

    def cardinalities(self, slots: int) -> list[int]:
        """List the number of choices of each gene.

        Args:
            slots: Number of slots.

        Returns:
            One number per gene.
        """
        return [len(self.choices)] * self._num_genes(slots)

    def _num_genes(self, slots: int) -> int:
        if not self.choices:
            return 0
        return 1 if self.shared else slots * self.per_slot

    def decode(self, reader: GeneReader, slots: int, used: int) -> tuple[T, ...]:
        """Read the values of the slots in use.

        Args:
            reader: Genes; the next ones are those of this choice.
            slots: Number of slots.
            used: Number of slots in use, the first ones.

        Returns:
            `per_slot` values for each slot in use; none without choices.
        """
        genes = [reader.next() for _ in range(self._num_genes(slots))]
        return self._values([self.choices[gene] for gene in genes], used)

    def _values(self, drawn: Sequence[T], used: int) -> tuple[T, ...]:
        count = used * self.per_slot
        return tuple(drawn) * count if self.shared else tuple(drawn[:count])

    def encode(self, values: Sequence[T], slots: int, used: int, where: str) -> list[int]:
        """Find the canonical genes of values.

        Args:
            values: `per_slot` values for each slot in use; none without choices.
            slots: Number of slots.
            used: Number of slots in use.
            where: Name of the place in messages.

        Returns:
            The genes of all slots.

        Raises:
            InputError: The number of values is wrong, one is not among the choices, or shared values differ.
        """
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
        """Draw values at random.

        Args:
            rng: Source of randomness.
            used: Number of slots in use.

        Returns:
            `per_slot` values for each slot in use; none without choices.
        """
        if not self.choices:
            return ()
        return self._values([pick(self.choices, rng) for _ in range(self._num_genes(used))], used)

    def repeated(self, value: T, used: int) -> tuple[T, ...]:
        """Repeat one value for all slots in use.

        Args:
            value: The value.
            used: Number of slots in use.

        Returns:
            `per_slot` values for each slot in use; none without choices.
        """
        return (value,) * (used * self.per_slot) if self.choices else ()

    def num_choices(self, used: int) -> int:
        """Count the distinct sequences of values.

        Args:
            used: Number of slots in use.

        Returns:
            The exact number.
        """
        return int(len(self.choices) ** self._num_genes(used))


def index_of(choices: tuple[T, ...], value: T, what: str) -> int:
    """Find the index of a value among choices.

    Args:
        choices: The choices.
        value: The value.
        what: Name of the value in messages.

    Returns:
        The index, from 0.

    Raises:
        InputError: The value is not among the choices.
    """
    if value not in choices:
        raise InputError(f"{what} must be among {_shown(choices)} in this space, got {_shown(value)}.")
    return choices.index(value)


def _shown(value: object) -> str:
    """Numbers and texts as Python writes them, other values by their own short text."""
    if isinstance(value, tuple):
        return f"({', '.join(_shown(item) for item in value)}{',' if len(value) == 1 else ''})"
    return repr(value) if isinstance(value, str | int | float) else str(value)


def pick(choices: tuple[T, ...], rng: np.random.Generator) -> T:
    """Draw one of several choices, uniformly.

    Args:
        choices: The choices, at least one.
        rng: Source of randomness.

    Returns:
        The drawn choice.
    """
    return choices[int(rng.integers(len(choices)))]
