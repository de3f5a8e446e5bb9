"""Which weight of early exits is chosen, from trainings whose outcomes are made up."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from offramp.errors import ConfigError
from offramp.objectives.evaluation import Evaluation, Status
from offramp.progress import SilentReporter
from offramp.run.checks.settings_checks import check_settings
from offramp.run.context import Context
from offramp.run.factory import build_context, build_dataset
from offramp.run.finishing.trials.exit_weight_choice import with_best_exit_weight
from tests.conftest import small_config

PRODUCT = "energy_delay_product_j_cycles"


@pytest.fixture(scope="module")
def context() -> Context:
    config = small_config(fine_tune__epochs=8, fine_tune__early_exit_weights=(0.5, 1.0, 2.0, 4.0))
    return build_context(config, build_dataset(config, SilentReporter()))


@pytest.fixture(scope="module")
def candidate(context: Context) -> Evaluation:
    architecture = context.space.with_all_exits(context.space.min_architecture(), np.random.default_rng(0))
    return Evaluation(architecture, Status.COMPLETE, {"accuracy": 0.5, PRODUCT: 9.0})


def chosen(context: Context, candidate: Evaluation) -> float:
    with SilentReporter().task("finishing") as task:
        return with_best_exit_weight(context, candidate, task).config.fine_tune.early_exit_weight


def test_the_most_accurate_is_chosen_and_of_equal_ones_the_cheapest(
    context: Context, candidate: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = {0.5: (0.8, 1.0), 1.0: (0.9, 3.0), 2.0: (0.9, 2.0), 4.0: (0.7, 0.5)}
    tried: list[tuple[float, int]] = []

    def trained(context: Context, task: Any, evaluation: Evaluation, epochs: int) -> Evaluation:
        weight = context.config.fine_tune.early_exit_weight
        tried.append((weight, epochs))
        accuracy, product = outcomes[weight]
        return replace(evaluation, values={"accuracy": accuracy, PRODUCT: product})

    monkeypatch.setattr("offramp.run.finishing.trials.exit_weight_choice.after_training", trained)
    assert chosen(context, candidate) == 2.0
    # A quarter of 8 epochs for each.
    assert tried == [(0.5, 2), (1.0, 2), (2.0, 2), (4.0, 2)]


def test_weights_whose_training_fails_are_left_out(
    context: Context, candidate: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(context: Context, task: Any, evaluation: Evaluation, epochs: int) -> Evaluation:
        if context.config.fine_tune.early_exit_weight != 4.0:
            return Evaluation(evaluation.architecture, Status.FAILED, {}, error="diverged")
        return evaluation

    monkeypatch.setattr("offramp.run.finishing.trials.exit_weight_choice.after_training", trained)
    assert chosen(context, candidate) == 4.0


def test_nothing_is_tried_where_there_is_nothing_to_choose(context: Context, candidate: Evaluation) -> None:
    static = replace(candidate, architecture=candidate.architecture.without_exits())
    assert chosen(context, static) == 4.0
    assert chosen(replace(context, config=small_config(fine_tune__epochs=8)), candidate) == 4.0
    assert chosen(replace(context, fine_tune_epochs=0), candidate) == 4.0


def test_a_time_budget_leaves_the_length_of_the_trainings_open() -> None:
    with pytest.raises(ConfigError, match="early_exit_weights are trained for a share of the epochs"):
        check_settings(small_config(fine_tune__early_exit_weights=(1.0, 2.0), budget__seconds=60.0))
