"""NSGA-II: better than random, true to its operators, and robust against bad news."""

import numpy as np
import pytest

from offramp.algorithms.nsga2 import Nsga2, mutate
from offramp.algorithms.random_search import RandomSearch
from offramp.errors import InputError
from offramp.objectives.evaluation import Constraint, Evaluation, Objective, SearchAlgorithm, Status
from offramp.objectives.pareto import pareto_front, values_to_minimize
from offramp.objectives.parse import DEFAULT_OBJECTIVES
from offramp.space.architecture import Architecture
from offramp.testing.algorithm_conformance import FailingEvaluator, advance
from offramp.testing.toys import ToyEvaluator, small_space, tiny_space, true_front

ACCURACY_MACS = (Objective("accuracy", "maximize"), Objective("macs", "minimize"))


def search(seed: int = 0, constraints: tuple[Constraint, ...] = (), population_size: int = 24) -> Nsga2:
    return Nsga2(small_space(), DEFAULT_OBJECTIVES, constraints, seed, population_size)


def evaluations_of(algorithm: SearchAlgorithm, evaluator: ToyEvaluator, count: int) -> list[Evaluation]:
    return [item for batch in advance(algorithm, evaluator, (20,) * (count // 20)) for item in batch]


@pytest.mark.parametrize("seed", range(5))
def test_it_finds_a_larger_hypervolume_than_random_search(seed: int) -> None:
    space, evaluator = small_space(), ToyEvaluator()
    largest = evaluator.evaluate(space.max_architecture()).values
    reference = [0.0, 1.2 * largest["energy_pj"], 1.2 * largest["latency_cycles"]]
    volumes = [
        pareto_front(evaluations_of(algorithm, evaluator, 200), DEFAULT_OBJECTIVES).hypervolume(reference)
        for algorithm in (search(seed), RandomSearch(space, DEFAULT_OBJECTIVES, (), seed))
    ]
    assert volumes[0] > 1.005 * volumes[1]


@pytest.mark.parametrize("algorithm", [Nsga2, RandomSearch])
def test_it_and_random_search_reach_the_true_front_of_a_tiny_space(algorithm: type[Nsga2] | type[RandomSearch]) -> None:
    space, evaluator = tiny_space(), ToyEvaluator()
    goal = true_front(space, evaluator, ACCURACY_MACS)
    told = evaluations_of(algorithm(space, ACCURACY_MACS, (), 0), evaluator, space.size)
    found = pareto_front(told, ACCURACY_MACS)
    points = values_to_minimize(goal.evaluations, ACCURACY_MACS)
    assert values_to_minimize(found.evaluations, ACCURACY_MACS).tolist() == points.tolist()


def test_the_first_candidates_are_the_starting_points() -> None:
    space = small_space()
    first = search().ask(24)
    points = space.starting_points()
    assert first[: len(points)] == list(points)
    assert len(set(first)) == 24


def test_constraints_pull_the_population_into_the_feasible_part() -> None:
    """About 1 in 200 random candidates keeps both bounds; of the later generations many more do."""
    bounds = (Constraint("accuracy", ">=", 0.9), Constraint("macs", "<=", 200_000.0))
    told = advance(search(constraints=bounds), ToyEvaluator(bounds), (20,) * 20)
    feasible = [np.mean([item.feasible for item in batch]) for batch in told]
    rng = np.random.default_rng(0)
    random_share = np.mean([ToyEvaluator(bounds).evaluate(small_space().sample(rng)).feasible for _ in range(600)])
    assert np.mean(feasible[-5:]) > 0.1 > 10 * random_share


def test_failed_candidates_do_not_breed() -> None:
    """All candidates at resolution 32 fail: their share among the children falls."""

    class FailsAt32(ToyEvaluator):
        def evaluate(self, architecture: Architecture) -> Evaluation:
            if architecture.resolution == 32:
                return FailingEvaluator().evaluate(architecture)
            return super().evaluate(architecture)

    told = advance(search(), FailsAt32(), (24,) * 12)
    failed = [np.mean([item.status is Status.FAILED for item in batch]) for batch in told]
    assert failed[0] > 0.3
    assert np.mean(failed[-4:]) < 0.15


def test_an_unexpected_or_repeated_tell_is_taken_in() -> None:
    """Told about candidates it never asked for, some of them twice, some alone."""
    space, evaluator, algorithm = small_space(), ToyEvaluator(), search(population_size=4)
    rng = np.random.default_rng(9)
    strangers = [evaluator.evaluate(space.sample(rng)) for _ in range(6)]
    algorithm.tell(strangers[:1])
    algorithm.tell([])
    algorithm.tell([strangers[0], *strangers, strangers[1]])
    asked = algorithm.ask(30)
    assert len(set(asked)) == 30
    assert not set(asked) & {item.architecture for item in strangers}


def test_asking_before_anything_is_told_goes_beyond_the_first_population() -> None:
    assert len(set(search(population_size=4).ask(50))) == 50


def test_evaluations_that_do_not_fit_are_refused() -> None:
    member = small_space().max_architecture()
    bounds = (Constraint("macs", "<=", 1e6),)
    with pytest.raises(InputError, match=r"one violation per constraint \(1\), got 0 violations"):
        search(constraints=bounds).tell([ToyEvaluator().evaluate(member)])
    with pytest.raises(InputError, match=r"missing values: \['energy_pj', 'latency_cycles'\]"):
        search().tell([Evaluation(member, Status.COMPLETE, {"accuracy": 0.5})])
    with pytest.raises(InputError, match="must have 3 stages, got 2"):
        search().tell([ToyEvaluator().evaluate(tiny_space().max_architecture())])
    with pytest.raises(InputError, match="`population_size` must be at least 2"):
        search(population_size=1)


@pytest.mark.parametrize("objectives", [DEFAULT_OBJECTIVES[:1], DEFAULT_OBJECTIVES[1:]])
def test_one_objective_or_none_on_accuracy(objectives: tuple[Objective, ...]) -> None:
    told = advance(Nsga2(small_space(), objectives, (), 0), ToyEvaluator(), (20,) * 8)
    first, last = (
        np.mean([objectives[0].to_minimize(i.values[objectives[0].metric]) for i in told[k]]) for k in (0, -1)
    )
    assert last < first


def test_mutation_changes_a_gene_or_more_and_stays_in_range() -> None:
    cardinalities = np.asarray([1, 2, 3, 5, 1, 9])
    rng = np.random.default_rng(0)
    parents = np.stack([rng.integers(0, cardinalities) for _ in range(4000)])
    children = mutate(parents, cardinalities, rng)
    changed = children != parents
    assert (changed.sum(axis=1) >= 1).all()
    assert changed.sum(axis=1).mean() < 2.2
    assert not changed[:, [0, 4]].any()
    assert ((children >= 0) & (children < cardinalities)).all()
    assert set(children[:, 5]) == set(range(9))
    # Neighbouring values come up more often than far ones.
    steps = np.abs(children - parents)[:, 5]
    assert (steps == 1).sum() > 3 * (steps == 2).sum()


def test_mutation_of_a_space_without_choices_changes_nothing() -> None:
    genes = np.zeros((3, 4), dtype=int)
    assert (mutate(genes, np.ones(4, dtype=int), np.random.default_rng(0)) == genes).all()
