"""The registry of search algorithms, and `Proposals`, which all of them use."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from offramp.objectives.evaluation import Constraint, Evaluation, Objective, SearchAlgorithm
from offramp.registry import Registry
from offramp.space.architecture import Architecture
from offramp.space.search_space import SearchSpace

PATIENCE = 5_000
"""Draws in a row, beyond those already told about, that bring nothing new before a space counts as exhausted."""


@dataclass(frozen=True)
class AlgorithmFactory:
    """Builds an algorithm from (space, objectives, constraints, seed); ``description`` is one line for users."""

    description: str
    build: Callable[[SearchSpace, Sequence[Objective], Sequence[Constraint], int], SearchAlgorithm]

    def __call__(
        self, space: SearchSpace, objectives: Sequence[Objective], constraints: Sequence[Constraint], seed: int
    ) -> SearchAlgorithm:
        return self.build(space, objectives, constraints, seed)


ALGORITHMS: Registry[AlgorithmFactory] = Registry(
    "search algorithm", "offramp.algorithms", entry_points="offramp.algorithms"
)


@runtime_checkable
class HasStartingPoints(Protocol):
    """A space that knows sensible first candidates."""

    def starting_points(self) -> tuple[Architecture, ...]: ...


@runtime_checkable
class HasRemarks(Protocol):
    """An algorithm that says what readers of its results should know; in full once the search has ended."""

    @property
    def remarks(self) -> tuple[str, ...]: ...


class Rewindable:
    """A random sequence of candidates that can be read again from its start."""

    def __init__(self, source: Iterator[Architecture]) -> None:
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
    """Random members of a space, without end."""
    while True:
        yield space.sample(rng)


class Proposals:
    """Hands out candidates of a stream that were neither told about nor handed out since the last tell.

    What is asked in pieces is what is asked at once: ``take(2)`` twice gives what ``take(4)`` gives.
    """

    def __init__(self) -> None:
        self._known: set[Architecture] = set()
        self._handed: set[Architecture] = set()
        self.num_told = 0

    def take(self, stream: Iterator[Architecture], count: int) -> list[Architecture]:
        """Up to ``count`` new candidates; fewer where the stream ends or brings nothing new for long."""
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

    def told(self, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
        """Remember what was tried; returns the evaluations whose architecture was not known before."""
        new = []
        for evaluation in evaluations:
            if evaluation.architecture not in self._known:
                self._known.add(evaluation.architecture)
                new.append(evaluation)
        self.num_told += len(evaluations)
        self._handed.clear()
        return new
