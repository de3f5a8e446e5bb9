"""Exact: for every backbone that is run, all exits, branches and operating points are solved from one forward pass.

The outer search over backbones is evolutionary, led by predictors; the inner one is exact (exit_enumeration.py). A
space with one backbone is solved by one pass: the algorithm then proposes the front and ends.
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

_LEVELS = 6
_POOL = 64
_SHARE_OF_RANDOM = 0.2
_FEWEST_TO_LEARN_FROM = 6
_AT_FIRST = 16
"""Most candidates of one backbone before all backbones are solved."""

_WITHOUT_TABLES = (
    "Exits could not be solved from cached answers here (those of networks that are judged quantised or on analog "
    "cores cannot), so NSGA-II chose the candidates."
)
_INCOMPLETE = (
    "{some} of {all} backbones have too many sets of exits to look at all of them: there the most promising ones were "
    "extended (beam search), and better ones may exist. A smaller space.max_exits makes the search complete."
)


class Exact:
    """Needs the tables of an evaluator (`use_tables`); without them it proposes what NSGA-II does.

    What it proposes is a function of the space, the seed, what it was told, and the tables, which are themselves
    functions of their backbones.
    """

    def __init__(
        self, space: SearchSpace, objectives: Sequence[Objective], constraints: Sequence[Constraint], seed: int
    ) -> None:
        self._space = space
        self._objectives = tuple(objectives)
        self._columns = cost_columns(objectives, constraints)
        self._metrics: list[Metric] = [o.metric for o in objectives if o.direction == "minimize"]
        self._seed = seed
        self._features = Features(space.cardinalities)
        self._without_tables = Nsga2(space, objectives, constraints, seed)
        self._tables: ExitTables | None = None
        self._proposals = Proposals()
        self._told: list[Evaluation] = []
        self._backbones: Iterator[list[Architecture]] | None = None
        self._waiting: Iterator[Architecture] = iter(())
        self._solved: dict[Architecture, tuple[Evaluation, ...]] = {}
        self._num_incomplete = 0

    def use_tables(self, tables: ExitTables) -> None:
        """Solve backbones from these tables; to be called before the first ask."""
        self._tables = tables if isinstance(self._space, HasExitChoices) else None

    @property
    def remarks(self) -> tuple[str, ...]:
        """Where the search was not the exact one."""
        if self._tables is None:
            return (_WITHOUT_TABLES,)
        if self._num_incomplete:
            return (_INCOMPLETE.format(some=self._num_incomplete, all=len(self._solved)),)
        return ()

    def ask(self, count: int) -> list[Architecture]:
        """Up to ``count`` new architectures, none when all backbones are solved and their fronts proposed.

        They are of one backbone, as solving takes long: whoever asks can look at the clock in between.
        """
        if self._tables is None:
            return self._without_tables.ask(count)
        if self._backbones is None:
            self._backbones, self._waiting = self._candidates(self._tables), iter(())
        while not (found := self._proposals.take(self._waiting, count)):
            candidates = next(self._backbones, None)
            if candidates is None:
                break
            self._waiting = iter(candidates)
        return found

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Candidates of backbones that were not solved yet count as well: theirs are solved first."""
        if self._tables is None:
            self._without_tables.tell(evaluations)
            return
        self._told += self._proposals.told(evaluations)
        self._backbones = None

    def _candidates(self, tables: ExitTables) -> Iterator[list[Architecture]]:
        """Backbone by backbone: members of the joint front of all that are solved, then of ever more backbones.

        No backbone has more than a few before all are solved, so that a front of very many does not use up a search.
        """
        rng = np.random.default_rng([self._seed, self._proposals.num_told])
        opened = dict.fromkeys(e.architecture.without_exits() for e in self._told if e.status is Status.COMPLETE)
        failed = {e.architecture.without_exits() for e in self._told if e.status is Status.FAILED}
        told = Counter(e.architecture.without_exits() for e in self._told)
        known = list(self._told)
        for each in opened:
            known += self._solution(tables, each)
        front = pareto_front(known, self._objectives)
        members = _by_backbone(front)
        for each in opened:
            yield _spread(members[each], _AT_FIRST - told[each])
        while (backbone := self._next_backbone(rng, opened, failed)) is not None:
            opened[backbone] = None
            found = self._solution(tables, backbone)
            if not found:
                # Its evaluation will say what is wrong with it.
                yield [backbone]
                continue
            known += found
            front = pareto_front([*front, *found], self._objectives)
            nearest = least_violating(found)
            own = _by_backbone(front)[backbone] or ([] if nearest is None else [nearest.architecture])
            yield _spread(own, _AT_FIRST)
        yield [member.architecture for member in front]

    def _solution(self, tables: ExitTables, backbone: Architecture) -> tuple[Evaluation, ...]:
        """Evaluations of all candidates of one backbone that matter, the same each time."""
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
        self, rng: np.random.Generator, opened: dict[Architecture, None], failed: set[Architecture]
    ) -> Architecture | None:
        """Starting points first; then the most promising of changed members of the front and random ones."""
        if isinstance(self._space, HasStartingPoints):
            for point in self._space.starting_points():
                if point.without_exits() not in opened and point.without_exits() not in failed:
                    return point.without_exits()
        pool = self._pool(rng, opened, failed)
        if len(pool) < 2 or len(opened) < _FEWEST_TO_LEARN_FROM:
            return pool[0] if pool else None
        return pool[int(self._promise(pool, list(opened)).argmax())]

    def _pool(
        self, rng: np.random.Generator, opened: dict[Architecture, None], failed: set[Architecture]
    ) -> list[Architecture]:
        """New backbones: children of those on the joint front, and random ones."""
        front = pareto_front([e for b in opened for e in self._solved.get(b, ())], self._objectives)
        parents = list(dict.fromkeys(member.architecture.without_exits() for member in front))
        cardinalities = np.asarray(self._space.cardinalities)
        pool: dict[Architecture, None] = {}
        misses = 0
        while len(pool) < _POOL and misses < min(PATIENCE, 20 * _POOL):
            if not parents or rng.random() < _SHARE_OF_RANDOM:
                child = self._space.sample(rng).without_exits()
            else:
                pair = rng.integers(len(parents), size=2)
                genes = [np.asarray(self._space.encode(parents[place])) for place in pair]
                mixed = np.where(rng.random(len(cardinalities)) < 0.5, genes[0], genes[1])
                child = self._space.decode(tuple(mutate(mixed[None], cardinalities, rng)[0].tolist())).without_exits()
            new = child not in opened and child not in failed and child not in pool
            misses = 0 if new else misses + 1
            if new:
                pool[child] = None
        return list(pool)

    def _promise(self, pool: Sequence[Architecture], opened: Sequence[Architecture]) -> NDArray[np.float64]:
        """How much accuracy each may gain over what is known, summed over levels of cost; hopeful where unsure."""
        known = [backbone for backbone in opened if self._solved.get(backbone)]
        points = [self._points(backbone) for backbone in known]
        levels = np.quantile(np.concatenate([costs for costs, _ in points]), np.linspace(0.1, 1.0, _LEVELS))
        reached = np.asarray(
            [[accuracy[costs <= level].max(initial=0.0) for level in levels] for costs, accuracy in points]
        )
        features = self._features(np.asarray([self._space.encode(backbone) for backbone in known]))
        rows = self._features(np.asarray([self._space.encode(backbone) for backbone in pool]))
        # One forest for all levels: its trees have one answer per level.
        regressor = REGRESSORS.get("extra_trees")(self._seed)
        regressor.fit(features, reached)
        found = regressor.predict(rows)
        promise: NDArray[np.float64] = np.maximum(0.0, found.mean + found.deviation - reached.max(axis=0)).sum(axis=1)
        # Where nothing promises a gain, the order of the pool decides.
        return promise

    def _points(self, backbone: Architecture) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Cost (all costs to be minimized multiplied) and accuracy of a backbone's candidates."""
        values = [evaluation.values for evaluation in self._solved[backbone]]
        metrics = self._metrics or ["energy_delay_product_j_cycles"]
        costs = [float(np.prod([item[metric] for metric in metrics])) for item in values]
        return np.asarray(costs), np.asarray([item["accuracy"] for item in values])


def _by_backbone(front: ParetoFront) -> defaultdict[Architecture, list[Architecture]]:
    """Members of the front that share a backbone, in the front's order; none for other backbones."""
    members: defaultdict[Architecture, list[Architecture]] = defaultdict(list)
    for evaluation in front:
        members[evaluation.architecture.without_exits()].append(evaluation.architecture)
    return members


def _spread(candidates: Sequence[Architecture], most: int) -> list[Architecture]:
    """At most so many, evenly spread, both ends among them."""
    places = np.linspace(0, len(candidates) - 1, min(len(candidates), max(most, 0))).round()
    return [candidates[int(place)] for place in places]


ALGORITHMS.add(
    "exact", AlgorithmFactory("runs a backbone once and solves its exits, branches and thresholds exactly", Exact)
)
