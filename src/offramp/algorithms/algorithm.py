"""The registry of search algorithms, and parts that they share."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from offramp.objectives.evaluation import Constraint, Evaluation, Objective, SearchAlgorithm
from offramp.registry import CALLABLE, Registry
from offramp.space.architecture import Architecture
from offramp.space.search_space import SearchSpace

PATIENCE = 5_000
"""Draws in a row without a new candidate after which a space counts as exhausted, beyond the number of known ones."""


@dataclass(frozen=True)
class AlgorithmFactory:
    """Builds a search algorithm.

    Attributes:
        description: One line for users.
        build: Makes the algorithm from search space, objectives, constraints and seed.
    """

    description: str
    build: Callable[[SearchSpace, Sequence[Objective], Sequence[Constraint], int], SearchAlgorithm]

    def __call__(
        self, space: SearchSpace, objectives: Sequence[Objective], constraints: Sequence[Constraint], seed: int
    ) -> SearchAlgorithm:
        return self.build(space, objectives, constraints, seed)


ALGORITHMS: Registry[AlgorithmFactory] = Registry(
    "search algorithm", "offramp.algorithms", entry_points="offramp.algorithms", expects=CALLABLE
)


@runtime_checkable
class HasStartingPoints(Protocol):
    """A search space that offers good first candidates."""

    def starting_points(self) -> tuple[Architecture, ...]:
        """The first candidates, the best ones first."""
        ...


@runtime_checkable
class HasRemarks(Protocol):
    """A search algorithm with remarks for readers of its results."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """One sentence per remark; complete once the search has ended."""
        ...


@runtime_checkable
class JudgesStatics(Protocol):
    """A search algorithm that evaluates static networks on its way, beyond those of its proposals."""

    @property
    def statics(self) -> tuple[Evaluation, ...]:
        """The evaluations of these networks so far, new ones at the end."""
        ...


class Rewindable:
    """A random sequence of candidates that can be read again from its start."""

    def __init__(self, source: Iterator[Architecture]) -> None:
        """Wrap an iterator.

        Args:
            source: The candidates, without end; each is drawn once and then remembered.
        """
        self._source = source
        self._read: list[Architecture] = []

    def __iter__(self) -> Iterator[Architecture]:
        position = 0
        while True:
            if position == len(self._read):
                self._read.append(next(self._source))
            yield self._read[position]
            position += 1


def samples(space: SearchSpace, rng: np.random.Generator) -> Iterator[Architecture]:
    """Draw random members of a space, without end.

    Args:
        space: The search space.
        rng: Source of randomness.

    Yields:
        Architectures, possibly repeated.
    """
    while True:
        yield space.sample(rng)


class Proposals:
    """Selects new candidates from a stream: neither evaluated nor proposed since the last evaluations.

    Proposals do not depend on the size of the requests: ``take(2)`` twice gives what ``take(4)`` gives.

    Attributes:
        num_evaluations: Number of recorded evaluations, repeated ones included.
    """

    def __init__(self) -> None:
        self._known: set[Architecture] = set()
        self._handed: set[Architecture] = set()
        self.num_evaluations = 0

    def take(self, stream: Iterator[Architecture], count: int) -> list[Architecture]:
        """Take new candidates from a stream.

        Args:
            stream: Candidates, possibly repeated.
            count: Number of candidates.

        Returns:
            Up to ``count`` candidates; fewer if the stream ends or gives no new ones for long.
        """
        found: list[Architecture] = []
        misses = 0
        while len(found) < count and misses < PATIENCE + len(self._known):
            candidate = next(stream, None)
            if candidate is None:
                break
            if candidate in self._known or candidate in self._handed:
                misses += 1
                continue
            misses = 0
            self._handed.add(candidate)
            found.append(candidate)
        return found

    def record(self, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
        """Remember evaluated architectures and forget the open proposals.

        Args:
            evaluations: The new evaluations.

        Returns:
            Those whose architecture was not evaluated before.
        """
        new = []
        for evaluation in evaluations:
            if evaluation.architecture not in self._known:
                self._known.add(evaluation.architecture)
                new.append(evaluation)
        self.num_evaluations += len(evaluations)
        self._handed.clear()
        return new
