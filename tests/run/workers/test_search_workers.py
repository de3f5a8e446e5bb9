"""Workers give the very figures that this process gives, and leave nothing behind."""

from pathlib import Path

import numpy as np
import pytest
import torch

from offramp.distributed.executor import Job, Reply
from offramp.errors import RunError
from offramp.objectives.evaluation import Evaluation, Status
from offramp.progress import SilentReporter
from offramp.run.context import Context
from offramp.run.evaluators.remote_evaluation import RemoteEvaluator
from offramp.run.factory import build_context, build_dataset
from offramp.run.finishing.finish import Finisher, Selection
from offramp.run.study import OneByOne
from offramp.run.workers.search_workers import Target, finish_elsewhere, workers_for
from offramp.run.workers.worker_jobs import supernet_evaluator
from offramp.space.architecture import Architecture
from tests.conftest import small_config
from tests.run.evaluators.test_remote_evaluation import AtOnce


class Note:
    def update(self, fraction: float, note: str = "") -> None:
        assert 0.0 <= fraction <= 1.0


def context_with(**changes: object) -> Context:
    config = small_config(**changes)
    return build_context(config, build_dataset(config, SilentReporter()))


def candidates(context: Context, count: int) -> list[Architecture]:
    rng = np.random.default_rng(1)
    return [context.space.sample(rng) for _ in range(count)]


def judged_here(context: Context, asked: list[Architecture]) -> list[Evaluation]:
    found = OneByOne(supernet_evaluator(context)).evaluate_all(asked, lambda: False)
    return [item.evaluation for item in found]


def test_two_workers_give_the_same_bits_as_this_process(tmp_path: Path) -> None:
    context = context_with(execution__workers=2)
    asked = candidates(context, 4)
    # Weights that no seed leads to, so that they must have travelled.
    with torch.no_grad():
        for parameter in context.supernet.parameters():
            parameter.mul_(1.01)
    here = judged_here(context, asked)
    torch.set_num_threads(2)
    assert judged_here(context, asked) == here, "figures must not depend on the threads of this process"
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    with workers_for(context, tmp_path, training=False) as workers:
        assert workers is not None
        assert workers.num_workers == 2
        found = list(RemoteEvaluator(workers).evaluate_all(asked, lambda: False))
    assert [item.evaluation for item in sorted(found, key=lambda item: item.index)] == here
    assert all(evaluation.status is Status.COMPLETE for evaluation in here)
    assert list(tmp_path.iterdir()) == []


def test_fine_tuning_elsewhere_leaves_what_fine_tuning_here_leaves(tmp_path: Path) -> None:
    context = context_with(execution__workers=2)
    evaluation = judged_here(context, candidates(context, 1))[0]
    selection = Selection(("knee",), evaluation)
    finisher = Finisher(context)
    here = finisher.finish(selection, tmp_path / "here" / "knee", Note(), deadline=None, resume=False)
    reference = finisher.finish_reference(tmp_path / "here" / "reference", Note(), deadline=None, resume=False)
    targets = [Target(selection, tmp_path / "there" / "knee"), Target(None, tmp_path / "there" / "reference")]
    # As on a cluster: nothing is seen by both sides, files are sent back.
    with workers_for(context, tmp_path, training=True) as workers:
        assert workers is not None
        finish_elsewhere(workers, targets, None, Note(), shared_folder=False, resume=False)
    record = (targets[0].folder / "network.json").read_text()
    assert record == (tmp_path / "here" / "knee" / "network.json").read_text()
    there = finisher.finish(selection, targets[0].folder, Note(), deadline=None, resume=True)
    assert there.record == here.record
    weights = there.network.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in here.network.state_dict().items())
    assert finisher.finish_reference(targets[1].folder, Note(), deadline=None, resume=True) == reference


def test_no_workers_unless_asked_for(tmp_path: Path) -> None:
    for changes, training in (({}, False), ({}, True), ({"execution__evaluation_timeout_s": 60.0}, True)):
        with workers_for(context_with(**changes), tmp_path, training=training) as workers:
            assert workers is None


def test_a_time_limit_is_kept_by_a_worker(tmp_path: Path) -> None:
    context = context_with(execution__evaluation_timeout_s=0.001)
    with workers_for(context, tmp_path, training=False) as workers:
        assert workers is not None
        assert workers.num_workers == 1
        evaluator = RemoteEvaluator(workers, context.config.execution.evaluation_timeout_s)
        found = list(evaluator.evaluate_all(candidates(context, 1), lambda: False))
    assert found[0].evaluation.status is Status.FAILED
    assert found[0].evaluation.error == "took longer than 0.001 s"


def test_a_failure_elsewhere_is_said(tmp_path: Path) -> None:
    executor = AtOnce(lambda job: Reply("", "no room"))
    with pytest.raises(RunError, match=r"Fine-tuning in '.*knee' failed: no room.*--resume"):
        finish_elsewhere(executor, [Target(None, tmp_path / "knee")], 10.0, Note(), shared_folder=True, resume=False)


def test_time_is_divided_among_rounds(tmp_path: Path) -> None:
    seen: list[str] = []

    def do(job: Job) -> Reply:
        seen.append(job.payload)
        return Reply("[]")

    targets = [Target(None, tmp_path / str(index)) for index in range(4)]
    finish_elsewhere(AtOnce(do), targets, 60.0, Note(), shared_folder=True, resume=True)
    # Three workers: four networks take two rounds.
    assert all('"seconds":30.0' in payload and '"resume":true' in payload for payload in seen)
