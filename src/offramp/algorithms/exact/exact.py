"""Exact search: all exits, branches and operating points of a backbone are solved from one forward pass.

The outer search over backbones is evolutionary and led by predictors; the inner one is exact (exit_enumeration.py). A
space with one backbone needs one pass: the algorithm proposes the front and ends.
"""

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.algorithm import ALGORITHMS, PATIENCE, AlgorithmFactory, HasStartingPoints, Proposals
from offramp.algorithms.exact.backbone_solver import BackboneSolver
from offramp.algorithms.nsga2 import Nsga2, mutate
from offramp.algorithms.predictors import REGRESSORS, Features
from offramp.exits.quality.quality_measures import ACCURACY
from offramp.objectives.evaluation import Constraint, Evaluation, Metric, Objective, is_quality
from offramp.objectives.pareto import ParetoFront, least_violating, pareto_front
from offramp.space.architecture import Architecture
from offramp.space.search_space import SearchSpace

_NUM_COST_LEVELS = 6
_POOL_SIZE = 64
_RANDOM_SHARE = 0.2
_MIN_SOLVED_BACKBONES = 6
_MAX_FIRST_CANDIDATES = 16
"""Largest number of candidates of one backbone before all backbones are solved."""
_MIN_FIRST_CANDIDATES = 8
"""Each backbone gets so many of the candidates that were evaluated for it, those of its own front first.

So the record shows what it offers, and the number of evaluations says what the search cost.
"""
_BACKBONES_AT_ONCE = 8
"""Backbones that are chosen together. It is no setting of the workers: their number must not change the proposals."""

_WITHOUT_TABLES = (
    "Exits could not be solved from cached outputs (this is impossible for networks that are evaluated quantised or on "
    "analog cores), so NSGA-II chose the candidates."
)
_OTHER_MEASURE = "exact solves for accuracy alone, and this search goes by {}, so NSGA-II chose the candidates."
_INCOMPLETE = (
    "{some} of {all} backbones have too many sets of exits to check all of them. For these, the most promising sets "
    "were extended (beam search), and better ones may exist. A smaller space.max_exits makes the search complete."
)


class Exact:
    """Searches backbones and solves their exits exactly.

    It needs a solver of backbones (`use_solver`); without one it proposes what NSGA-II does, and also where objectives
    or constraints name another measure of good answers than accuracy. The sequence of backbones depends on the space,
    the seed and the solutions alone.
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
        self._metrics: list[Metric] = [o.metric for o in objectives if o.direction == "minimize"]
        named = [*(o.metric for o in objectives), *(c.metric for c in constraints)]
        self._other_measure = next((item for item in named if is_quality(item) and item != ACCURACY), None)
        self._seed = seed
        self._features = Features(space.cardinalities)
        self._without_tables = Nsga2(space, objectives, constraints, seed)
        self._solver: BackboneSolver | None = None
        self._proposals = Proposals()
        self._offers: Iterator[list[Architecture]] | None = None
        self._queue: Iterator[Architecture] = iter(())
        self._offered: list[list[Architecture]] = []
        self._planned: deque[Architecture] = deque()
        self._solved: dict[Architecture, tuple[Evaluation, ...]] = {}
        self._front: ParetoFront = pareto_front([], objectives)
        self._num_incomplete = 0
        self._statics: tuple[Evaluation, ...] = ()

    def use_solver(self, solver: BackboneSolver) -> None:
        """Solve backbones with this solver; call it before the first `ask`."""
        self._solver = solver if self._other_measure is None else None

    @property
    def remarks(self) -> tuple[str, ...]:
        """States where the search was not exact."""
        if self._solver is None:
            return (_OTHER_MEASURE.format(self._other_measure) if self._other_measure else _WITHOUT_TABLES,)
        if self._num_incomplete:
            return (_INCOMPLETE.format(some=self._num_incomplete, all=len(self._solved)),)
        return ()

    @property
    def statics(self) -> tuple[Evaluation, ...]:
        """The evaluations of the static networks of all solved backbones."""
        return self._statics

    def ask(self, count: int) -> list[Architecture]:
        """Propose up to ``count`` new architectures; none once all backbones are solved and their fronts proposed.

        All belong to one backbone: solving takes long, and the caller can check the time limit between calls.
        """
        if self._solver is None:
            return self._without_tables.ask(count)
        if self._offers is None:
            self._offers, self._queue = self._all_offers(self._solver), iter(())
        while not (found := self._proposals.take(self._queue, count)):
            candidates = next(self._offers, None)
            if candidates is None:
                break
            self._queue = iter(candidates)
        return found

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Record evaluations, so that their candidates are not proposed again."""
        if self._solver is None:
            self._without_tables.tell(evaluations)
            return
        self._proposals.record(evaluations)
        self._offers = None

    def _all_offers(self, solver: BackboneSolver) -> Iterator[list[Architecture]]:
        """Candidates backbone by backbone, from the first one on; in the end all of the joint front.

        No backbone gets more than a few candidates before all are solved, so that one large front does not use up a
        search.
        """
        yield from self._offered
        while (backbone := self._next_backbone(solver)) is not None:
            self._offered.append(self._offer(solver, backbone))
            yield self._offered[-1]
        yield [member.architecture for member in self._front]

    def _offer(self, solver: BackboneSolver, backbone: Architecture) -> list[Architecture]:
        """Solve a backbone and select its candidates: of the joint front so far, then of its own front, then others."""
        solution = solver.solve(backbone)
        found = () if solution is None else solution.evaluations
        self._num_incomplete += solution is not None and not solution.complete
        self._solved[backbone] = found
        self._statics += () if solution is None else solution.statics
        if not found:
            # The evaluation of the backbone states what is wrong with it.
            return [backbone]
        self._front = pareto_front([*self._front, *found], self._objectives)
        joint = [m.architecture for m in self._front if m.architecture.without_exits() == backbone]
        chosen = _spread(joint, _MAX_FIRST_CANDIDATES)
        if len(chosen) >= _MIN_FIRST_CANDIDATES:
            return chosen
        own = [member.architecture for member in pareto_front(found, self._objectives)]
        nearest = least_violating(found)
        if nearest is not None and not own:
            own = [nearest.architecture]
        for more in (own, [item.architecture for item in found]):
            others = [item for item in more if item not in chosen]
            chosen += _spread(others, _MIN_FIRST_CANDIDATES - len(chosen))
        return chosen

    def _next_backbone(self, solver: BackboneSolver) -> Architecture | None:
        """The next backbone of the plan. An empty plan is filled again; None once there are no new backbones."""
        if not self._planned:
            self._planned.extend(self._plan())
            solver.prepare(tuple(self._planned))
        return self._planned.popleft() if self._planned else None

    def _plan(self) -> list[Architecture]:
        """Starting points first; then the most promising ones among children of the front and random ones."""
        if isinstance(self._space, HasStartingPoints) and not self._solved:
            return list(dict.fromkeys(point.without_exits() for point in self._space.starting_points()))
        pool = self._pool(np.random.default_rng([self._seed, len(self._solved)]))
        num_first = _MIN_SOLVED_BACKBONES - len(self._solved)
        known = [backbone for backbone, found in self._solved.items() if found]
        if num_first > 0 or not known:
            return pool[: min(max(num_first, 1), _BACKBONES_AT_ONCE)]
        order = np.argsort(-self._expected_gain(pool, known), kind="stable") if len(pool) > 1 else range(len(pool))
        return [pool[int(place)] for place in order[:_BACKBONES_AT_ONCE]]

    def _pool(self, rng: np.random.Generator) -> list[Architecture]:
        """New backbones: children of those on the joint front, and random ones."""
        parents = list(dict.fromkeys(member.architecture.without_exits() for member in self._front))
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
            new = child not in self._solved and child not in pool
            misses = 0 if new else misses + 1
            if new:
                pool[child] = None
        return list(pool)

    def _expected_gain(self, pool: Sequence[Architecture], known: Sequence[Architecture]) -> NDArray[np.float64]:
        """Gain in accuracy over the known backbones, optimistic by one deviation, summed over levels of cost."""
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


def _spread(candidates: Sequence[Architecture], most: int) -> list[Architecture]:
    """At most so many candidates, evenly spread, both ends included."""
    places = np.linspace(0, len(candidates) - 1, min(len(candidates), max(most, 0))).round()
    return [candidates[int(place)] for place in places]


ALGORITHMS.add(
    "exact", AlgorithmFactory("runs a backbone once and solves its exits, branches and thresholds exactly", Exact)
)
