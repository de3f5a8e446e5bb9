"""Random search: candidates are drawn from the space without repetition."""

from collections.abc import Sequence

import numpy as np

from offramp.algorithms.algorithm import ALGORITHMS, AlgorithmFactory, Proposals, Rewindable, samples
from offramp.objectives.evaluation import Constraint, Evaluation, Objective
from offramp.space.architecture import Architecture
from offramp.space.search_space import SearchSpace


class RandomSearch:
    """Proposes random candidates; they depend on the seed alone, not on evaluations or batch sizes."""

    def __init__(
        self, space: SearchSpace, objectives: Sequence[Objective], constraints: Sequence[Constraint], seed: int
    ) -> None:
        """Start a search.

        Args:
            space: The search space.
            objectives: Not used: the order of candidates is random.
            constraints: Not used.
            seed: Seed of all randomness.
        """
        self._drawn = Rewindable(samples(space, np.random.default_rng(seed)))
        self._proposals = Proposals()
        self._stream = iter(self._drawn)

    def ask(self, count: int) -> list[Architecture]:
        """Propose up to ``count`` new architectures; fewer when the space is exhausted."""
        return self._proposals.take(self._stream, count)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        self._proposals.record(evaluations)
        # Read the sequence again from its start: candidates that were proposed but not evaluated come up once more.
        self._stream = iter(self._drawn)


ALGORITHMS.add("random", AlgorithmFactory("independent random candidates; the yardstick for the others", RandomSearch))
