"""Static networks that come along with candidates: as accurate and as dear as when they are extracted by themselves."""

from dataclasses import replace

import numpy as np
import pytest

from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.objectives.evaluation import Evaluation, Status
from offramp.progress import SilentReporter
from offramp.run.context import Context
from offramp.run.evaluators.cached_logits import CachedLogitsEvaluator
from offramp.run.factory import build_context, build_dataset
from offramp.run.network_preparation import calibrate_, quantize_
from offramp.settings.by_name import with_settings
from offramp.space.architecture import Architecture, PolicyChoice
from offramp.space.cut_networks import static_at
from offramp.train.trainer import collect_logits
from tests.conftest import small_config


def small_context(**changes: object) -> Context:
    config = with_settings(small_config(), {"space.branches": ("pool_linear", "conv"), **changes})
    return build_context(config, build_dataset(config, SilentReporter()))


@pytest.fixture(scope="module")
def context() -> Context:
    return small_context()


def all_exits(context: Context) -> Architecture:
    largest = context.space.max_architecture()
    return replace(
        context.space.with_all_exits(largest, np.random.default_rng(0)), policy=PolicyChoice("max_probability", 0.0)
    )


def answers(context: Context, network: EarlyExitNetwork) -> tuple[np.ndarray, ...]:
    data = context.evaluator.data
    calibrate_(network, data, context.compute)
    if context.config.quantizes:
        quantize_(network, data, context.compute)
    return collect_logits(network, data.validation, data.preprocessing, context.compute)


def check_by_itself(context: Context, evaluation: Evaluation) -> None:
    """The network extracted by itself gives the same accuracy and the same price."""
    assert evaluation.status is Status.COMPLETE, evaluation.error
    network = context.supernet.extract(evaluation.architecture)
    (logits,) = answers(context, network)
    labels = context.evaluator.data.validation.labels
    assert evaluation.values["accuracy"] == float((logits.argmax(axis=1) == labels).mean())
    cost = context.search_cost.estimate(lower(network), context.accelerator)
    assert len(cost.stages) == 1
    assert evaluation.values["energy_pj"] == cost.stages[0].energy_to_exit_pj
    assert evaluation.values["latency_cycles"] == cost.stages[0].latency_to_exit_cycles
    assert evaluation.values["macs"] == cost.stages[0].macs_to_exit
    assert evaluation.values["memory_use"] == cost.memory_use


def test_the_static_network_of_every_exit_is_that_network_by_itself(context: Context) -> None:
    architecture = all_exits(context)
    found = context.evaluator.evaluate(architecture)
    assert len(found.statics) == len(architecture.exits) + 1 > 3
    for index, static in enumerate(found.statics):
        assert static.architecture == static_at(architecture, index, context.space.max_depths)
        check_by_itself(context, static)
    # Cutting saves: each static network is cheaper than the early-exit network up to the same exit.
    assert found.details is not None
    for static, stage in list(zip(found.statics, found.details.cost.stages, strict=True))[1:]:
        assert static.values["macs"] < stage.macs_to_exit


def test_a_static_candidate_brings_none_and_is_what_it_is(context: Context) -> None:
    largest = context.space.max_architecture()
    found = context.evaluator.evaluate(largest)
    assert found.statics == ()
    assert found == replace(context.evaluator.evaluate(all_exits(context)).statics[-1], statics=())


def test_cached_logits_give_the_whole_table_of_taps_and_branches(context: Context) -> None:
    cached = CachedLogitsEvaluator(context.evaluator, context.space)
    backbone = context.space.max_architecture()
    statics = cached.static_candidates(backbone)
    taps = len(context.space.active_taps(backbone))
    assert len(statics) == len({item.architecture for item in statics}) == 2 * taps + 1
    assert cached.num_forwards == 1
    for static in statics:
        assert static == context.evaluator.evaluate(static.architecture)


def test_static_networks_at_their_own_bits_are_those_networks_by_themselves() -> None:
    context = small_context(**{"space.precision": "stage", "space.precisions": ("8/8", "4/8", "8/4")})
    for seed in range(3):
        architecture = context.space.sample(np.random.default_rng(seed))
        found = context.evaluator.evaluate(architecture)
        assert len(found.statics) == (0 if architecture.is_static else len(architecture.exits) + 1)
        for static in found.statics:
            check_by_itself(context, static)
