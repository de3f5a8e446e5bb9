"""Random search: candidates are sampled from the space without repetition."""

from collections.abc import Sequence

import numpy as np

from offramp.algorithms.algorithm import ALGORITHMS, AlgorithmFactory, Proposals, Rewindable, samples
from offramp.objectives.evaluation import Constraint, Evaluation, Objective
from offramp.space.architecture import Architecture
from offramp.space.search_space import SearchSpace


class RandomSearch:
    """The sequence of candidates depends on the seed alone, not on what is told or on the size of the batches."""

    def __init__(
        self, space: SearchSpace, objectives: Sequence[Objective], constraints: Sequence[Constraint], seed: int
    ) -> None:
        self._drawn = Rewindable(samples(space, np.random.default_rng(seed)))
        self._proposals = Proposals()
        self._stream = iter(self._drawn)

    def ask(self, count: int) -> list[Architecture]:
        """Up to ``count`` new architectures; fewer when the space is exhausted."""
        return self._proposals.take(self._stream, count)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        self._proposals.told(evaluations)
        # From the start again: candidates that were handed out and never told about are due once more.
        self._stream = iter(self._drawn)


ALGORITHMS.add("random", AlgorithmFactory("independent random candidates; the yardstick for the others", RandomSearch))
