"""Exits of a finished network alone: what they answer, what they cost, and that they are read back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offramp.objectives.evaluation import Constraint
from offramp.progress import SilentReporter
from offramp.run.context import Context
from offramp.run.factory import build_context, build_dataset
from offramp.run.finishing.exits_alone import cut_at_each_exit, measure_exits_alone
from offramp.run.finishing.finisher import FinishedNetwork, Finisher
from offramp.run.finishing.targets import Selection
from offramp.train.trainer import collect_logits
from tests.conftest import small_config


@pytest.fixture(scope="module", params=["none", "geometric_mean"])
def context(request: pytest.FixtureRequest) -> Context:
    config = small_config(fine_tune__epochs=0, space__exit_reuse=request.param)
    return build_context(config, build_dataset(config, SilentReporter()))


def finish(context: Context, folder: Path, *, resume: bool = False) -> FinishedNetwork:
    architecture = context.space.with_all_exits(context.space.min_architecture(), np.random.default_rng(1))
    selection = Selection(("knee",), context.evaluator.evaluate(architecture))
    with SilentReporter().task("finishing") as task:
        return Finisher(context).finish(selection, folder, task, deadline=None, resume=resume)


def test_each_exit_alone_is_the_static_network_that_ends_there_with_the_same_weights(
    context: Context, tmp_path: Path
) -> None:
    found = finish(context, tmp_path)
    assert found.record.searched is not None
    exits = found.record.searched.architecture.exits
    # One network for each exit and one for the final one, less one that the finished network may be itself.
    expected = len(exits) + 1 - (found.record.num_exits == 1)
    assert len(found.exits_alone) == len(found.record.exits_alone) == expected
    splits = context.dataset.splits
    for part in found.exits_alone:
        record, network = part.record, part.network
        assert (record.exit_of, record.num_exits, network.num_exits) == ("knee", 1, 1)
        assert record.architecture == network.architecture
        assert record.rule.startswith("static-")
        for split, profile in ((splits.validation, record.validation), (splits.test, record.test)):
            (logits,) = collect_logits(network, split, context.dataset.preprocessing, context.compute)
            assert profile is not None
            assert profile.top1 == pytest.approx(float((logits.argmax(1) == split.labels).mean()))
        assert record.outcomes is not None
        assert record.outcomes.accuracy == pytest.approx(record.test.top1 if record.test else 0.0)
        # Nothing of the other branches is charged: the price is that of the network by itself.
        priced = context.evaluator.evaluate(record.architecture)
        assert priced.values["energy_pj"] == pytest.approx(record.values["energy_pj"])
        assert priced.values["latency_cycles"] == pytest.approx(record.values["latency_cycles"])
    ends = [part.record.architecture.head for part in found.exits_alone]
    own = found.record.architecture if found.record.num_exits == 1 else None
    assert {(end.tap, end.branch) for end in ends if end is not None} == {
        (choice.tap, choice.branch) for choice in exits
    } - {(own.head.tap, own.head.branch) if own is not None and own.head is not None else ()}


def test_exits_alone_are_read_back_as_they_were(context: Context, tmp_path: Path) -> None:
    first, again = finish(context, tmp_path), finish(context, tmp_path, resume=True)
    assert [part.record for part in again.exits_alone] == [part.record for part in first.exits_alone]
    split = context.dataset.splits.test
    for one, other in zip(first.exits_alone, again.exits_alone, strict=True):
        (a,), (b,) = (
            collect_logits(part.network, split, context.dataset.preprocessing, context.compute) for part in (one, other)
        )
        assert np.array_equal(a, b)


def test_exits_alone_that_miss_a_constraint_are_left_out(context: Context, tmp_path: Path) -> None:
    found = finish(context, tmp_path)
    assert found.record.searched is not None
    trained = context.supernet.extract(found.record.searched.architecture)
    parts = cut_at_each_exit(trained, context.space.max_depths)
    macs = [context.evaluator.evaluate(part.architecture).values["macs"] for part in parts]
    bounded = replace(context, constraints=(Constraint("macs", "<=", macs[0]),))
    kept = measure_exits_alone(bounded, trained, found.record)
    assert all(item.values["macs"] <= macs[0] for item in kept)
    assert {item.architecture for item in kept} == {parts[0].architecture} - {found.record.architecture}


def test_a_static_network_has_none(context: Context, tmp_path: Path) -> None:
    selection = Selection(("knee",), context.evaluator.evaluate(context.space.min_architecture().without_exits()))
    with SilentReporter().task("finishing") as task:
        found = Finisher(context).finish(selection, tmp_path, task, deadline=None, resume=False)
    assert found.exits_alone == found.record.exits_alone == ()
