"""Finishing by workers leaves what finishing in this process leaves, in the same order."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from offramp.deadline import Deadline
from offramp.distributed.executor import Job, Reply
from offramp.errors import RunError, WorkerError
from offramp.jsonio import dumps, loads
from offramp.progress import SilentReporter
from offramp.records.run_summary import StaticReference
from offramp.run.factory import build_context, build_dataset
from offramp.run.finishing.finisher import FinishedNetwork, Finisher
from offramp.run.finishing.remote_finishing import RemoteFinishing
from offramp.run.finishing.strategy import FinishingStrategy, InProcessFinishing
from offramp.run.finishing.targets import FinishTarget, Selection
from offramp.run.workers.executors import open_executor
from offramp.run.workers.finish_job import FinishJob, ReturnedFile
from tests.conftest import small_config
from tests.run.evaluators.test_remote_evaluation import AtOnce
from tests.run.finishing.test_strategy import RecordingFinisher


def test_workers_leave_what_this_process_leaves(tmp_path: Path) -> None:
    config = small_config(execution__workers=2)
    context = build_context(config, build_dataset(config, SilentReporter()))
    architecture = context.space.sample(np.random.default_rng(1))
    selection = Selection(("knee",), context.evaluator.evaluate(architecture))
    finisher, reporter = Finisher(context), SilentReporter()
    workers = partial(open_executor, context, tmp_path, training=True)
    # As on a cluster: caller and workers share no folder, so that files are sent back.
    remote = RemoteFinishing(workers, finisher, reporter, shared_folder=False, resume=False)
    strategies: dict[str, FinishingStrategy] = {
        "here": InProcessFinishing(finisher, reporter, resume=False),
        "there": remote,
    }
    results: dict[str, list[FinishedNetwork | StaticReference]] = {}
    for name, strategy in strategies.items():
        targets = [FinishTarget(selection, tmp_path / name / "knee"), FinishTarget(None, tmp_path / name / "reference")]
        results[name] = list(strategy.finish_all(targets, None))
    (here, reference), (there, other_reference) = results["here"], results["there"]
    assert isinstance(here, FinishedNetwork)
    assert isinstance(there, FinishedNetwork)
    assert isinstance(reference, StaticReference)
    assert other_reference == reference
    assert (there.record, there.log) == (here.record, here.log)
    weights = there.network.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in here.network.state_dict().items())
    texts = [(tmp_path / name / "knee" / "network.json").read_text() for name in ("here", "there")]
    assert texts[0] == texts[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]


def with_replies(reply: Callable[[Job], Reply], *, shared_folder: bool, resume: bool) -> RemoteFinishing:
    """Three workers that answer at once."""
    executor = AtOnce(reply)
    return RemoteFinishing(
        lambda: nullcontext(executor),
        RecordingFinisher(),
        SilentReporter(),
        shared_folder=shared_folder,
        resume=resume,
    )


def jobs_of(targets: list[FinishTarget]) -> list[FinishJob]:
    """What workers are asked for, with 60 seconds for all."""
    seen: list[FinishJob] = []

    def reply(job: Job) -> Reply:
        seen.append(loads(FinishJob, job.payload))
        return Reply("[]")

    now = time.monotonic()
    strategy = with_replies(reply, shared_folder=True, resume=True)
    assert list(strategy.finish_all(targets, Deadline(now, now + 60.0))) == targets
    return seen


def test_time_is_divided_among_turns(tmp_path: Path) -> None:
    jobs = jobs_of([FinishTarget(None, tmp_path / str(index)) for index in range(4)])
    # Three workers: four networks take two turns.
    assert [job.seconds for job in jobs] == pytest.approx([30.0] * 4, abs=1.0)
    assert all(job.resume for job in jobs)
    assert [job.folder for job in jobs] == [str(tmp_path / str(index)) for index in range(4)]


def test_a_teacher_is_finished_before_its_pupils(tmp_path: Path) -> None:
    teacher = FinishTarget(None, tmp_path / "reference")
    pupils = [FinishTarget(None, tmp_path / name, teacher.folder) for name in ("knee", "cheapest")]
    jobs = jobs_of([teacher, *pupils])
    assert [job.name for job in jobs] == ["reference", "knee", "cheapest"]
    assert [job.teacher for job in jobs] == [None, *[str(tmp_path / "reference")] * 2]
    # The teacher may use half of the time, its pupils all that is left.
    assert [job.seconds for job in jobs] == pytest.approx([30.0, 60.0, 60.0], abs=1.0)


def test_a_failure_of_a_worker_is_reported(tmp_path: Path) -> None:
    strategy = with_replies(lambda job: Reply("", "no room"), shared_folder=True, resume=False)
    with pytest.raises(RunError, match=r"Fine-tuning in '.*knee' failed: no room.*--resume"):
        list(strategy.finish_all([FinishTarget(None, tmp_path / "knee")], None))


def test_a_file_that_was_not_asked_for_is_refused(tmp_path: Path) -> None:
    payload = dumps([ReturnedFile("../bundle", "AAAA")])
    strategy = with_replies(lambda job: Reply(payload), shared_folder=False, resume=False)
    with pytest.raises(WorkerError, match=r"not asked for: '\.\./bundle'"):
        list(strategy.finish_all([FinishTarget(None, tmp_path / "run" / "knee")], None))
    assert list(tmp_path.rglob("bundle")) == []
