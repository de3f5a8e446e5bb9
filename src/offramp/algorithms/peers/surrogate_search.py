"""The loop that EDANAS, NACHOS and AEBNAS share: first random candidates, then NSGA-II on predictors.

Source: Lu, Deb, Goodman, Banzhaf and Boddeti, "NSGANetV2: Evolutionary Multi-Objective Surrogate-Assisted Neural
Architecture Search", ECCV 2020, section 3; the peers took it over (docs/concepts/peers.md).
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.algorithm import PATIENCE, Proposals, Rewindable
from offramp.algorithms.nsga2 import mutate
from offramp.algorithms.predictors import FEWEST, Features, PredictorSeries
from offramp.errors import InputError
from offramp.numerics.dominance import non_dominated
from offramp.objectives.evaluation import Constraint, Evaluation, Metric, Objective, Status
from offramp.space.architecture import Architecture
from offramp.space.search_space import Genes, SearchSpace

OVER_TARGET = 10.0
"""What a goal grows by when the cost is twice its target."""


@dataclass(frozen=True)
class SurrogateSettings:
    """``num_first`` random candidates, then generations bred on predictors; sizes as in the peers' code."""

    num_first: int = 100
    population: int = 40
    generations: int = 20


class Recipe(Protocol):
    """What one algorithm of the family does its own way."""

    def restrict(self, architecture: Architecture) -> Architecture | None:
        """The member of the algorithm's own part of the space that stands for this one; None where there is none."""
        ...

    def goals(self, error: NDArray[np.float64], cost: NDArray[np.float64], told_costs: NDArray[np.float64]) -> Any:
        """(candidates, 2) values to minimize from error and cost (candidates,); ``told_costs`` were measured."""
        ...


def cost_metric(objectives: Sequence[Objective]) -> Metric:
    """MACs, as in the peers, where they are an objective or nothing is to be minimized; else the first such metric."""
    minimized = [objective.metric for objective in objectives if objective.direction == "minimize"]
    return "macs" if "macs" in minimized or not minimized else minimized[0]


def cost_target(constraints: Sequence[Constraint], metric: Metric) -> float | None:
    """The lowest upper bound on a metric."""
    bounds = [item.bound for item in constraints if item.metric == metric and item.relation == "<="]
    return min(bounds, default=None)


@dataclass(frozen=True)
class _Told:
    genes: Genes
    error: float
    cost: float


class SurrogateSearch:
    """Everything after the first candidates is a function of the space, the seed and what was told."""

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        seed: int,
        recipe: Recipe,
        settings: SurrogateSettings,
    ) -> None:
        if settings.num_first < FEWEST or settings.population < 4 or settings.generations < 1:
            raise InputError(
                f"`num_first` must be at least {FEWEST}, `population` 4 and `generations` 1, got {settings}."
            )
        self._space = space
        self._seed = seed
        self._recipe = recipe
        self._settings = settings
        self._metric = cost_metric(objectives)
        self._features = Features(space.cardinalities)
        self._proposals = Proposals()
        self._told: list[_Told] = []
        self._predictors = PredictorSeries(seed), PredictorSeries(seed)
        self._first = Rewindable(self._samples(self._rng(0)))
        self._stream = iter(self._first)

    def ask(self, count: int) -> list[Architecture]:
        """Up to ``count`` new architectures; fewer when nothing new is left."""
        return self._proposals.take(self._stream, count)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Failed candidates count as tried and teach the predictors nothing.

        Raises InputError for a complete evaluation without accuracy or the cost that is searched for.
        """
        for evaluation in self._proposals.told(evaluations):
            if evaluation.status is Status.COMPLETE:
                self._told.append(self._row(evaluation))
        early = self._proposals.num_told < self._settings.num_first or len(self._told) < FEWEST
        self._stream = iter(self._first) if early else self._later()

    def _row(self, evaluation: Evaluation) -> _Told:
        missing = [name for name in ("accuracy", self._metric) if name not in evaluation.values]
        if missing:
            raise InputError(f"an evaluation must have a value of every objective, missing: {', '.join(missing)}.")
        values = evaluation.values
        return _Told(self._space.encode(evaluation.architecture), 1.0 - values["accuracy"], values[self._metric])

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._proposals.num_told, purpose])

    def _samples(self, rng: np.random.Generator) -> Iterator[Architecture]:
        """Random members of the algorithm's part of the space; ends where there seem to be none."""
        misses = 0
        while misses < PATIENCE:
            candidate = self._recipe.restrict(self._space.sample(rng))
            misses = misses + 1 if candidate is None else 0
            if candidate is not None:
                yield candidate

    def _later(self) -> Iterator[Architecture]:
        """Candidates that the predictors favour, evenly spread over the cost; then random ones."""
        rng = self._rng(1)
        genes = self._bred(rng, _Surrogate(self))
        yield from (self._space.decode(tuple(int(gene) for gene in row)) for row in genes)
        yield from self._samples(rng)

    def _bred(self, rng: np.random.Generator, surrogate: "_Surrogate") -> NDArray[np.int64]:
        """Genes of the last population's front in the order in which they should be tried, then the others'."""
        first = self._population(surrogate, rng)
        population = _evolve(first, surrogate, self._space.cardinalities, self._settings, rng)
        known = {item.genes for item in self._told}
        unknown = [row for row in population if tuple(row.tolist()) not in known]
        if not unknown:
            return np.empty((0, len(self._space.cardinalities)), dtype=np.int64)
        rows = np.unique(np.asarray(unknown, dtype=np.int64), axis=0)
        goals = surrogate.goals(rows)
        told = surrogate.told_goals
        best = non_dominated(goals)
        order = [*_spread(goals[best, 1], told[non_dominated(told), 1]), *range(int((~best).sum()))]
        front = int(best.sum())
        return np.concatenate([rows[best][order[:front]], rows[~best][order[front:]]])

    def _population(self, surrogate: "_Surrogate", rng: np.random.Generator) -> NDArray[np.int64]:
        """The front of what was told, filled up with random candidates."""
        best = np.flatnonzero(non_dominated(surrogate.told_goals))[: self._settings.population]
        rows = [self._told[int(index)].genes for index in best]
        stream = self._samples(rng)
        while len(rows) < self._settings.population:
            candidate = next(stream, None)
            if candidate is None:
                break
            rows.append(self._space.encode(candidate))
        return np.asarray(rows, dtype=np.int64)

    def canonical(self, genes: NDArray[np.integer]) -> Genes | None:
        """The genes of the candidate that stands for these in the algorithm's part of the space."""
        candidate = self._recipe.restrict(self._space.decode(tuple(int(gene) for gene in genes)))
        return None if candidate is None else self._space.encode(candidate)


class _Surrogate:
    """The predictors of one generation; ``told_goals`` are the goals that were measured."""

    def __init__(self, search: SurrogateSearch) -> None:
        self._search = search
        told = search._told
        rows = np.asarray([item.genes for item in told])
        error, self._costs = np.asarray([t.error for t in told]), np.asarray([t.cost for t in told])
        features = search._features(rows)
        series = search._predictors
        self._error = series[0].fitted(features, error)
        # Costs span orders of magnitude: their logarithm ranks them alike and is easier to predict.
        self._log_cost = series[1].fitted(features, np.log(np.maximum(self._costs, sys.float_info.min)))
        self.told_goals: NDArray[np.float64] = search._recipe.goals(error, self._costs, self._costs)

    def repaired(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Every row as it would be evaluated, so that what is scored is what is tried."""
        found = [self._search.canonical(row) for row in rows]
        return np.asarray([row if new is None else new for row, new in zip(rows, found, strict=True)], dtype=np.int64)

    def goals(self, rows: NDArray[np.integer]) -> NDArray[np.float64]:
        features = self._search._features(rows)
        error, cost = self._error.predict(features).mean, np.exp(self._log_cost.predict(features).mean)
        goals: NDArray[np.float64] = self._search._recipe.goals(error, cost, self._costs)
        return goals


def _evolve(
    first: NDArray[np.int64],
    surrogate: _Surrogate,
    cardinalities: Sequence[int],
    settings: SurrogateSettings,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """The last population of NSGA-II on the predicted goals: integers throughout, repaired before they are scored."""
    # pymoo loads matplotlib and much else: not before a search really starts.
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.mutation import Mutation
    from pymoo.core.problem import Problem
    from pymoo.core.repair import Repair
    from pymoo.operators.crossover.pntx import TwoPointCrossover
    from pymoo.optimize import minimize

    counts = np.asarray(cardinalities)

    class GeneMutation(Mutation):  # type: ignore[misc]
        def _do(self, problem: Any, X: Any, *args: Any, random_state: Any = None, **kwargs: Any) -> Any:
            return mutate(X, counts, random_state)

    class Canonical(Repair):  # type: ignore[misc]
        def _do(self, problem: Any, X: Any, **kwargs: Any) -> Any:
            return surrogate.repaired(X)

    class Predicted(Problem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(n_var=len(counts), n_obj=2, xl=0, xu=counts - 1, vtype=int)

        def _evaluate(self, X: Any, out: Any, *args: Any, **kwargs: Any) -> None:
            out["F"] = surrogate.goals(X)

    algorithm = NSGA2(
        pop_size=max(settings.population, 4),
        sampling=first,
        crossover=TwoPointCrossover(prob=0.9),
        mutation=GeneMutation(prob=1.0),
        repair=Canonical(),
        eliminate_duplicates=True,
    )
    seed = int(rng.integers(2**31))
    result = minimize(Predicted(), algorithm, ("n_gen", settings.generations), seed=seed)
    return np.asarray(result.pop.get("X"), dtype=np.int64)


def _spread(costs: NDArray[np.float64], taken: NDArray[np.float64]) -> list[int]:
    """An order in which each next cost lies farthest from those taken, so that any beginning of it is evenly spread."""
    order: list[int] = []
    distance = np.abs(costs[:, None] - taken[None, :]).min(axis=1) if len(taken) else np.full(len(costs), np.inf)
    for _ in range(len(costs)):
        place = int(distance.argmax())
        order.append(place)
        distance = np.minimum(distance, np.abs(costs - costs[place]))
        distance[order] = -1.0
    return order
