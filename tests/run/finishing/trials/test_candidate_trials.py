"""Trials of candidates: who is trained how long, what is kept, and what picks are made among."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from offramp.errors import ConfigError
from offramp.nn.network import EarlyExitNetwork
from offramp.objectives.evaluation import Evaluation, Status
from offramp.objectives.pareto import ParetoFront, pareto_front
from offramp.progress import SilentReporter
from offramp.run.checks.settings_checks import check_settings
from offramp.run.context import Context
from offramp.run.factory import build_context, build_dataset
from offramp.run.finishing.trials.candidate_trials import TRIALS, Trials, remaining_front, try_candidates
from offramp.run.finishing.trials.successive_halving import HalvingRound
from offramp.run.network_preparation import calibrate_
from tests.conftest import small_config


class Record(dict[str, str]):
    """Values of a run by name."""

    def set(self, key: str, value: str) -> None:
        self[key] = value


@pytest.fixture(scope="module")
def context() -> Context:
    config = small_config(fine_tune__epochs=8, fine_tune__contenders=4, fine_tune__picks=("cheapest",))
    return build_context(config, build_dataset(config, SilentReporter()))


@pytest.fixture(scope="module")
def front(context: Context) -> ParetoFront:
    """Five candidates that are made up to lie on a front: more MACs, more accuracy."""
    rng, found = np.random.default_rng(0), []
    for place in range(5):
        evaluation = context.evaluator.evaluate(context.space.sample(rng))
        values = dict.fromkeys(evaluation.values, 1e12 * (place + 1))
        found.append(replace(evaluation, values={**values, "accuracy": 0.1 * (place + 1)}))
    return pareto_front(found, context.objectives)


def test_candidates_are_trained_and_judged_on_validation(
    context: Context, front: ParetoFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four candidates for a quarter of 8 epochs, two for half; the record gives the rounds back."""
    trained: list[int] = []

    def calibrated_alone(context: Context, network: EarlyExitNetwork, *given: Any, **how: Any) -> None:
        calibrate_(network, context.evaluator.data, context.compute)
        trained.append(context.fine_tune_epochs)

    monkeypatch.setattr("offramp.run.finishing.trials.candidate_trials.fine_tune", calibrated_alone)
    record = Record()
    trials = try_candidates(context, front, record, SilentReporter())
    assert [(item.epochs, len(item.evaluations)) for item in trials.rounds] == [(2, 4), (4, 2)]
    assert trained == [2] * 4 + [4] * 2
    evaluation = trials.rounds[0].evaluations[0]
    # Without training, a candidate is what the search says of it.
    assert evaluation == replace(context.evaluator.evaluate(evaluation.architecture), statics=())
    assert "4 for 2 epoch(s), then 2 for 4 epoch(s)" in trials.notes[0]
    again = try_candidates(context, front, record, SilentReporter())
    assert (again, len(trained)) == (trials, 6)
    # Of another front, the record says nothing.
    other = ParetoFront(front.objectives, front.evaluations[:4])
    assert try_candidates(context, other, record, SilentReporter()) != trials
    assert len(trained) == 12


def test_a_candidate_is_really_trained(context: Context, front: ParetoFront) -> None:
    config = small_config(fine_tune__epochs=2, fine_tune__contenders=2, fine_tune__picks=("cheapest",))
    record = Record()
    trials = try_candidates(replace(context, config=config, fine_tune_epochs=2), front, record, SilentReporter())
    (only,) = trials.rounds
    assert only.epochs == 1
    for item in only.evaluations:
        assert item.values["accuracy"] > 0.15  # of ten classes, with the weights of an untrained supernet before
    assert TRIALS in record


def test_picks_are_made_among_those_that_are_left(context: Context, front: ParetoFront) -> None:
    members = front.evaluations[:4]
    last = tuple(replace(item, values={**item.values, "accuracy": 0.9}) for item in members[:2])
    trials = Trials(front.evaluations, (HalvingRound(2, members), HalvingRound(4, last)))
    left = remaining_front(trials, front, 2)
    assert {item.architecture for item in left} <= {item.architecture for item in last}
    assert {item.values["accuracy"] for item in left} == {0.9}
    assert remaining_front(Trials(front.evaluations, ()), front, 2) is front


def test_ranks_before_and_after_training_are_compared(front: ParetoFront) -> None:
    def after(item: Evaluation, accuracy: float) -> Evaluation:
        return replace(item, values={**item.values, "accuracy": accuracy})

    # The front has the accuracies 0.5, 0.4, 0.3, 0.2; one pair of six changes its order.
    members = front.evaluations[:4]
    trained = tuple(after(item, value) for item, value in zip(members, (0.9, 0.7, 0.8, 0.6), strict=True))
    failed = Evaluation(front.evaluations[4].architecture, Status.FAILED, {}, error="diverged")
    found = Trials(front.evaluations, (HalvingRound(1, (*trained, failed)),)).correlation
    assert found is not None
    assert (found.count, found.kendall, found.spearman) == (4, pytest.approx(4 / 6), pytest.approx(0.8))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fine_tune__epochs": 0}, "epochs of at least 1"),
        ({"fine_tune__picks": ("0",)}, "numbers pick nothing"),
        ({"budget__seconds": 60.0}, "which a time budget leaves open"),
    ],
)
def test_contenders_are_refused_where_they_cannot_be_trained(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_settings(small_config(**{"fine_tune__contenders": 4, **changes}))
