"""The genetic search of Zniber et al.: constrained objectives, and predictors that are trained again every generation.

Source: Zniber et al., arXiv 2512.04705 (abstract; no search code is public). docs/concepts/peers.md states what is
known and what is our interpretation.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.algorithm import ALGORITHMS, PATIENCE, AlgorithmFactory, Proposals, Rewindable
from offramp.algorithms.nsga2 import mutate
from offramp.algorithms.predictors import MIN_ROWS, Features, PredictorSeries
from offramp.algorithms.space_restriction import preferred_branches, preferred_measure, with_branches, with_policy
from offramp.errors import InputError
from offramp.numerics.dominance import non_dominated
from offramp.objectives.evaluation import Constraint, Details, Evaluation, Objective, Status, quality_metric
from offramp.objectives.picking import PRODUCT
from offramp.space.architecture import Architecture
from offramp.space.search_space import Genes, SearchSpace

MAX_BRANCH_OVERHEAD = 0.3
"""Largest share of the latency to the final exit that early branches may take."""

MIN_EXIT_RATE = 0.02
"""Smallest share of the samples that must leave at each early exit."""

_BRANCHES = ("pool_linear", "pool_mlp")
_CHILDREN_PER_PARENT = 8
_OPTIMISM = 0.5


@dataclass(frozen=True)
class _Observation:
    """Genes, goals to minimise (error, logarithm of the product) and the violation of the bounds."""

    genes: Genes
    goals: tuple[float, float]
    violation: float


class Progressive:
    """Searches accuracy against the expected energy-delay product, with bounds on branch overhead and exit rates.

    Predictors rank the children of the best candidates. The most promising children come first; among equals, the most
    uncertain ones.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        seed: int,
        population_size: int = 24,
    ) -> None:
        """Start a search.

        Args:
            space: The search space.
            objectives: They decide the measure of accuracy; the other goals are those of the published search.
            constraints: Not used: evaluations carry their violations.
            seed: Seed of all randomness.
            population_size: Size of a generation, at least `MIN_ROWS`.

        Raises:
            InputError: The population is too small.
        """
        if population_size < MIN_ROWS:
            raise InputError(f"`population_size` must be at least {MIN_ROWS}, got {population_size}.")
        self._space = space
        self._seed = seed
        self._quality = quality_metric(objectives)
        self._population_size = population_size
        self._branches = preferred_branches(space, _BRANCHES)
        self._measure = preferred_measure(space, "max_probability")
        self._features = Features(space.cardinalities)
        self._proposals = Proposals()
        self._observations: list[_Observation] = []
        self._predictors = tuple(PredictorSeries(seed) for _ in range(3))
        self._first = Rewindable(self._samples(self._rng(0)))
        self._stream = iter(self._first)

    def ask(self, count: int) -> list[Architecture]:
        """Propose up to ``count`` new architectures; fewer when no new ones are left."""
        return self._proposals.take(self._stream, count)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Take a batch of evaluations as a generation.

        Raises:
            InputError: A complete evaluation lacks the accuracy or the energy-delay product.
        """
        for evaluation in self._proposals.record(evaluations):
            if evaluation.status is Status.COMPLETE:
                self._observations.append(self._row(evaluation))
        early = self._proposals.num_evaluations < self._population_size or len(self._observations) < MIN_ROWS
        self._stream = iter(self._first) if early else self._model_based()

    def _row(self, evaluation: Evaluation) -> _Observation:
        missing = [name for name in (self._quality, PRODUCT) if name not in evaluation.values]
        if missing:
            raise InputError(f"an evaluation must have a value of every objective, missing: {', '.join(missing)}.")
        violation = sum(evaluation.violations)
        if evaluation.details is not None:
            violation += built_in_violation(evaluation.details)
        # Products span orders of magnitude: their logarithm has the same front and is easier to predict.
        product = math.log(max(evaluation.values[PRODUCT], sys.float_info.min))
        goals = (1.0 - evaluation.values[self._quality], product)
        return _Observation(self._space.encode(evaluation.architecture), goals, violation)

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._proposals.num_evaluations, purpose])

    def _restricted(self, architecture: Architecture) -> Architecture | None:
        if not architecture.exits:
            return None
        return with_policy(with_branches(architecture, self._branches), self._measure)

    def _samples(self, rng: np.random.Generator) -> Iterator[Architecture]:
        misses = 0
        while misses < PATIENCE:
            candidate = self._restricted(self._space.sample(rng))
            misses = misses + 1 if candidate is None else 0
            if candidate is not None:
                yield candidate

    def _model_based(self) -> Iterator[Architecture]:
        rng = self._rng(1)
        children = self._children(rng)
        if len(children):
            for place in self._ranked(children):
                yield self._space.decode(tuple(int(gene) for gene in children[place]))
        yield from self._samples(rng)

    def _children(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Different new children of the best candidates: two-point crossover, then mutation."""
        parents = np.asarray([self._observations[place].genes for place in self._best()], dtype=np.int64)
        num_genes = parents.shape[1]
        pairs = rng.integers(len(parents), size=(_CHILDREN_PER_PARENT * self._population_size, 2))
        cuts = np.sort(rng.integers(num_genes + 1, size=(len(pairs), 2)), axis=1)
        places = np.arange(num_genes)
        inside = (places >= cuts[:, :1]) & (places < cuts[:, 1:])
        children = mutate(
            np.where(inside, parents[pairs[:, 1]], parents[pairs[:, 0]]), np.asarray(self._space.cardinalities), rng
        )
        known = {item.genes for item in self._observations}
        found: dict[Genes, None] = {}
        for row in children:
            candidate = self._restricted(self._space.decode(tuple(row.tolist())))
            genes = None if candidate is None else self._space.encode(candidate)
            if genes is not None and genes not in known:
                found[genes] = None
        return np.asarray(list(found), dtype=np.int64).reshape(len(found), num_genes)

    def _best(self) -> list[int]:
        """Indices of the parents: feasible candidates front by front, then those with the smallest violations."""
        order = constrained_ranks(
            np.asarray([item.goals for item in self._observations]),
            np.asarray([item.violation for item in self._observations]),
        )
        return [int(place) for place in np.argsort(order, kind="stable")[: self._population_size]]

    def _ranked(self, children: NDArray[np.int64]) -> list[int]:
        """Indices of the children, the most promising first."""
        features = self._features(np.asarray([item.genes for item in self._observations]))
        rows = self._features(children)
        goals, uncertainty = [], np.zeros(len(children))
        for place in range(2):
            values = np.asarray([item.goals[place] for item in self._observations])
            found = self._predictors[place].fitted(features, values).predict(rows)
            goals.append(found.mean - _OPTIMISM * found.deviation)
            uncertainty += found.deviation / (float(values.std()) or 1.0)
        missed = np.asarray([item.violation for item in self._observations])
        violation = np.zeros(len(children))
        if missed.any():
            found = self._predictors[2].fitted(features, missed).predict(rows)
            violation = np.maximum(0.0, found.mean - _OPTIMISM * found.deviation)
        order = constrained_ranks(np.stack(goals, axis=1), violation)
        return [int(place) for place in np.lexsort((-uncertainty, order))]


def built_in_violation(details: Details) -> float:
    """Measure how far a candidate violates the two bounds that the algorithm adds.

    Args:
        details: Details of the candidate's evaluation.

    Returns:
        The sum of both relative violations; 0 if the candidate meets both bounds.
    """
    early = details.profile.rates[:-1]
    if not early:
        return 0.0
    stages = details.cost.stages
    in_branches = sum(stage.branch_latency_cycles + stage.gap_cycles for stage in stages[:-1])
    overhead = in_branches / stages[-1].latency_to_exit_cycles
    too_few = sum(max(0.0, 1.0 - rate / MIN_EXIT_RATE) for rate in early) / len(early)
    return max(0.0, overhead / MAX_BRANCH_OVERHEAD - 1.0) + too_few


def constrained_ranks(goals: NDArray[np.float64], violations: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank candidates by constrained domination: feasible ones front by front, then the others by their violation.

    Source: Deb et al. 2002, NSGA-II, section VI.

    Args:
        goals: Values to minimise, (candidates, goals).
        violations: Violations, (candidates,); 0 for feasible candidates.

    Returns:
        Ranks from 0, the best, (candidates,).
    """
    order = np.zeros(len(goals), dtype=np.int64)
    left = np.flatnonzero(violations <= 0.0)
    rank = 0
    while len(left):
        front = non_dominated(goals[left])
        order[left[front]] = rank
        left = left[~front]
        rank += 1
    missing = np.flatnonzero(violations > 0.0)
    _, places = np.unique(violations[missing], return_inverse=True)
    order[missing] = rank + places
    return order


ALGORITHMS.add(
    "progressive",
    AlgorithmFactory("Zniber et al.: constrained genetic search, predictors trained every generation", Progressive),
)
