"""Finishing a candidate: what is promised, on which samples, and that it is read back as it was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from offramp.data.mini_batches import to_tensor
from offramp.deploy.bundle.export_bundle import export_bundle
from offramp.errors import RunError
from offramp.exits.exit_policy import ExitPolicy, ExitProfile
from offramp.jsonio import dumps
from offramp.nn.network import EarlyExitNetwork, evaluating
from offramp.progress import SilentReporter
from offramp.run.context import Context
from offramp.run.evaluators.supernet_evaluator import SupernetEvaluator
from offramp.run.factory import build_context, build_dataset
from offramp.run.finishing.exit_dropping import KeptExits, exits_worth_keeping
from offramp.run.finishing.finisher import WEIGHTS, Finisher
from offramp.run.finishing.targets import Selection
from offramp.run.finishing.used_exits import SettledNetwork, UsedExits
from offramp.settings.by_name import with_settings
from offramp.space.architecture import ExitChoice
from tests.conftest import small_config


@pytest.fixture(scope="module")
def context() -> Context:
    # 100 of the 359 validation images are looked at in the search.
    config = small_config(
        fine_tune__epochs=0,
        fine_tune__guarantee="0.05@0.9",
        search__validation_samples=100,
        search__calibrate_confidences=True,
    )
    return build_context(config, build_dataset(config, SilentReporter()))


def test_a_guarantee_is_made_recorded_and_read_back(context: Context, tmp_path: Path) -> None:
    architecture = context.space.with_all_exits(context.space.min_architecture(), np.random.default_rng(1))
    evaluator = SupernetEvaluator(
        context.supernet,
        context.evaluator.data,
        context.compute,
        context.search_cost,
        context.accelerator,
        context.constraints,
        calibrate_confidences=True,
    )
    evaluation = evaluator.evaluate(architecture)
    assert evaluation.details is not None
    assert len(evaluation.details.policy.temperatures) == len(architecture.exits) + 1
    finisher, selection = Finisher(context), Selection(("knee",), evaluation)
    with SilentReporter().task("finishing") as task:
        finished = finisher.finish(selection, tmp_path, task, deadline=None, resume=False)
        again = finisher.finish(selection, tmp_path, task, deadline=None, resume=True)
    record = finished.record
    assert again.record == record
    assert record.guarantee is not None
    assert (record.guarantee.epsilon, record.guarantee.delta) == (0.05, 0.1)
    num_validation = len(context.dataset.splits.validation)
    assert record.guarantee.num_calibration_samples == num_validation - num_validation // 2
    # The ordering half has room for all the search has seen.
    assert record.guarantee.num_seen == 0
    assert record.validation.num_samples == num_validation
    assert len(record.policy.temperatures) == len(architecture.exits) + 1


def test_a_reference_teaches_every_exit(tmp_path: Path) -> None:
    """Weights follow from the loss with its logits; the teacher itself stays as it was finished."""
    config = small_config(fine_tune__epochs=1, fine_tune__teacher="reference")
    context = build_context(config, build_dataset(config, SilentReporter()))
    architecture = context.space.with_all_exits(context.space.min_architecture(), np.random.default_rng(1))
    selection = Selection(("knee",), context.evaluator.evaluate(architecture))
    teacher, finisher = tmp_path / "reference", Finisher(context)
    with SilentReporter().task("finishing") as task:
        finisher.finish_reference(teacher, task, deadline=None, resume=False)
        before = (teacher / WEIGHTS).read_bytes()
        taught, alone, again = (
            finisher.finish(selection, tmp_path / name, task, deadline=None, resume=False, teacher=by).network
            for name, by in (("taught", teacher), ("alone", None), ("again", teacher))
        )
    assert (teacher / WEIGHTS).read_bytes() == before
    assert weights_of(taught) == weights_of(again)
    assert weights_of(taught) != weights_of(alone)


def test_early_exits_count_as_the_settings_say(tmp_path: Path) -> None:
    """Another weight gives other weights; the default is 4."""
    config = small_config(fine_tune__epochs=1)
    context = build_context(config, build_dataset(config, SilentReporter()))
    architecture = context.space.with_all_exits(context.space.min_architecture(), np.random.default_rng(1))
    selection = Selection(("knee",), context.evaluator.evaluate(architecture))
    trained = []
    for name, changes in (("default", {}), ("four", {"early_exit_weight": 4.0}), ("light", {"early_exit_weight": 0.1})):
        settings = with_settings(config, {f"fine_tune.{key}": value for key, value in changes.items()})
        finisher = Finisher(replace(context, config=settings))
        with SilentReporter().task("finishing") as task:
            trained.append(finisher.finish(selection, tmp_path / name, task, deadline=None, resume=False).network)
    default, four, light = map(weights_of, trained)
    assert default == four
    assert light != four


@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.usefixtures("quick_exporter")
def test_exits_that_do_not_pay_are_taken_out(quantize: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured, read back and exported is the network without them."""
    config = small_config(fine_tune__epochs=1, fine_tune__drop_exits=True, fine_tune__quantize=quantize)
    context = build_context(config, build_dataset(config, SilentReporter()))
    architecture = context.space.with_all_exits(context.space.min_architecture(), np.random.default_rng(1))
    selection = Selection(("knee",), context.evaluator.evaluate(architecture))
    second = architecture.exits[1]
    asked: list[tuple[int, ...]] = []

    def only_the_second(*given: Any, **how: Any) -> KeptExits:
        found = exits_worth_keeping(*given, **how)
        asked.append(found.places)
        return replace(found, places=(1,))

    def all_of_them(rates: tuple[float, ...]) -> UsedExits:
        return UsedExits(tuple(range(len(rates) - 1)), len(rates) - 1)

    monkeypatch.setattr("offramp.run.finishing.finisher.exits_worth_keeping", only_the_second)

    def as_it_is(settled: SettledNetwork, **_: Any) -> SettledNetwork:
        return settled

    # Whether a sample uses them, and whether one of them alone is as good, are other matters.
    monkeypatch.setattr("offramp.run.finishing.used_exits.used_by_samples", all_of_them)
    monkeypatch.setattr("offramp.run.finishing.finisher.end_at_dominating_exit", as_it_is)
    finisher = Finisher(context)
    with SilentReporter().task("finishing") as task:
        finished = finisher.finish(selection, tmp_path / "knee", task, deadline=None, resume=False)
        again = finisher.finish(selection, tmp_path / "knee", task, deadline=None, resume=True)
    record = finished.record
    assert len(asked) == 1
    assert record.architecture.exits == (second,)
    assert set(record.dropped) == set(architecture.exits) - {second}
    assert record.candidate.exits == architecture.exits
    assert again.record == record
    assert again.network.architecture == finished.network.architecture == record.architecture
    checks = to_tensor(context.dataset.splits.validation.samples[:64], context.dataset.preprocessing)
    with torch.no_grad(), evaluating(finished.network), evaluating(again.network):
        for first, second_time in zip(finished.network(checks), again.network(checks), strict=True):
            assert torch.equal(first, second_time)
    exported = export_bundle(
        finished.network.to("cpu"),
        tmp_path / "bundle",
        policy=record.policy,
        class_names=context.dataset.class_names,
        mean=context.dataset.preprocessing.mean,
        std=context.dataset.preprocessing.std,
        checks=checks.numpy(),
        name="cut",
        seed=0,
        cost=record.cost,
        profile=record.validation,
    )
    assert [item.tap for item in exported.manifest.exits] == [second.tap, None]


def test_a_record_of_another_candidate_is_refused(context: Context, tmp_path: Path) -> None:
    architecture = context.space.with_all_exits(context.space.min_architecture(), np.random.default_rng(1))
    selection = Selection(("knee",), context.evaluator.evaluate(architecture))
    finisher = Finisher(context)
    with SilentReporter().task("finishing") as task:
        record = finisher.finish(selection, tmp_path, task, deadline=None, resume=False).record
        assert record.searched is not None
        fewer = replace(architecture, exits=architecture.exits[:1])
        other = replace(record, searched=replace(record.searched, architecture=fewer))
        (tmp_path / "network.json").write_text(dumps(other))
        with pytest.raises(RunError, match="must be of the candidate that the search found"):
            finisher.finish(selection, tmp_path, task, deadline=None, resume=True)


def test_a_record_that_keeps_what_the_candidate_never_had_is_refused(context: Context, tmp_path: Path) -> None:
    architecture = context.space.with_all_exits(context.space.min_architecture(), np.random.default_rng(1))
    selection = Selection(("knee",), context.evaluator.evaluate(architecture))
    finisher = Finisher(context)
    with SilentReporter().task("finishing") as task:
        record = finisher.finish(selection, tmp_path, task, deadline=None, resume=False).record
        odd = replace(record.architecture, exits=(), head=ExitChoice(99, "conv"))
        other = replace(
            record,
            architecture=odd,
            cost=record.static.cost,
            policy=ExitPolicy("max_probability", ()),
            validation=ExitProfile((1.0,), (0.5,), (0.5,), 0.5, 10),
            test=None,
            expected_test=None,
        )
        (tmp_path / "network.json").write_text(dumps(other))
        with pytest.raises(RunError, match="exits that the candidate does not have"):
            finisher.finish(selection, tmp_path, task, deadline=None, resume=True)


def weights_of(network: EarlyExitNetwork) -> list[list[float]]:
    return [parameter.flatten().tolist() for parameter in network.parameters()]
