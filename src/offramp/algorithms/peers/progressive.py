"""The genetic search of Zniber et al.: constrained objectives, and predictors that learn anew every generation.

Source: Zniber et al., arXiv 2512.04705 (abstract; no search code is public). docs/concepts/peers.md says what is known
and what is our reading.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.algorithm import ALGORITHMS, PATIENCE, AlgorithmFactory, Proposals, Rewindable
from offramp.algorithms.nsga2 import mutate
from offramp.algorithms.predictors import FEWEST, Features, PredictorSeries
from offramp.algorithms.space_restriction import preferred_branches, preferred_measure, with_branches, with_policy
from offramp.errors import InputError
from offramp.numerics.dominance import non_dominated
from offramp.objectives.evaluation import Constraint, Details, Evaluation, Objective, Status
from offramp.space.architecture import Architecture
from offramp.space.search_space import Genes, SearchSpace

MAX_BRANCH_OVERHEAD = 0.3
"""Share of the latency to the final exit that may be spent in early branches."""

MIN_EXIT_RATE = 0.02
"""Share of the samples that must leave at every early exit."""

_PRODUCT = "energy_delay_product_j_cycles"
_BRANCHES = ("pool_linear", "pool_mlp")
_CHILDREN_PER_PARENT = 8
_OPTIMISM = 0.5


@dataclass(frozen=True)
class _Told:
    """Genes, what is to be minimized (error, logarithm of the product), and by how much bounds are missed."""

    genes: Genes
    goals: tuple[float, float]
    violation: float


class Progressive:
    """Accuracy against the expected energy-delay product, under bounds on branch overhead and exit rates.

    Children of the best candidates so far are ranked by predictors; those that promise most, and among equals those
    that the predictors know least about, come first.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        seed: int,
        population_size: int = 24,
    ) -> None:
        if population_size < FEWEST:
            raise InputError(f"`population_size` must be at least {FEWEST}, got {population_size}.")
        self._space = space
        self._seed = seed
        self._population_size = population_size
        self._branches = preferred_branches(space, _BRANCHES)
        self._measure = preferred_measure(space, "max_probability")
        self._features = Features(space.cardinalities)
        self._proposals = Proposals()
        self._told: list[_Told] = []
        self._predictors = tuple(PredictorSeries(seed) for _ in range(3))
        self._first = Rewindable(self._samples(self._rng(0)))
        self._stream = iter(self._first)

    def ask(self, count: int) -> list[Architecture]:
        """Up to ``count`` new architectures; fewer when nothing new is left."""
        return self._proposals.take(self._stream, count)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """A batch is a generation. Raises InputError for a complete evaluation without accuracy or product."""
        for evaluation in self._proposals.told(evaluations):
            if evaluation.status is Status.COMPLETE:
                self._told.append(self._row(evaluation))
        early = self._proposals.num_told < self._population_size or len(self._told) < FEWEST
        self._stream = iter(self._first) if early else self._later()

    def _row(self, evaluation: Evaluation) -> _Told:
        missing = [name for name in ("accuracy", _PRODUCT) if name not in evaluation.values]
        if missing:
            raise InputError(f"an evaluation must have a value of every objective, missing: {', '.join(missing)}.")
        violation = sum(evaluation.violations)
        if evaluation.details is not None:
            violation += own_violation(evaluation.details)
        # Products span orders of magnitude: their logarithm has the same front and is easier to predict.
        product = math.log(max(evaluation.values[_PRODUCT], sys.float_info.min))
        goals = (1.0 - evaluation.values["accuracy"], product)
        return _Told(self._space.encode(evaluation.architecture), goals, violation)

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._proposals.num_told, purpose])

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

    def _later(self) -> Iterator[Architecture]:
        rng = self._rng(1)
        children = self._children(rng)
        if len(children):
            for place in self._ranked(children):
                yield self._space.decode(tuple(int(gene) for gene in children[place]))
        yield from self._samples(rng)

    def _children(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Distinct unknown children of the best candidates: two-point crossover, then mutation."""
        parents = np.asarray([self._told[place].genes for place in self._best()], dtype=np.int64)
        num_genes = parents.shape[1]
        pairs = rng.integers(len(parents), size=(_CHILDREN_PER_PARENT * self._population_size, 2))
        cuts = np.sort(rng.integers(num_genes + 1, size=(len(pairs), 2)), axis=1)
        places = np.arange(num_genes)
        inside = (places >= cuts[:, :1]) & (places < cuts[:, 1:])
        children = mutate(
            np.where(inside, parents[pairs[:, 1]], parents[pairs[:, 0]]), np.asarray(self._space.cardinalities), rng
        )
        known = {item.genes for item in self._told}
        found: dict[Genes, None] = {}
        for row in children:
            candidate = self._restricted(self._space.decode(tuple(row.tolist())))
            genes = None if candidate is None else self._space.encode(candidate)
            if genes is not None and genes not in known:
                found[genes] = None
        return np.asarray(list(found), dtype=np.int64).reshape(len(found), num_genes)

    def _best(self) -> list[int]:
        """Places of the parents: those that miss bounds least, then front by front."""
        order = ranks(np.asarray([t.goals for t in self._told]), np.asarray([t.violation for t in self._told]))
        return [int(place) for place in np.argsort(order, kind="stable")[: self._population_size]]

    def _ranked(self, children: NDArray[np.int64]) -> list[int]:
        """Places of the children, the most promising first."""
        features = self._features(np.asarray([item.genes for item in self._told]))
        rows = self._features(children)
        goals, doubt = [], np.zeros(len(children))
        for place in range(2):
            values = np.asarray([item.goals[place] for item in self._told])
            found = self._predictors[place].fitted(features, values).predict(rows)
            goals.append(found.mean - _OPTIMISM * found.deviation)
            doubt += found.deviation / (float(values.std()) or 1.0)
        missed = np.asarray([item.violation for item in self._told])
        violation = np.zeros(len(children))
        if missed.any():
            found = self._predictors[2].fitted(features, missed).predict(rows)
            violation = np.maximum(0.0, found.mean - _OPTIMISM * found.deviation)
        order = ranks(np.stack(goals, axis=1), violation)
        return [int(place) for place in np.lexsort((-doubt, order))]


def own_violation(details: Details) -> float:
    """How far a candidate misses the two bounds that the algorithm adds: 0 where it keeps both."""
    early = details.profile.rates[:-1]
    if not early:
        return 0.0
    stages = details.cost.stages
    in_branches = sum(stage.branch_latency_cycles + stage.gap_cycles for stage in stages[:-1])
    overhead = in_branches / stages[-1].latency_to_exit_cycles
    too_few = sum(max(0.0, 1.0 - rate / MIN_EXIT_RATE) for rate in early) / len(early)
    return max(0.0, overhead / MAX_BRANCH_OVERHEAD - 1.0) + too_few


def ranks(goals: NDArray[np.float64], violations: NDArray[np.float64]) -> NDArray[np.int64]:
    """Constrained domination: fronts of those that keep all bounds first, then the others by how far they miss.

    Source: Deb et al. 2002, NSGA-II, section VI.
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
