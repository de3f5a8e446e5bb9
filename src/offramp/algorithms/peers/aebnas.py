"""AEBNAS: the depth and the layers of every exit branch are searched too, and thresholds are tuned.

Source: the abstract of "AEBNAS" (no code is public): bi-objective search of accuracy and MACs around a target.
docs/concepts/peers.md states what is known and what is our interpretation.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.algorithm import ALGORITHMS, AlgorithmFactory
from offramp.algorithms.peers.surrogate_search import (
    SurrogateSearch,
    SurrogateSettings,
    cost_metric,
    cost_target,
    penalised_goals,
)
from offramp.algorithms.space_restriction import preferred_measure, with_policy
from offramp.objectives.evaluation import Constraint, Objective
from offramp.space.architecture import Architecture
from offramp.space.search_space import SearchSpace


class AebnasRecipe:
    """All branch types and accuracy drops of the space; the evaluator tunes the thresholds."""

    def __init__(self, space: SearchSpace, objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> None:
        """Select what the space offers.

        Args:
            space: The search space.
            objectives: Metrics to optimise; they decide the cost metric.
            constraints: Bounds on metrics; the one on the cost metric is the target.
        """
        self._measure = preferred_measure(space, "max_probability")
        self._target = cost_target(constraints, cost_metric(objectives))

    def restrict(self, architecture: Architecture) -> Architecture | None:
        return with_policy(architecture, self._measure) if architecture.exits else None

    def goals(
        self, error: NDArray[np.float64], cost: NDArray[np.float64], observed_costs: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Error and cost; with a target, costs above it are penalised."""
        return penalised_goals(error, cost, self._target)


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
        """Start a search.

        Args:
            space: The search space.
            objectives: Metrics to optimise.
            constraints: Bounds on metrics.
            seed: Seed of all randomness.
            settings: Sizes of the loop; None: the defaults.

        Raises:
            InputError: A size is too small.
        """
        recipe = AebnasRecipe(space, objectives, constraints)
        super().__init__(space, objectives, seed, recipe, settings or SurrogateSettings())


ALGORITHMS.add("aebnas", AlgorithmFactory("AEBNAS: exit branches searched too, accuracy against MACs", Aebnas))
