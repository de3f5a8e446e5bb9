"""The loop that EDANAS, NACHOS and AEBNAS share: first random candidates, then NSGA-II on predictors.

Source: Lu, Deb, Goodman, Banzhaf and Boddeti, "NSGANetV2: Evolutionary Multi-Objective Surrogate-Assisted Neural
Architecture Search", ECCV 2020, section 3, which the three adopted (docs/concepts/peers.md).
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.algorithm import PATIENCE, Proposals, Rewindable
from offramp.algorithms.nsga2 import mutate
from offramp.algorithms.predictors import MIN_ROWS, Features, PredictorSeries
from offramp.errors import InputError
from offramp.numerics.dominance import non_dominated
from offramp.objectives.evaluation import Constraint, Evaluation, Metric, Objective, Status, quality_metric
from offramp.space.architecture import Architecture
from offramp.space.search_space import Genes, SearchSpace

OVER_TARGET = 10.0
"""Penalty of a cost that is twice its target."""


@dataclass(frozen=True)
class SurrogateSettings:
    """Sizes of the loop; the defaults are those of the published code.

    Attributes:
        num_first: Number of random candidates before predictors are used, at least `MIN_ROWS`.
        population: Population of NSGA-II on predictors, at least 4.
        generations: Generations of NSGA-II on predictors, at least 1.
    """

    num_first: int = 100
    population: int = 40
    generations: int = 20


class Recipe(Protocol):
    """The parts in which the algorithms differ."""

    def restrict(self, architecture: Architecture) -> Architecture | None:
        """Map an architecture into the algorithm's part of the space.

        Args:
            architecture: Any member of the space.

        Returns:
            The corresponding member of the algorithm's part; None if there is none.
        """
        ...

    def goals(self, error: NDArray[np.float64], cost: NDArray[np.float64], observed_costs: NDArray[np.float64]) -> Any:
        """Compute what NSGA-II minimises.

        Args:
            error: Errors, 0 to 1, (candidates,).
            cost: Costs, in the unit of the cost metric, (candidates,).
            observed_costs: Measured costs of all evaluated candidates.

        Returns:
            Values to minimise, (candidates, 2).
        """
        ...


def cost_metric(objectives: Sequence[Objective]) -> Metric:
    """Choose the metric that is searched as cost.

    Args:
        objectives: Metrics to optimise.

    Returns:
        MACs, as in the published algorithms, if they are an objective or nothing is minimised; else the first minimised
        metric.
    """
    minimized = [objective.metric for objective in objectives if objective.direction == "minimize"]
    return "macs" if "macs" in minimized or not minimized else minimized[0]


def cost_target(constraints: Sequence[Constraint], metric: Metric) -> float | None:
    """Find the smallest upper bound on a metric.

    Args:
        constraints: Bounds on metrics.
        metric: The metric.

    Returns:
        The bound, in the unit of the metric; None without an upper bound.
    """
    bounds = [item.bound for item in constraints if item.metric == metric and item.relation == "<="]
    return min(bounds, default=None)


def penalised_goals(error: NDArray[np.float64], cost: NDArray[np.float64], target: float | None) -> NDArray[np.float64]:
    """Give error and cost as goals; with a target, costs are relative to it and penalised above it.

    Args:
        error: Errors, 0 to 1, (candidates,).
        cost: Costs, in the unit of the target, (candidates,).
        target: The upper bound on the cost; None without one.

    Returns:
        Values to minimise, (candidates, 2).
    """
    if target is None:
        return np.stack([error, cost], axis=1)
    relative = cost / target
    return np.stack([error, relative + OVER_TARGET * np.maximum(0.0, relative - 1.0)], axis=1)


@dataclass(frozen=True)
class _Observation:
    genes: Genes
    error: float
    cost: float


class SurrogateSearch:
    """The shared loop. After the first candidates, proposals depend on space, seed and evaluations alone."""

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        seed: int,
        recipe: Recipe,
        settings: SurrogateSettings,
    ) -> None:
        """Start a search.

        Args:
            space: The search space.
            objectives: Metrics to optimise; they decide the cost metric and the measure of accuracy.
            seed: Seed of all randomness.
            recipe: The parts in which the algorithm differs from the others.
            settings: Sizes of the loop.

        Raises:
            InputError: A size is too small.
        """
        if settings.num_first < MIN_ROWS or settings.population < 4 or settings.generations < 1:
            raise InputError(
                f"`num_first` must be at least {MIN_ROWS}, `population` 4 and `generations` 1, got {settings}."
            )
        self._space = space
        self._seed = seed
        self._recipe = recipe
        self._settings = settings
        self._metric = cost_metric(objectives)
        self._quality = quality_metric(objectives)
        self._features = Features(space.cardinalities)
        self._proposals = Proposals()
        self._observations: list[_Observation] = []
        self._predictors = PredictorSeries(seed), PredictorSeries(seed)
        self._first = Rewindable(self._samples(self._rng(0)))
        self._stream = iter(self._first)

    def ask(self, count: int) -> list[Architecture]:
        """Propose up to ``count`` new architectures; fewer when no new ones are left."""
        return self._proposals.take(self._stream, count)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Record evaluations; predictors do not learn from failed ones.

        Raises:
            InputError: A complete evaluation lacks the accuracy or the cost metric.
        """
        for evaluation in self._proposals.record(evaluations):
            if evaluation.status is Status.COMPLETE:
                self._observations.append(self._row(evaluation))
        early = self._proposals.num_evaluations < self._settings.num_first or len(self._observations) < MIN_ROWS
        self._stream = iter(self._first) if early else self._model_based()

    def _row(self, evaluation: Evaluation) -> _Observation:
        missing = [name for name in (self._quality, self._metric) if name not in evaluation.values]
        if missing:
            raise InputError(f"an evaluation must have a value of every objective, missing: {', '.join(missing)}.")
        values = evaluation.values
        return _Observation(
            self._space.encode(evaluation.architecture), 1.0 - values[self._quality], values[self._metric]
        )

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._proposals.num_evaluations, purpose])

    def _samples(self, rng: np.random.Generator) -> Iterator[Architecture]:
        """Random members of the algorithm's part of the space; ends if there seem to be none."""
        misses = 0
        while misses < PATIENCE:
            candidate = self._recipe.restrict(self._space.sample(rng))
            misses = misses + 1 if candidate is None else 0
            if candidate is not None:
                yield candidate

    def _model_based(self) -> Iterator[Architecture]:
        """Candidates that the predictors favour, evenly spread over the cost; then random ones."""
        rng = self._rng(1)
        genes = self._evolved(rng, _Surrogate(self))
        yield from (self._space.decode(tuple(int(gene) for gene in row)) for row in genes)
        yield from self._samples(rng)

    def _evolved(self, rng: np.random.Generator, surrogate: "_Surrogate") -> NDArray[np.int64]:
        """Genes of the last population: its front in the order of evaluation, then the others."""
        first = self._population(surrogate, rng)
        population = _evolve(first, surrogate, self._space.cardinalities, self._settings, rng)
        known = {item.genes for item in self._observations}
        unknown = [row for row in population if tuple(row.tolist()) not in known]
        if not unknown:
            return np.empty((0, len(self._space.cardinalities)), dtype=np.int64)
        rows = np.unique(np.asarray(unknown, dtype=np.int64), axis=0)
        goals = surrogate.goals(rows)
        observed = surrogate.observed_goals
        best = non_dominated(goals)
        order = [*_farthest_first(goals[best, 1], observed[non_dominated(observed), 1]), *range(int((~best).sum()))]
        front = int(best.sum())
        return np.concatenate([rows[best][order[:front]], rows[~best][order[front:]]])

    def _population(self, surrogate: "_Surrogate", rng: np.random.Generator) -> NDArray[np.int64]:
        """The front of the evaluated candidates, filled up with random ones."""
        best = np.flatnonzero(non_dominated(surrogate.observed_goals))[: self._settings.population]
        rows = [self._observations[int(index)].genes for index in best]
        stream = self._samples(rng)
        while len(rows) < self._settings.population:
            candidate = next(stream, None)
            if candidate is None:
                break
            rows.append(self._space.encode(candidate))
        return np.asarray(rows, dtype=np.int64)

    def canonical(self, genes: NDArray[np.integer]) -> Genes | None:
        """Map genes into the algorithm's part of the space.

        Args:
            genes: Genes, (genes,).

        Returns:
            Canonical genes of the corresponding candidate; None if there is none.
        """
        candidate = self._recipe.restrict(self._space.decode(tuple(int(gene) for gene in genes)))
        return None if candidate is None else self._space.encode(candidate)


class _Surrogate:
    """The predictors of one generation; ``observed_goals`` are the goals that were measured."""

    def __init__(self, search: SurrogateSearch) -> None:
        self._search = search
        observations = search._observations
        rows = np.asarray([item.genes for item in observations])
        error, self._costs = (
            np.asarray([item.error for item in observations]),
            np.asarray([item.cost for item in observations]),
        )
        features = search._features(rows)
        series = search._predictors
        self._error = series[0].fitted(features, error)
        # Costs span orders of magnitude: their logarithm ranks them alike and is easier to predict.
        self._log_cost = series[1].fitted(features, np.log(np.maximum(self._costs, sys.float_info.min)))
        self.observed_goals: NDArray[np.float64] = search._recipe.goals(error, self._costs, self._costs)

    def repaired(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Every row as it would be evaluated, so that predictions are made for the evaluated candidates."""
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
    # pymoo imports matplotlib and more, so it is imported only when a search starts.
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


def _farthest_first(costs: NDArray[np.float64], taken: NDArray[np.float64]) -> list[int]:
    """Order in which each cost lies farthest from all before it, so that every beginning is evenly spread."""
    order: list[int] = []
    distance = np.abs(costs[:, None] - taken[None, :]).min(axis=1) if len(taken) else np.full(len(costs), np.inf)
    for _ in range(len(costs)):
        place = int(distance.argmax())
        order.append(place)
        distance = np.minimum(distance, np.abs(costs - costs[place]))
        distance[order] = -1.0
    return order
