"""EDANAS: adaptive networks whose exit positions and thresholds are part of the genes.

Source: Gambella and Roveri, "EDANAS: Adaptive Neural Architecture Search for Early Exit Neural Networks", IJCNN 2023.
docs/concepts/peers.md states what is adopted, what is not, and why.
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
from offramp.algorithms.space_restriction import preferred_branches, preferred_measure, with_branches, with_policy
from offramp.objectives.evaluation import Constraint, Objective
from offramp.space.architecture import Architecture
from offramp.space.search_space import SearchSpace

_BRANCHES = ("conv",)


class EdanasRecipe:
    """One convolutional branch type and the margin as confidence; exits and operating points are searched."""

    def __init__(self, space: SearchSpace, objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> None:
        """Select what the space offers.

        Args:
            space: The search space.
            objectives: Metrics to optimise; they decide the cost metric.
            constraints: Bounds on metrics; the one on the cost metric is the target.
        """
        self._branches = preferred_branches(space, _BRANCHES)
        self._measure = preferred_measure(space, "margin")
        self._target = cost_target(constraints, cost_metric(objectives))

    def restrict(self, architecture: Architecture) -> Architecture:
        return with_policy(with_branches(architecture, self._branches), measure=self._measure)

    def goals(
        self, error: NDArray[np.float64], cost: NDArray[np.float64], observed_costs: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Error and cost; with a target, costs above it are penalised."""
        return penalised_goals(error, cost, self._target)


class Edanas(SurrogateSearch):
    """The shared loop with the recipe of EDANAS."""

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
        recipe = EdanasRecipe(space, objectives, constraints)
        super().__init__(space, objectives, seed, recipe, settings or SurrogateSettings())


ALGORITHMS.add("edanas", AlgorithmFactory("EDANAS: exits and thresholds as genes, NSGA-II on predictors", Edanas))
