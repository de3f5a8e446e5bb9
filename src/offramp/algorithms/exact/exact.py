"""Exact search: all exits, branches and operating points of a backbone are solved from one forward pass.

The outer search over backbones is evolutionary and led by predictors; the inner one is exact (exit_enumeration.py). A
space with one backbone needs one pass: the algorithm proposes the front and ends.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.algorithm import ALGORITHMS, PATIENCE, AlgorithmFactory, HasStartingPoints, Proposals
from offramp.algorithms.exact.exit_solver import cost_columns, solve
from offramp.algorithms.exact.exit_table import ExitTables
from offramp.algorithms.nsga2 import Nsga2, mutate
from offramp.algorithms.predictors import REGRESSORS, Features
from offramp.algorithms.space_restriction import HasExitChoices
from offramp.objectives.evaluation import Constraint, Evaluation, Metric, Objective, Status
from offramp.objectives.pareto import ParetoFront, least_violating, pareto_front
from offramp.space.architecture import Architecture
from offramp.space.search_space import SearchSpace

_NUM_COST_LEVELS = 6
_POOL_SIZE = 64
_RANDOM_SHARE = 0.2
_MIN_SOLVED_BACKBONES = 6
_MAX_FIRST_CANDIDATES = 16
"""Largest number of candidates of one backbone before all backbones are solved."""

_WITHOUT_TABLES = (
    "Exits could not be solved from cached outputs (this is impossible for networks that are evaluated quantised or on "
    "analog cores), so NSGA-II chose the candidates."
)
_INCOMPLETE = (
    "{some} of {all} backbones have too many sets of exits to check all of them. For these, the most promising sets "
    "were extended (beam search), and better ones may exist. A smaller space.max_exits makes the search complete."
)


class Exact:
    """Searches backbones and solves their exits exactly.

    It needs the exit tables of an evaluator (`use_tables`); without them it proposes what NSGA-II does. Proposals
    depend on
    the space, the seed, the evaluations and the tables alone; each table depends on its backbone alone.
    """

    def __init__(
        self, space: SearchSpace, objectives: Sequence[Objective], constraints: Sequence[Constraint], seed: int
    ) -> None:
        """Start a search.

        Args:
            space: The search space.
            objectives: Metrics to optimise.
            constraints: Bounds on metrics.
            seed: Seed of all randomness.
        """
        self._space = space
        self._objectives = tuple(objectives)
        self._columns = cost_columns(objectives, constraints)
        self._metrics: list[Metric] = [o.metric for o in objectives if o.direction == "minimize"]
        self._seed = seed
        self._features = Features(space.cardinalities)
        self._without_tables = Nsga2(space, objectives, constraints, seed)
        self._tables: ExitTables | None = None
        self._proposals = Proposals()
        self._evaluations: list[Evaluation] = []
        self._backbones: Iterator[list[Architecture]] | None = None
        self._queue: Iterator[Architecture] = iter(())
        self._solved: dict[Architecture, tuple[Evaluation, ...]] = {}
        self._num_incomplete = 0

    def use_tables(self, tables: ExitTables) -> None:
        """Solve backbones from these tables; call it before the first `ask`."""
        self._tables = tables if isinstance(self._space, HasExitChoices) else None

    @property
    def remarks(self) -> tuple[str, ...]:
        """States where the search was not exact."""
        if self._tables is None:
            return (_WITHOUT_TABLES,)
        if self._num_incomplete:
            return (_INCOMPLETE.format(some=self._num_incomplete, all=len(self._solved)),)
        return ()

    def ask(self, count: int) -> list[Architecture]:
        """Propose up to ``count`` new architectures; none once all backbones are solved and their fronts proposed.

        All belong to one backbone: solving takes long, and the caller can check the time limit between calls.
        """
        if self._tables is None:
            return self._without_tables.ask(count)
        if self._backbones is None:
            self._backbones, self._queue = self._candidates(self._tables), iter(())
        while not (found := self._proposals.take(self._queue, count)):
            candidates = next(self._backbones, None)
            if candidates is None:
                break
            self._queue = iter(candidates)
        return found

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Record evaluations; backbones of evaluated candidates that are not solved yet are solved first."""
        if self._tables is None:
            self._without_tables.tell(evaluations)
            return
        self._evaluations += self._proposals.record(evaluations)
        self._backbones = None

    def _candidates(self, tables: ExitTables) -> Iterator[list[Architecture]]:
        """Candidates backbone by backbone: members of the joint front of all solved backbones, then of new ones.

        No backbone gets more than a few candidates before all are solved, so that one large front does not use up a
        search.
        """
        rng = np.random.default_rng([self._seed, self._proposals.num_evaluations])
        visited = dict.fromkeys(
            e.architecture.without_exits() for e in self._evaluations if e.status is Status.COMPLETE
        )
        failed = {e.architecture.without_exits() for e in self._evaluations if e.status is Status.FAILED}
        num_proposed = Counter(e.architecture.without_exits() for e in self._evaluations)
        known = list(self._evaluations)
        for each in visited:
            known += self._solution(tables, each)
        front = pareto_front(known, self._objectives)
        members = _by_backbone(front)
        for each in visited:
            yield _spread(members[each], _MAX_FIRST_CANDIDATES - num_proposed[each])
        while (backbone := self._next_backbone(rng, visited, failed)) is not None:
            visited[backbone] = None
            found = self._solution(tables, backbone)
            if not found:
                # The evaluation of the backbone states what is wrong with it.
                yield [backbone]
                continue
            known += found
            front = pareto_front([*front, *found], self._objectives)
            nearest = least_violating(found)
            own = _by_backbone(front)[backbone] or ([] if nearest is None else [nearest.architecture])
            yield _spread(own, _MAX_FIRST_CANDIDATES)
        yield [member.architecture for member in front]

    def _solution(self, tables: ExitTables, backbone: Architecture) -> tuple[Evaluation, ...]:
        """Evaluations of the candidates of one backbone that may be on the front, the same in every call."""
        if backbone not in self._solved:
            table = tables.table(backbone)
            candidates: tuple[Architecture, ...] = ()
            if table is not None and isinstance(self._space, HasExitChoices):
                solution = solve(table, self._space.max_exits, self._space.accuracy_drops, self._columns)
                candidates = solution.candidates
                self._num_incomplete += not solution.complete
            judged = [tables.evaluate(candidate) for candidate in candidates]
            self._solved[backbone] = tuple(item for item in judged if item.status is Status.COMPLETE)
        return self._solved[backbone]

    def _next_backbone(
        self, rng: np.random.Generator, visited: dict[Architecture, None], failed: set[Architecture]
    ) -> Architecture | None:
        """Starting points first; then the most promising one among children of the front and random ones."""
        if isinstance(self._space, HasStartingPoints):
            for point in self._space.starting_points():
                if point.without_exits() not in visited and point.without_exits() not in failed:
                    return point.without_exits()
        pool = self._pool(rng, visited, failed)
        if len(pool) < 2 or len(visited) < _MIN_SOLVED_BACKBONES:
            return pool[0] if pool else None
        return pool[int(self._expected_gain(pool, list(visited)).argmax())]

    def _pool(
        self, rng: np.random.Generator, visited: dict[Architecture, None], failed: set[Architecture]
    ) -> list[Architecture]:
        """New backbones: children of those on the joint front, and random ones."""
        front = pareto_front([e for b in visited for e in self._solved.get(b, ())], self._objectives)
        parents = list(dict.fromkeys(member.architecture.without_exits() for member in front))
        cardinalities = np.asarray(self._space.cardinalities)
        pool: dict[Architecture, None] = {}
        misses = 0
        while len(pool) < _POOL_SIZE and misses < min(PATIENCE, 20 * _POOL_SIZE):
            if not parents or rng.random() < _RANDOM_SHARE:
                child = self._space.sample(rng).without_exits()
            else:
                pair = rng.integers(len(parents), size=2)
                genes = [np.asarray(self._space.encode(parents[place])) for place in pair]
                mixed = np.where(rng.random(len(cardinalities)) < 0.5, genes[0], genes[1])
                child = self._space.decode(tuple(mutate(mixed[None], cardinalities, rng)[0].tolist())).without_exits()
            new = child not in visited and child not in failed and child not in pool
            misses = 0 if new else misses + 1
            if new:
                pool[child] = None
        return list(pool)

    def _expected_gain(self, pool: Sequence[Architecture], visited: Sequence[Architecture]) -> NDArray[np.float64]:
        """Gain in accuracy over the known backbones, optimistic by one deviation, summed over levels of cost."""
        known = [backbone for backbone in visited if self._solved.get(backbone)]
        points = [self._points(backbone) for backbone in known]
        levels = np.quantile(np.concatenate([costs for costs, _ in points]), np.linspace(0.1, 1.0, _NUM_COST_LEVELS))
        reached = np.asarray(
            [[accuracy[costs <= level].max(initial=0.0) for level in levels] for costs, accuracy in points]
        )
        features = self._features(np.asarray([self._space.encode(backbone) for backbone in known]))
        rows = self._features(np.asarray([self._space.encode(backbone) for backbone in pool]))
        # One forest for all levels: its trees have one answer per level.
        regressor = REGRESSORS.get("extra_trees")(self._seed)
        regressor.fit(features, reached)
        found = regressor.predict(rows)
        gain: NDArray[np.float64] = np.maximum(0.0, found.mean + found.deviation - reached.max(axis=0)).sum(axis=1)
        return gain

    def _points(self, backbone: Architecture) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Cost (product of all minimised metrics) and accuracy of the candidates of a backbone."""
        values = [evaluation.values for evaluation in self._solved[backbone]]
        metrics = self._metrics or ["energy_delay_product_j_cycles"]
        costs = [float(np.prod([item[metric] for metric in metrics])) for item in values]
        return np.asarray(costs), np.asarray([item["accuracy"] for item in values])


def _by_backbone(front: ParetoFront) -> defaultdict[Architecture, list[Architecture]]:
    """Members of the front by backbone, in the order of the front."""
    members: defaultdict[Architecture, list[Architecture]] = defaultdict(list)
    for evaluation in front:
        members[evaluation.architecture.without_exits()].append(evaluation.architecture)
    return members


def _spread(candidates: Sequence[Architecture], most: int) -> list[Architecture]:
    """At most so many candidates, evenly spread, both ends included."""
    places = np.linspace(0, len(candidates) - 1, min(len(candidates), max(most, 0))).round()
    return [candidates[int(place)] for place in places]


ALGORITHMS.add(
    "exact", AlgorithmFactory("runs a backbone once and solves its exits, branches and thresholds exactly", Exact)
)
