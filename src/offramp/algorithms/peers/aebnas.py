"""AEBNAS: the depth and the layers of every exit branch are searched as well, and thresholds are tuned.

Source: the abstract of "AEBNAS" (no code is public): bi-objective search of accuracy and MACs around a target.
docs/concepts/peers.md says what is known and what is our reading.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.algorithm import ALGORITHMS, AlgorithmFactory
from offramp.algorithms.peers.surrogate_search import (
    OVER_TARGET,
    SurrogateSearch,
    SurrogateSettings,
    cost_metric,
    cost_target,
)
from offramp.algorithms.space_restriction import preferred_measure, with_policy
from offramp.objectives.evaluation import Constraint, Objective
from offramp.space.architecture import Architecture
from offramp.space.search_space import SearchSpace


class AebnasRecipe:
    """All branch types of the space, and all accuracy drops: the thresholds that go with each are the evaluator's."""

    def __init__(self, space: SearchSpace, objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> None:
        self._measure = preferred_measure(space, "max_probability")
        self._target = cost_target(constraints, cost_metric(objectives))

    def restrict(self, architecture: Architecture) -> Architecture | None:
        return with_policy(architecture, self._measure) if architecture.exits else None

    def goals(
        self, error: NDArray[np.float64], cost: NDArray[np.float64], told_costs: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Error, and cost; with a target, the cost and how far it lies above the target."""
        if self._target is None:
            return np.stack([error, cost], axis=1)
        relative = cost / self._target
        return np.stack([error, relative + OVER_TARGET * np.maximum(0.0, relative - 1.0)], axis=1)


class Aebnas(SurrogateSearch):
    """The shared loop with the recipe of AEBNAS."""

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        seed: int,
        settings: SurrogateSettings | None = None,
    ) -> None:
        recipe = AebnasRecipe(space, objectives, constraints)
        super().__init__(space, objectives, seed, recipe, settings or SurrogateSettings())


ALGORITHMS.add("aebnas", AlgorithmFactory("AEBNAS: exit branches searched too, accuracy against MACs", Aebnas))
