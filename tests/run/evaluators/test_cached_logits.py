"""Judging from cached logits gives exactly what judging one by one gives, with one pass per backbone."""

from collections import Counter
from dataclasses import replace
from functools import partial
from importlib import import_module

import numpy as np
import pytest
import torch

from offramp.algorithms.exact.backbone_solver import TableSolver
from offramp.algorithms.exact.exact import Exact
from offramp.algorithms.exact.exit_solver import solve
from offramp.algorithms.exact.exit_table import ExitTable
from offramp.cost.pricing import build_cost_model
from offramp.cost.report import CostReport
from offramp.errors import InputError
from offramp.hardware.accelerator import WeightSparsity
from offramp.nn.lowering.lower import lower
from offramp.objectives.evaluation import Evaluation, Status
from offramp.objectives.pareto import ParetoFront, pareto_front
from offramp.progress import SilentReporter
from offramp.run.context import Context
from offramp.run.evaluators.cached_logits import CachedLogitsEvaluator
from offramp.run.evaluators.exit_costs import exit_costs
from offramp.run.evaluators.exit_workloads import ExitWorkloads, exit_groups
from offramp.run.evaluators.supernet_evaluator import SupernetEvaluator
from offramp.run.factory import build_context, build_dataset
from offramp.run.network_preparation import calibrate_
from offramp.run.study_factory import build_algorithm
from offramp.settings.by_name import with_settings
from offramp.settings.cost_config import CostConfig
from offramp.space.architecture import Architecture, ExitChoice, PolicyChoice
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.space.search_space import StageSpace
from offramp.train.trainer import collect_logits
from tests.conftest import small_config

EXACT = import_module("offramp.algorithms.exact.exact")
SOLVER = import_module("offramp.algorithms.exact.backbone_solver")


@pytest.fixture(scope="module")
def context() -> Context:
    config = with_settings(small_config(), {"space.branches": ("pool_linear", "conv"), "search.algorithm": "exact"})
    return build_context(config, build_dataset(config, SilentReporter()))


def direct(context: Context) -> SupernetEvaluator:
    return SupernetEvaluator(
        context.supernet, context.evaluator.data, context.compute, context.search_cost, context.accelerator, ()
    )


@pytest.fixture(scope="module")
def cached(context: Context) -> CachedLogitsEvaluator:
    return CachedLogitsEvaluator(direct(context), context.space)


def test_evaluations_equal_those_made_one_by_one(context: Context, cached: CachedLogitsEvaluator) -> None:
    """Equal in everything: values, thresholds, rates, and costs to each exit under the same names."""
    rng, one_by_one = np.random.default_rng(0), direct(context)
    for _ in range(6):
        architecture = context.space.sample(rng)
        assert cached.evaluate(architecture) == one_by_one.evaluate(architecture)


def test_networks_to_be_pruned_are_priced_alike(context: Context) -> None:
    cores = tuple(replace(x, sparsity=WeightSparsity(1.0, 1.0, None, "invented")) for x in context.accelerator.cores)
    one_by_one = direct(context)
    architecture = context.space.sample(np.random.default_rng(0))
    dense = one_by_one.evaluate(architecture).values["energy_pj"]
    one_by_one.accelerator, one_by_one.weight_density = replace(context.accelerator, cores=cores), 0.5
    pruned = CachedLogitsEvaluator(one_by_one, context.space).evaluate(architecture)
    assert pruned == one_by_one.evaluate(architecture)
    assert pruned.values["energy_pj"] < dense


def test_candidates_with_the_same_backbone_cost_one_pass(context: Context) -> None:
    evaluator = CachedLogitsEvaluator(direct(context), context.space)
    largest = context.space.max_architecture()
    for branch in context.space.branches:
        assert evaluator.evaluate(context.space.with_spread_exits(largest, 2, branch, PolicyChoice())).feasible
    evaluator.table(largest)
    assert evaluator.num_forwards == 1
    evaluator.evaluate(context.space.min_architecture())
    assert evaluator.num_forwards == 2


def test_an_exit_that_is_not_on_offer_is_judged_one_by_one_and_counted(context: Context) -> None:
    evaluator = CachedLogitsEvaluator(direct(context), context.space)
    wrong = replace(context.space.max_architecture(), exits=(ExitChoice(0, "pool_mlp"),))
    evaluation = evaluator.evaluate(wrong)
    assert evaluation.status is Status.FAILED
    assert "pool_mlp" in (evaluation.error or "")
    assert evaluator.num_forwards == 2


def test_the_latest_backbones_are_kept(context: Context) -> None:
    evaluator = CachedLogitsEvaluator(direct(context), context.space, capacity=1)
    largest, smallest = context.space.max_architecture(), context.space.min_architecture()
    tables = [evaluator.table(item) for item in (largest, smallest, largest)]
    assert evaluator.num_forwards == 3
    assert all(isinstance(table, ExitTable) for table in tables)


def test_a_backbone_that_cannot_be_priced_has_no_table(context: Context) -> None:
    evaluator = CachedLogitsEvaluator(direct(context), context.space)
    assert evaluator.table(replace(context.space.max_architecture(), backbone="other")) is None


def test_workloads_are_put_together_as_lowering_would_give_them(context: Context) -> None:
    largest = context.space.max_architecture()
    options = context.space.exit_options(largest)
    parts = [replace(largest, exits=tuple(options[place] for place in places)) for places in exit_groups(options)]
    workloads = ExitWorkloads(options, [lower(context.supernet.extract(part)) for part in parts])
    rng = np.random.default_rng(1)
    for _ in range(6):
        exits = replace(context.space.sample(rng), stages=largest.stages).exits
        candidate = replace(largest, exits=exits)
        assert workloads.workload(exits) == lower(context.supernet.extract(candidate))
    with pytest.raises(InputError, match="must be among the options"):
        workloads.workload((ExitChoice(0, "pool_mlp"),))


def test_energy_and_macs_of_any_exits_add_up_exactly_layer_by_layer(context: Context) -> None:
    cost_model = build_cost_model(CostConfig(mapping="layer_by_layer"), coarse=True)
    largest = context.space.max_architecture()
    options = context.space.exit_options(largest)

    def price(architecture: Architecture) -> CostReport:
        return cost_model.estimate(lower(context.supernet.extract(architecture)), context.accelerator)

    costs = exit_costs(largest, options, price)
    for places in ([], [0], [1, 2], [0, 3, 4]):
        report = price(replace(largest, exits=tuple(options[place] for place in places)))
        rows = [*places, len(options)]
        derived = costs.to_tap[rows] + costs.branch[rows].cumsum(axis=0)
        assert derived[:, 1] == pytest.approx([stage.energy_to_exit_pj for stage in report.stages], rel=1e-12)
        assert derived[:, 2].tolist() == [stage.macs_to_exit for stage in report.stages]
        # Cycles may differ by the waiting for weights that other branches cause.
        assert derived[:, 0] == pytest.approx([stage.latency_to_exit_cycles for stage in report.stages], rel=0.15)


def test_costs_to_the_first_exit_are_those_of_networks_priced_as_a_whole(
    context: Context, cached: CachedLogitsEvaluator
) -> None:
    """With the optimized mapping, too, where sums over exits are estimates."""
    largest = context.space.max_architecture()
    table = cached.table(largest)
    assert table is not None
    assert table.costs.first is not None
    options = table.options
    for first, second in ((0, 2), (1, 3), (2, len(options) - 1)):
        stage = cached._price(replace(largest, exits=(options[first], options[second]))).stages[0]
        expected = [stage.latency_to_exit_cycles, stage.energy_to_exit_pj, stage.macs_to_exit]
        assert table.costs.first[first].tolist() == pytest.approx(expected, rel=1e-9)


def every_candidate(context: Context, table: ExitTable) -> list[Architecture]:
    """All subsets of the exits, at all accuracy drops."""
    found = [table.backbone]
    for first in range(len(table.options)):
        for second in range(-1, first):
            chosen = sorted({first, second} - {-1})
            exits = tuple(table.options[place] for place in chosen)
            if len({choice.tap for choice in exits}) < len(exits):
                continue
            for measure in context.space.measures:
                for drop in context.space.accuracy_drops:
                    found.append(replace(table.backbone, exits=exits, policy=PolicyChoice(measure, drop)))
    return found


def test_the_exact_front_of_one_backbone_is_that_of_all_its_candidates(context: Context) -> None:
    """With one threshold for all exits and costs that add up, nothing is left to chance."""
    objectives = context.objectives[:2]  # accuracy, energy_pj
    space = replace(context.space, max_exits=2)
    evaluator = CachedLogitsEvaluator(direct(context), space, shared_threshold=True)
    table = evaluator.table(space.max_architecture())
    assert table is not None
    truth = pareto_front([evaluator.evaluate(item) for item in every_candidate(context, table)], objectives)
    solution = TableSolver(evaluator, space, objectives, ()).solve(table.backbone)
    assert solution is not None
    found = pareto_front(solution.evaluations, objectives)
    assert points(found) == points(truth)
    assert len(found) > 3


def points(front: ParetoFront) -> list[tuple[float, float]]:
    return [(e.values["accuracy"], round(e.values["energy_pj"], 3)) for e in front]


def solver_of(context: Context, evaluator: CachedLogitsEvaluator, space: EarlyExitSpace | None = None) -> TableSolver:
    return TableSolver(evaluator, space or context.space, context.objectives, ())


def test_exact_proposes_the_same_when_it_is_replayed(context: Context, cached: CachedLogitsEvaluator) -> None:
    live, replayed = (build_algorithm(context, solver_of(context, cached)) for _ in range(2))
    told: list[list[Evaluation]] = []
    for count in (8, 3, 8):
        asked = live.ask(count)
        assert 0 < len(asked) <= count
        told.append([cached.evaluate(item) for item in asked])
        live.tell(told[-1])
    for batch in told:
        replayed.tell(batch)
    expected = live.ask(6)
    assert len({item.without_exits() for item in expected}) == 1
    pieces = replayed.ask(1)
    while len(pieces) < len(expected):
        pieces += replayed.ask(len(expected) - len(pieces))
    assert pieces == expected
    known = {item.architecture for batch in told for item in batch}
    assert not known & set(expected)


def only_the_largest(space: EarlyExitSpace) -> EarlyExitSpace:
    """The space with one backbone."""
    stages = tuple(
        StageSpace(each.depths[-1:], each.widths[-1:], each.kernel_sizes[-1:], each.expansions[-1:], each.stride)
        for each in space.backbone.stages
    )
    return replace(space, backbone=replace(space.backbone, stages=stages))


def test_exact_ends_when_the_only_backbone_is_solved(context: Context) -> None:
    space = only_the_largest(context.space)
    evaluator = CachedLogitsEvaluator(direct(context), space)
    algorithm = Exact(space, context.objectives, (), 0)
    algorithm.use_solver(solver_of(context, evaluator, space))
    asked = algorithm.ask(1000)
    assert 1 < len(asked) < 1000
    while asked:
        algorithm.tell([evaluator.evaluate(item) for item in asked])
        asked = algorithm.ask(1000)
    assert algorithm.ask(5) == []
    assert evaluator.num_forwards == 1


def test_no_backbone_takes_up_the_whole_search(
    context: Context, cached: CachedLogitsEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EXACT, "_MAX_FIRST_CANDIDATES", 3)
    monkeypatch.setattr(EXACT, "_MIN_FIRST_CANDIDATES", 3)
    algorithm = build_algorithm(context, solver_of(context, cached))
    asked: list[Architecture] = []
    for _ in range(6):
        asked += algorithm.ask(8)
        algorithm.tell([cached.evaluate(item) for item in asked[-3:]])
    counts = Counter(item.without_exits() for item in asked)
    assert max(counts.values()) == 3
    assert len(counts) == 6


def test_all_of_the_front_is_proposed_in_the_end(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EXACT, "_MAX_FIRST_CANDIDATES", 2)
    monkeypatch.setattr(EXACT, "_MIN_FIRST_CANDIDATES", 2)
    space = only_the_largest(context.space)
    evaluator = CachedLogitsEvaluator(direct(context), space)
    algorithm = Exact(space, context.objectives, (), 0)
    algorithm.use_solver(solver_of(context, evaluator, space))
    asked: list[Architecture] = []
    while batch := algorithm.ask(3):
        asked += batch
        algorithm.tell([evaluator.evaluate(item) for item in batch])
    solution = solver_of(context, evaluator, space).solve(space.max_architecture())
    assert solution is not None
    assert set(asked) == {item.architecture for item in pareto_front(solution.evaluations, context.objectives)}
    assert algorithm.remarks == ()


def test_exact_says_where_it_was_not_complete(
    context: Context, cached: CachedLogitsEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SOLVER, "solve", partial(solve, max_extensions=10))
    algorithm = Exact(context.space, context.objectives, (), 0)
    algorithm.use_solver(solver_of(context, cached))
    algorithm.ask(2)
    (remark,) = algorithm.remarks
    assert "1 of 1 backbones have too many sets of exits" in remark


def test_exact_says_that_it_had_no_tables(context: Context) -> None:
    (remark,) = Exact(context.space, context.objectives, (), 0).remarks
    assert "NSGA-II chose the candidates" in remark


def test_quantised_candidates_are_judged_one_by_one() -> None:
    """Answering from float logits would leave out what the search is about."""
    config = with_settings(small_config(), {"space.precision": "network", "search.algorithm": "exact"})
    searching = build_context(config, build_dataset(config, SilentReporter()))
    evaluator = CachedLogitsEvaluator(searching.evaluator, searching.space)
    smallest = searching.space.with_spread_exits(searching.space.min_architecture(), 1, "conv", PolicyChoice())
    assert evaluator.table(smallest.without_exits()) is None
    assert evaluator.evaluate(smallest) == searching.evaluator.evaluate(smallest)
    assert evaluator.num_forwards == 1


@pytest.mark.parametrize("reuse", ["cascade", "geometric_mean"])
def test_exits_that_reuse_earlier_ones_are_judged_from_cached_logits_as_one_by_one(reuse: str) -> None:
    """Also priced alike; the tables of exits that answer alone do not exist then."""
    config = with_settings(small_config(), {"space.branches": ("pool_linear", "conv"), "space.exit_reuse": reuse})
    context = build_context(config, build_dataset(config, SilentReporter()))
    generator = torch.Generator().manual_seed(0)
    for link in context.supernet.links:
        torch.nn.init.normal_(next(link.parameters()), generator=generator)
    cached, one_by_one = CachedLogitsEvaluator(direct(context), context.space), direct(context)
    backbone = context.space.min_architecture().without_exits()
    options = {choice.branch: choice for choice in reversed(context.space.exit_options(backbone))}
    first, every = options["conv"], context.space.exit_options(backbone)
    later = [choice for choice in every if choice.tap > first.tap]
    # Taps 0 and 2 have options here.
    assert {choice.tap for choice in every} == {0, 2}
    for exits in ((first,), (first, later[0]), (later[-1],), (first, later[-1])):
        architecture = replace(backbone, exits=exits)
        ours, theirs = cached.evaluate(architecture), one_by_one.evaluate(architecture)
        assert ours.status is Status.COMPLETE
        assert ours.values == pytest.approx(theirs.values)
        assert ours.details is not None
        assert theirs.details is not None
        assert ours.details.cost == theirs.details.cost
        # A static network has no exit before its classifier, whatever the network that it came along with.
        assert [item.values for item in ours.statics] == [pytest.approx(item.values) for item in theirs.statics]
    assert cached.num_forwards == 1
    assert cached.table(backbone) is None


def test_tables_hold_the_scores_of_thresholds_by_class(context: Context) -> None:
    """The scores of an option are those that the policy of a network with this exit compares."""
    by_class = direct(context)
    by_class.class_thresholds = True
    evaluator = CachedLogitsEvaluator(by_class, context.space)
    backbone = context.space.min_architecture().without_exits()
    table = evaluator.table(backbone)
    assert table is not None
    architecture = replace(backbone, exits=table.options[:1], policy=PolicyChoice("margin", 0.01))
    found = evaluator.evaluate(architecture)
    assert found.details is not None
    policy = found.details.policy
    assert len(policy.class_offsets[0]) == 10
    network = context.supernet.extract(architecture)
    calibrate_(network, context.evaluator.data, context.compute)
    data = context.evaluator.data
    (scores,) = policy.scores(collect_logits(network, data.validation, data.preprocessing, context.compute)[:1])
    assert np.allclose(table.scores["margin"][0], scores, atol=1e-5)
