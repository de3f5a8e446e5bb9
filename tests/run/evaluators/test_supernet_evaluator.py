"""Candidates are judged by inherited weights: the same each time, and never by an exception."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from offramp.cost.expected import expected_cost
from offramp.hardware.accelerator import CoreKind
from offramp.nn.lowering.lower import lower
from offramp.objectives.evaluation import Status
from offramp.progress import SilentReporter
from offramp.run.context import Context
from offramp.run.evaluators.supernet_evaluator import SupernetEvaluator
from offramp.run.factory import build_context, build_dataset, search_constraints
from offramp.settings.search_config import SearchConfig
from offramp.space.architecture import Architecture, ExitChoice
from tests.conftest import small_config


@pytest.fixture(scope="module")
def context() -> Context:
    config = small_config(search__constraints=("macs<=50k",))
    return build_context(config, build_dataset(config, SilentReporter()))


@pytest.fixture(scope="module")
def evaluator(context: Context) -> SupernetEvaluator:
    return SupernetEvaluator(
        context.supernet,
        context.evaluator.data,
        context.compute,
        context.search_cost,
        context.accelerator,
        context.constraints,
    )


def test_an_evaluation_is_complete_and_repeats_itself(context: Context, evaluator: SupernetEvaluator) -> None:
    architecture = context.space.sample(np.random.default_rng(0))
    first = evaluator.evaluate(architecture)
    assert first.status is Status.COMPLETE
    assert first.architecture == architecture
    assert set(first.values) >= {"accuracy", "energy_pj", "latency_cycles", "macs"}
    evaluator.evaluate(context.space.max_architecture())
    assert evaluator.evaluate(architecture) == first


def test_costs_are_those_of_the_lowered_network_at_the_measured_rates(
    context: Context, evaluator: SupernetEvaluator
) -> None:
    architecture = context.space.with_all_exits(context.space.min_architecture(), np.random.default_rng(1))
    evaluation = evaluator.evaluate(architecture)
    assert evaluation.details is not None
    cost = context.search_cost.estimate(lower(context.supernet.extract(architecture)), context.accelerator)
    rates = evaluation.details.profile.rates
    assert evaluation.values["energy_pj"] == expected_cost(cost, rates).energy_pj
    assert evaluation.values["macs"] == pytest.approx(float(np.dot(rates, [s.macs_to_exit for s in cost.stages])))
    assert evaluation.details.cost.layers == ()


def test_constraints_are_measured(context: Context, evaluator: SupernetEvaluator) -> None:
    static = evaluator.evaluate(context.space.max_architecture())
    assert static.values["macs"] > 50_000
    # The second constraint is that the network fits the memories.
    assert static.violations == (pytest.approx(static.values["macs"] / 50_000 - 1), 0.0)
    assert not static.feasible


def test_a_network_that_does_not_fit_the_memories_violates_a_constraint(context: Context) -> None:
    cores = tuple(
        replace(core, memories=(replace(core.memories[0], size_bits=10_000),))
        if core.kind is CoreKind.OFFCHIP
        else core
        for core in context.accelerator.cores
    )
    small = replace(context.accelerator, cores=cores)
    found = []
    for fit in (True, False):
        constraints = search_constraints(SearchConfig(fit_memory=fit))
        evaluator = SupernetEvaluator(
            context.supernet, context.evaluator.data, context.compute, context.search_cost, small, constraints
        )
        found.append(evaluator.evaluate(context.space.max_architecture()))
    default, free = found
    assert default.values["memory_use"] == free.values["memory_use"] > 1
    assert default.violations == (pytest.approx(default.values["memory_use"] - 1),)
    assert not default.feasible
    assert free.feasible
    assert default.details is not None
    assert "do not fit" in default.details.cost.memory[0].sentence


def test_a_bound_of_the_users_own_takes_the_place_of_the_memory_constraint() -> None:
    bounds = search_constraints(SearchConfig(constraints=("memory_use<=0.5",)))
    assert [(bound.metric, bound.bound) for bound in bounds] == [("memory_use", 0.5)]


def test_the_weights_of_the_supernet_stay_as_they_are(context: Context, evaluator: SupernetEvaluator) -> None:
    before = {name: value.clone() for name, value in context.supernet.state_dict().items()}
    evaluator.evaluate(context.space.sample(np.random.default_rng(2)))
    assert all((before[name] == value).all() for name, value in context.supernet.state_dict().items())


def test_a_candidate_that_cannot_be_built_is_a_failed_evaluation(
    context: Context, evaluator: SupernetEvaluator
) -> None:
    smallest = context.space.min_architecture()
    broken = Architecture(smallest.backbone, smallest.resolution, smallest.stages, exits=(ExitChoice(0, "no_such"),))
    evaluation = evaluator.evaluate(broken)
    assert evaluation.status is Status.FAILED
    assert evaluation.error is not None
    assert "no_such" in evaluation.error
    assert not evaluation.feasible


def test_a_network_that_answers_nan_is_a_failed_evaluation() -> None:
    spoilt = build_context(small_config(), build_dataset(small_config(), SilentReporter()))
    with torch.no_grad():
        for parameter in spoilt.supernet.parameters():
            parameter.fill_(float("nan"))
    evaluation = spoilt.evaluator.evaluate(spoilt.space.min_architecture())
    assert evaluation.status is Status.FAILED
    assert "not finite" in (evaluation.error or "")


@pytest.mark.parametrize("fault", [KeyError("weights"), MemoryError("no room"), AssertionError("odd\nlayer")])
def test_whatever_a_candidate_brings_up_is_its_own_failure(
    context: Context, evaluator: SupernetEvaluator, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fails(architecture: Architecture) -> None:
        raise fault

    monkeypatch.setattr(context.supernet, "extract", fails)
    threads = torch.get_num_threads()
    evaluation = evaluator.evaluate(context.space.min_architecture())
    assert evaluation.error == " ".join(f"{type(fault).__name__}: {fault}".split())
    assert torch.get_num_threads() == threads
