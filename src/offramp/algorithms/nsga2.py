"""NSGA-II on genes, with pymoo's ranking, crowding distance and selection."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.algorithm import (
    ALGORITHMS,
    AlgorithmFactory,
    HasStartingPoints,
    Proposals,
    Rewindable,
    samples,
)
from offramp.errors import InputError
from offramp.objectives.evaluation import Constraint, Evaluation, Objective, Status
from offramp.space.architecture import Architecture
from offramp.space.search_space import SearchSpace

FAILED_VIOLATION = 1e12
"""Violation of a candidate whose evaluation failed: larger than any violation of a bound."""

_STEP_SHARE = 0.5
_MAX_EMPTY_ROUNDS = 20


class Nsga2:
    """NSGA-II with pymoo's selection.

    The first ``population_size`` candidates are starting points of the space, if it has any, and random ones. Each
    batch of
    evaluations is one generation, whatever its size. All randomness of a generation depends on the seed and the number
    of
    evaluations so far, so a replay of the evaluations gives the same proposals.

    Source: Deb et al., A fast and elitist multiobjective genetic algorithm: NSGA-II, 2002.
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
            objectives: Metrics to optimise.
            constraints: Bounds on metrics.
            seed: Seed of all randomness.
            population_size: Size of the population, at least 2.

        Raises:
            InputError: The population is too small.
        """
        if population_size < 2:
            raise InputError(f"`population_size` must be at least 2, got {population_size}.")
        self._space = space
        self._objectives = tuple(objectives)
        self._num_constraints = len(constraints)
        self._seed = seed
        self._population_size = population_size
        self._proposals = Proposals()
        first = space.starting_points() if isinstance(space, HasStartingPoints) else ()
        self._initial = Rewindable(chain(first[: population_size // 2], samples(space, self._rng(0))))
        self._algorithm = self._pymoo_algorithm()
        self._stream = iter(self._initial)

    def ask(self, count: int) -> list[Architecture]:
        """Propose up to ``count`` new architectures; fewer when no new ones are left."""
        return self._proposals.take(self._stream, count)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Let evaluated candidates compete with the population; failed ones lose against all others.

        Raises:
            InputError: An evaluation lacks an objective, or its number of violations is not that of the constraints.
        """
        rows = [self._row(evaluation) for evaluation in evaluations]
        new = {id(evaluation) for evaluation in self._proposals.record(evaluations)}
        kept = [row for evaluation, row in zip(evaluations, rows, strict=True) if id(evaluation) in new]
        if kept:
            from pymoo.core.population import Population

            genes, values, violations = (np.asarray(column) for column in zip(*kept, strict=True))
            self._algorithm.random_state = self._rng(1)
            self._algorithm.tell(infills=Population.new("X", genes, "F", values, "G", violations))
        if self._proposals.num_evaluations < self._population_size:
            self._stream = iter(self._initial)
        else:
            self._stream = self._offspring(self._rng(2))

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._proposals.num_evaluations, purpose])

    def _row(self, evaluation: Evaluation) -> tuple[tuple[int, ...], list[float], list[float]]:
        """Genes, objectives to minimize, and violations (the last one for failure)."""
        genes = self._space.encode(evaluation.architecture)
        if evaluation.status is not Status.COMPLETE:
            return genes, [0.0] * len(self._objectives), [0.0] * self._num_constraints + [FAILED_VIOLATION]
        missing = [o.metric for o in self._objectives if o.metric not in evaluation.values]
        if missing or len(evaluation.violations) != self._num_constraints:
            raise InputError(
                f"an evaluation must have a value of every objective and one violation per constraint "
                f"({self._num_constraints}), got {len(evaluation.violations)} violations; missing values: {missing}."
            )
        values = [o.to_minimize(evaluation.values[o.metric]) for o in self._objectives]
        return genes, values, [*evaluation.violations, 0.0]

    def _offspring(self, rng: np.random.Generator) -> Iterator[Architecture]:
        """Children of the population, without end; random candidates once mating gives no new ones."""
        seen: set[Architecture] = set()
        empty_rounds = 0
        while empty_rounds < _MAX_EMPTY_ROUNDS:
            before = len(seen)
            # Always a whole generation, so that the first children do not depend on the number that is asked for.
            children = self._algorithm.mating.do(
                self._algorithm.problem,
                self._algorithm.pop,
                self._population_size,
                algorithm=self._with_random_state(rng),
                random_state=rng,
                n_max_iterations=1,
            )
            for genes in children.get("X"):
                child = self._space.decode(tuple(int(gene) for gene in genes))
                if child not in seen:
                    seen.add(child)
                    yield child
            empty_rounds = empty_rounds + 1 if len(seen) == before else 0
        yield from samples(self._space, rng)

    def _with_random_state(self, rng: np.random.Generator) -> Any:
        self._algorithm.random_state = rng
        return self._algorithm

    def _pymoo_algorithm(self) -> Any:
        # pymoo imports matplotlib and more, so it is imported only when a search starts.
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.mutation import Mutation
        from pymoo.core.problem import Problem
        from pymoo.core.termination import NoTermination
        from pymoo.operators.crossover.ux import UniformCrossover

        cardinalities = np.asarray(self._space.cardinalities)

        class GeneMutation(Mutation):  # type: ignore[misc]
            def _do(self, problem: Any, X: Any, *args: Any, random_state: Any = None, **kwargs: Any) -> Any:
                return mutate(X, cardinalities, random_state)

        problem = Problem(
            n_var=len(cardinalities),
            n_obj=len(self._objectives),
            n_ieq_constr=self._num_constraints + 1,
            xl=0,
            xu=cardinalities - 1,
            vtype=int,
        )
        algorithm = NSGA2(
            pop_size=self._population_size,
            crossover=UniformCrossover(prob=0.9),
            mutation=GeneMutation(prob=1.0),
            eliminate_duplicates=False,
        )
        return algorithm.setup(problem, termination=NoTermination(), seed=self._seed)


def mutate(
    genes: NDArray[np.integer], cardinalities: NDArray[np.integer], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Mutate each row in about one gene, and in at least one, to a neighbouring or to any other value.

    Args:
        genes: Genes, (rows, genes).
        cardinalities: Number of choices of each gene, (genes,). Genes with one choice stay.
        rng: Source of randomness.

    Returns:
        The mutated rows.
    """
    result = np.array(genes, dtype=np.int64)
    free = np.flatnonzero(cardinalities > 1)
    if not len(free):
        return result
    chosen = rng.random((len(result), len(free))) < 1.0 / len(free)
    chosen[np.arange(len(result)), rng.integers(len(free), size=len(result))] = True
    count = cardinalities[free]
    old = result[:, free]
    any_other = (old + rng.integers(1, count, size=old.shape)) % count
    steps = np.where(rng.random(old.shape) < 0.5, 1, -1)
    # A step beyond either end is reversed.
    steps = np.where((old + steps < 0) | (old + steps >= count), -steps, steps)
    new = np.where(rng.random(old.shape) < _STEP_SHARE, old + steps, any_other)
    result[:, free] = np.where(chosen, new, old)
    return result


ALGORITHMS.add("nsga2", AlgorithmFactory("NSGA-II: breeds new candidates from the best trade-offs so far", Nsga2))
