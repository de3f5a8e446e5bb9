"""EDANAS, NACHOS, AEBNAS and the progressive search: what each keeps to, and that its predictors help."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from offramp.algorithms.algorithm import ALGORITHMS, AlgorithmFactory
from offramp.algorithms.peers.aebnas import Aebnas
from offramp.algorithms.peers.edanas import Edanas, EdanasRecipe
from offramp.algorithms.peers.nachos import Nachos, NachosRecipe
from offramp.algorithms.peers.progressive import Progressive, built_in_violation, constrained_ranks
from offramp.algorithms.peers.surrogate_search import SurrogateSearch, SurrogateSettings, cost_metric, cost_target
from offramp.algorithms.random_search import RandomSearch
from offramp.cost.expected import ExpectedCost
from offramp.cost.report import CostReport, StageCost
from offramp.errors import InputError
from offramp.exits.exit_policy import ExitPolicy, ExitProfile
from offramp.objectives.evaluation import Constraint, Details, Evaluation, Objective, SearchAlgorithm, Status
from offramp.objectives.pareto import pareto_front
from offramp.testing.algorithm_conformance import advance, check_members, check_replay
from offramp.testing.toys import ToyEvaluator, small_space

OBJECTIVES = (Objective("accuracy", "maximize"), Objective("macs", "minimize"))
PRODUCT = (Objective("accuracy", "maximize"), Objective("energy_delay_product_j_cycles", "minimize"))
SMALL = SurrogateSettings(num_first=24, population=20, generations=8)
# For checks that hold however long the predictors search.
BRIEF = SurrogateSettings(num_first=24, population=8, generations=2)
FAMILY: tuple[Callable[..., SurrogateSearch], ...] = (Edanas, Nachos, Aebnas)


def evaluations(algorithm: SearchAlgorithm, evaluator: ToyEvaluator, batches: tuple[int, ...]) -> list[Evaluation]:
    return [item for batch in advance(algorithm, evaluator, batches) for item in batch]


@pytest.mark.parametrize("build", FAMILY)
@pytest.mark.parametrize("check", [check_members, check_replay])
def test_conformance_holds_when_the_predictors_are_at_work(
    build: Callable[..., SurrogateSearch], check: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registered sizes propose random candidates for as long as the conformance checks run."""
    list(ALGORITHMS)
    factory = AlgorithmFactory("", lambda *arguments: build(*arguments, BRIEF))
    monkeypatch.setitem(ALGORITHMS._items, "small", factory)
    check("small")


@pytest.mark.parametrize("build", FAMILY)
def test_it_finds_a_larger_hypervolume_than_random_search(build: Callable[..., SurrogateSearch]) -> None:
    space, evaluator = small_space(), ToyEvaluator()
    reference = [0.0, 1.2 * evaluator.evaluate(space.max_architecture()).values["macs"]]
    volumes = [
        pareto_front(evaluations(algorithm, evaluator, (24, 8, 8, 8)), OBJECTIVES).hypervolume(reference)
        for algorithm in (build(space, OBJECTIVES, (), 0, SMALL), RandomSearch(space, OBJECTIVES, (), 0))
    ]
    assert volumes[0] > volumes[1]


def test_the_progressive_search_gets_more_accuracy_for_every_product_than_random_search() -> None:
    space, evaluator = replace(small_space(), branches=("pool_linear",), measures=("max_probability",)), ToyEvaluator()
    products = np.geomspace(1e-6, 1.0, 40) * evaluator.evaluate(space.max_architecture()).values[PRODUCT[1].metric]
    means = []
    for build in (Progressive, RandomSearch):
        told = evaluations(build(space, PRODUCT, (), 1), evaluator, (24, *(8,) * 8))
        best = [
            max((e.values["accuracy"] for e in told if e.values[PRODUCT[1].metric] <= bound), default=0.0)
            for bound in products
        ]
        means.append(float(np.mean(best)))
    assert means[0] > means[1]


def test_edanas_keeps_to_one_branch_and_margins_but_searches_the_operating_point() -> None:
    space = replace(small_space(), measures=("max_probability", "margin"))
    asked = Edanas(space, OBJECTIVES, (), 0).ask(60)
    exits = [choice for item in asked for choice in item.exits]
    assert {choice.branch for choice in exits} == {"conv"}
    assert {item.policy.measure for item in asked if item.exits} == {"margin"}
    assert {item.policy.accuracy_drop for item in asked} == set(space.accuracy_drops)
    assert any(not item.exits for item in asked)


def test_nachos_always_has_an_exit_and_one_way_to_set_thresholds() -> None:
    asked = Nachos(small_space(), OBJECTIVES, (), 0).ask(60)
    assert all(item.exits for item in asked)
    assert {(item.policy.measure, item.policy.accuracy_drop) for item in asked} == {("max_probability", 0.0)}


def test_aebnas_searches_branches_and_operating_points() -> None:
    space = small_space()
    asked = Aebnas(space, OBJECTIVES, (), 0).ask(60)
    assert {choice.branch for item in asked for choice in item.exits} == set(space.branches)
    assert {item.policy.accuracy_drop for item in asked} == set(space.accuracy_drops)


def test_a_space_without_the_usual_branch_is_searched_with_its_first_one() -> None:
    space = replace(small_space(), branches=("pool_linear", "pool_mlp"))
    asked = Nachos(space, OBJECTIVES, (), 0).ask(30)
    assert {choice.branch for item in asked for choice in item.exits} == {"pool_linear"}


def test_the_cost_is_macs_unless_something_else_is_minimized() -> None:
    energy = Objective("energy_pj", "minimize")
    assert cost_metric(OBJECTIVES) == cost_metric(OBJECTIVES[:1]) == cost_metric((energy, *OBJECTIVES)) == "macs"
    assert cost_metric((OBJECTIVES[0], energy)) == "energy_pj"
    bounds = (Constraint("macs", "<=", 3.0), Constraint("macs", "<=", 2.0), Constraint("accuracy", ">=", 0.5))
    assert cost_target(bounds, "macs") == 2.0
    assert cost_target(bounds, "energy_pj") is None


def test_nachos_weighs_the_bound_more_the_fewer_candidates_keep_it() -> None:
    recipe = NachosRecipe(small_space(), OBJECTIVES, (Constraint("macs", "<=", 100.0),))
    error, cost = np.zeros(2), np.asarray([50.0, 200.0])
    # All keep it: the cost alone. None does: only what lies above the bound counts, ten times. Half do: half of each.
    assert recipe.goals(error, cost, np.asarray([10.0, 90.0]))[:, 1].tolist() == [0.5, 2.0]
    assert recipe.goals(error, cost, np.asarray([110.0, 900.0]))[:, 1].tolist() == [0.0, 10.0]
    assert recipe.goals(error, cost, np.asarray([10.0, 900.0]))[:, 1].tolist() == [0.25, 6.0]


def test_edanas_adds_to_the_cost_what_lies_above_the_target() -> None:
    recipe = EdanasRecipe(small_space(), OBJECTIVES, (Constraint("macs", "<=", 100.0),))
    goals = recipe.goals(np.asarray([0.1, 0.2]), np.asarray([50.0, 200.0]), np.empty(0))
    assert goals.tolist() == [[0.1, 0.5], [0.2, 12.0]]


@pytest.mark.parametrize("build", [Nachos, Progressive])
def test_an_evaluation_without_the_values_it_needs_is_refused(build: Callable[..., SearchAlgorithm]) -> None:
    algorithm = build(small_space(), OBJECTIVES, (), 0)
    half = Evaluation(algorithm.ask(1)[0], Status.COMPLETE, {"accuracy": 0.5})
    with pytest.raises(InputError, match=r"missing: (macs|energy_delay_product_j_cycles)"):
        algorithm.tell([half])


def test_too_small_settings_are_refused() -> None:
    with pytest.raises(InputError, match="`num_first` must be at least 8"):
        Nachos(small_space(), OBJECTIVES, (), 0, SurrogateSettings(num_first=2))
    with pytest.raises(InputError, match="`population_size` must be at least 8"):
        Progressive(small_space(), OBJECTIVES, (), 0, 3)


def stage(latency: float, branch: float, to_exit: float) -> StageCost:
    return StageCost("exit", latency - branch, 0.0, branch, latency, 1.0, to_exit, 1.0, 1)


def test_the_progressive_search_bounds_branch_overhead_and_exit_rates() -> None:
    stages = (stage(100.0, 60.0, 100.0), stage(100.0, 10.0, 200.0))
    profile = ExitProfile((0.01, 0.99), (1.0, 1.0), (1.0, 1.0), 1.0, 100)
    details = Details(
        ExitPolicy("max_probability", (0.9,)),
        profile,
        ExpectedCost(1.0, 1.0, 1.0, 1.0, 1.0),
        CostReport("chip", "engine", "1", "offramp", stages, ()),
    )
    # 60 of 200 cycles in the early branch are just allowed; a rate of 0.01 is half of what must leave there.
    assert built_in_violation(details) == pytest.approx(0.5)
    longer = replace(details, cost=replace(details.cost, stages=(stage(100.0, 90.0, 100.0), stages[1])))
    assert built_in_violation(longer) == pytest.approx(0.5 + 0.5)


def test_constrained_ranks_put_fronts_first_and_then_those_that_miss_least() -> None:
    goals = np.asarray([[0.0, 3.0], [1.0, 1.0], [2.0, 2.0], [0.0, 0.0], [0.0, 0.0]])
    assert constrained_ranks(goals, np.asarray([0.0, 0.0, 0.0, 0.7, 0.2])).tolist() == [0, 0, 1, 3, 2]
