"""EDANAS: adaptive networks whose exit positions and thresholds are part of the genes.

Source: Gambella and Roveri, "EDANAS: Adaptive Neural Architecture Search for Early Exit Neural Networks", IJCNN 2023.
docs/concepts/peers.md says what is taken over, what is not, and why.
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
from offramp.algorithms.space_restriction import preferred_branches, preferred_measure, with_branches, with_policy
from offramp.objectives.evaluation import Constraint, Objective
from offramp.space.architecture import Architecture
from offramp.space.search_space import SearchSpace

_BRANCHES = ("conv",)


class EdanasRecipe:
    """One convolutional branch type, confidence by margin; exits and their operating point are searched."""

    def __init__(self, space: SearchSpace, objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> None:
        self._branches = preferred_branches(space, _BRANCHES)
        self._measure = preferred_measure(space, "margin")
        self._target = cost_target(constraints, cost_metric(objectives))

    def restrict(self, architecture: Architecture) -> Architecture:
        return with_policy(with_branches(architecture, self._branches), measure=self._measure)

    def goals(
        self, error: NDArray[np.float64], cost: NDArray[np.float64], told_costs: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Error, and cost with a penalty above the target, where there is one."""
        if self._target is None:
            return np.stack([error, cost], axis=1)
        relative = cost / self._target
        return np.stack([error, relative + OVER_TARGET * np.maximum(0.0, relative - 1.0)], axis=1)


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
        recipe = EdanasRecipe(space, objectives, constraints)
        super().__init__(space, objectives, seed, recipe, settings or SurrogateSettings())


ALGORITHMS.add("edanas", AlgorithmFactory("EDANAS: exits and thresholds as genes, NSGA-II on predictors", Edanas))
