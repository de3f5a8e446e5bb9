"""Fine-tuning at the bits that are priced: what is recorded is what the integer network does."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from offramp.errors import ConfigError
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.quantize import convert_, is_prepared
from offramp.objectives.fronts import split_fronts
from offramp.progress import SilentReporter
from offramp.records.run_summary import RunSummary, StaticReference
from offramp.run.checks.settings_checks import check_settings
from offramp.run.context import Context
from offramp.run.evaluators.supernet_evaluator import SupernetEvaluator
from offramp.run.factory import build_context, build_dataset
from offramp.run.finishing.finished_groups import FinishedGroups
from offramp.run.finishing.finisher import Finisher
from offramp.run.finishing.targets import Selection
from offramp.run.summarize import summarize
from offramp.space.architecture import Precision
from offramp.train.trainer import TrainingLog, collect_logits
from tests.conftest import small_config
from tests.space.precisions import precisions_used


def build(**changes: object) -> Context:
    config = small_config(fine_tune__epochs=1, cost__weight_bits=4, **changes)
    return build_context(config, build_dataset(config, SilentReporter()))


@pytest.fixture(scope="module")
def context() -> Context:
    return build(fine_tune__quantize=True)


@pytest.fixture(scope="module")
def plain() -> Context:
    """The same settings without quantised training."""
    return build()


def selection(context: Context) -> Selection:
    architecture = context.space.with_all_exits(context.space.min_architecture(), np.random.default_rng(1))
    evaluator = SupernetEvaluator(
        context.supernet,
        context.evaluator.data,
        context.compute,
        context.search_cost,
        context.accelerator,
        context.constraints,
    )
    return Selection(("knee",), evaluator.evaluate(architecture))


def test_the_recorded_accuracy_is_that_of_the_integer_network(context: Context, tmp_path: Path) -> None:
    finisher, chosen = Finisher(context), selection(context)
    with SilentReporter().task("finishing") as task:
        finished = finisher.finish(chosen, tmp_path, task, deadline=None, resume=False)
        again = finisher.finish(chosen, tmp_path, task, deadline=None, resume=True)
    assert is_prepared(finished.network)
    assert finished.network.architecture.precision == Precision(4, 8)
    assert len(finished.log.loss) == 1
    split, preprocessing = context.dataset.splits.validation, context.dataset.preprocessing
    integers = copy.deepcopy(finished.network)
    convert_(integers)
    expected = collect_logits(finished.network, split, preprocessing, context.compute)
    deployed = collect_logits(integers, split, preprocessing, context.compute)
    for ours, theirs in zip(expected, deployed, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    accuracies = [float((logits.argmax(axis=1) == split.labels).mean()) for logits in deployed]
    assert finished.record.validation.full_accuracies == pytest.approx(accuracies)
    # Read back from its folder it is the same network.
    assert again.record == finished.record
    for ours, theirs in zip(
        expected, collect_logits(again.network, split, preprocessing, context.compute), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_the_reference_is_quantised_too(context: Context, plain: Context) -> None:
    quantised, floating = Finisher(context).untrained_reference(), Finisher(plain).untrained_reference()
    assert quantised.architecture == floating.architecture
    # Same weights, same seed, same costs; only the number format differs.
    assert quantised.cost == floating.cost
    assert quantised.accuracy_validation != floating.accuracy_validation
    warnings = summary(context, quantised).warnings
    # Notes on the preparation of the run come before it.
    (note,) = (
        text for text in warnings if text.startswith("The chosen networks and the reference were trained and measured")
    )
    assert "4-bit weights and 8-bit activations" in note
    assert not [text for text in warnings if "measured in floating point" in text]
    assert [t for t in summary(plain, floating).warnings if "accuracies were measured in floating point" in t]


def test_where_bits_are_searched_the_reference_has_the_usual_ones() -> None:
    """Neither the most that are offered, which would flatter every reduction, nor those of the cost settings."""
    searching = build(space__precision="stage", space__precisions=("32/32", "8/8", "4/4"))
    reference = Finisher(searching).untrained_reference()
    assert set(precisions_used(reference.architecture)) == {Precision(8, 8)}
    warnings = summary(searching, reference).warnings
    (warning,) = (text for text in warnings if "bit widths" in text)
    assert warning.endswith("the reference has 8/8 (weights/activations).")
    assert not [text for text in warnings if "before quantisation" in text]


def summary(context: Context, reference: StaticReference) -> RunSummary:
    fronts = split_fronts((), context.objectives)
    return summarize(context, (), (), fronts, FinishedGroups(), reference, TrainingLog((), 1.0), duration_s=1.0)


@pytest.mark.parametrize("granularity", ["network", "layer"])
def test_candidates_are_judged_at_their_own_bits(granularity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[bool] = []

    def looked_at(network: EarlyExitNetwork, *rest: object) -> object:
        judged.append(is_prepared(network))
        return collect_logits(network, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("offramp.run.evaluators.supernet_evaluator.collect_logits", looked_at)
    searching = build(space__precision=granularity)
    assert searching.config.quantizes
    space, chosen = searching.space, Precision(4, 4)
    evaluator = SupernetEvaluator(
        searching.supernet,
        searching.evaluator.data,
        searching.compute,
        searching.search_cost,
        searching.accelerator,
        searching.constraints,
        quantize=True,
    )
    finest, coarsest = space.max_architecture(), space.min_architecture()
    assert coarsest.precision == coarsest.branch_precision == chosen
    wide = replace(
        coarsest,
        precision=finest.precision,
        branch_precision=finest.precision,
        stages=tuple(replace(x, precisions=(finest.precision,) * len(x.precisions)) for x in coarsest.stages),
    )
    floating, narrow = evaluator.evaluate(wide), evaluator.evaluate(coarsest)
    assert (floating.error, narrow.error) == (None, None)
    assert floating.values["macs"] == narrow.values["macs"]
    assert floating.values["energy_pj"] > 3 * narrow.values["energy_pj"]
    assert judged == [False, True]


@pytest.mark.parametrize("setting", ["weight_bits", "branch_activation_bits"])
def test_bits_that_cannot_be_trained_are_refused_before_data_are_read(setting: str) -> None:
    config = small_config(**{f"cost__{setting}": 16})
    check_settings(config)
    with pytest.raises(ConfigError, match="must have 2 to 8 bits, or 32"):
        check_settings(small_config(fine_tune__quantize=True, **{f"cost__{setting}": 16}))


def test_a_search_does_not_quantise_unless_told_to(plain: Context, tmp_path: Path) -> None:
    with SilentReporter().task("finishing") as task:
        finished = Finisher(plain).finish(selection(plain), tmp_path, task, deadline=None, resume=False)
    assert not is_prepared(finished.network)
    assert all(torch.isfinite(p).all() for p in finished.network.parameters())
