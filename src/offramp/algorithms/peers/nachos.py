"""NACHOS: exits as genes, thresholds tuned afterwards, and a bound on MACs that weighs more the fewer candidates meet
it.

Source: Gambella, Pomponi, Scardapane and Roveri, "NACHOS: Neural Architecture Search for Hardware Constrained Early
Exit Neural Networks", 2024. docs/concepts/peers.md states what is adopted, what is not, and why.
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
from offramp.algorithms.space_restriction import (
    least_drop,
    preferred_branches,
    preferred_measure,
    with_branches,
    with_policy,
)
from offramp.objectives.evaluation import Constraint, Objective
from offramp.space.architecture import Architecture
from offramp.space.search_space import SearchSpace

_BRANCHES = ("conv",)


class NachosRecipe:
    """One convolutional branch type and at least one early exit.

    The thresholds are those of the best validation accuracy, lowered if a bound on the cost requires it. That is an
    accuracy drop of 0, because the evaluator meets constraints first.
    """

    def __init__(self, space: SearchSpace, objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> None:
        """Select what the space offers.

        Args:
            space: The search space.
            objectives: Metrics to optimise; they decide the cost metric.
            constraints: Bounds on metrics; the one on the cost metric is the target.
        """
        self._branches = preferred_branches(space, _BRANCHES)
        self._measure = preferred_measure(space, "max_probability")
        self._drop = least_drop(space)
        self._target = cost_target(constraints, cost_metric(objectives))

    def restrict(self, architecture: Architecture) -> Architecture | None:
        if not architecture.exits:
            return None
        return with_policy(with_branches(architecture, self._branches), self._measure, self._drop)

    def goals(
        self, error: NDArray[np.float64], cost: NDArray[np.float64], observed_costs: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Error and cost; with a target, ``share * cost + (1 - share) * penalty``.

        The share is that of the evaluated candidates that meet the target.
        """
        if self._target is None:
            return np.stack([error, cost], axis=1)
        share = float((observed_costs <= self._target).mean()) if len(observed_costs) else 0.0
        relative = cost / self._target
        penalty = OVER_TARGET * np.maximum(0.0, relative - 1.0)
        return np.stack([error, share * relative + (1.0 - share) * penalty], axis=1)


class Nachos(SurrogateSearch):
    """The shared loop with the recipe of NACHOS."""

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
        recipe = NachosRecipe(space, objectives, constraints)
        super().__init__(space, objectives, seed, recipe, settings or SurrogateSettings())


ALGORITHMS.add("nachos", AlgorithmFactory("NACHOS: exits as genes, a bound on MACs, NSGA-II on predictors", Nachos))
