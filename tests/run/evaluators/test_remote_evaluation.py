"""Candidates judged by others: the same evaluations, failures with their reasons, and an orderly stop."""

from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
import pytest

from offramp.distributed.executor import Job, Progress, Reply
from offramp.errors import InputError, WorkerError
from offramp.jsonio import dumps, loads
from offramp.objectives.evaluation import Evaluation, Status
from offramp.run.evaluators.remote_evaluation import RemoteEvaluator
from offramp.space.architecture import Architecture
from offramp.testing.toys import ToyEvaluator, small_space


class AtOnce:
    """An executor that does every job when it is given, by ``do``; those in ``held`` never end."""

    num_workers = 3

    def __init__(self, do: Callable[[Job], Reply], held: tuple[int, ...] = ()) -> None:
        self.do = do
        self.held = held
        self.jobs: list[Job] = []
        self.futures: list[Future[Reply]] = []

    def submit(self, job: Job, progress: Progress | None = None) -> "Future[Reply]":
        future: Future[Reply] = Future()
        self.jobs.append(job)
        self.futures.append(future)
        if len(self.jobs) - 1 not in self.held:
            try:
                future.set_result(self.do(job))
            except Exception as exc:
                future.set_exception(exc)
        return future

    def close(self) -> None: ...


def candidates(count: int) -> list[Architecture]:
    rng = np.random.default_rng(3)
    return [small_space().sample(rng) for _ in range(count)]


def judge(job: Job) -> Reply:
    return Reply(dumps(ToyEvaluator().evaluate(loads(Architecture, job.payload))), None, 0.25, "w1")


def test_the_same_evaluations_as_here() -> None:
    asked, executor = candidates(5), AtOnce(judge)
    found = list(RemoteEvaluator(executor, 7.5).evaluate_all(asked, lambda: False))
    assert [item.index for item in found] == [0, 1, 2, 3, 4]
    assert [item.evaluation for item in found] == [ToyEvaluator().evaluate(architecture) for architecture in asked]
    assert {(item.seconds, item.worker) for item in found} == {(0.25, "w1")}
    assert {(job.kind, job.timeout_s) for job in executor.jobs} == {("evaluate", 7.5)}


def test_failures_are_evaluations_with_a_reason() -> None:
    asked = candidates(3)

    def do(job: Job) -> Reply:
        position = asked.index(loads(Architecture, job.payload))
        if position == 1:
            raise OSError("every worker\nthat took it died")
        return Reply("", "took longer than 5 s", 5.0, "w2") if position == 2 else judge(job)

    found = [item.evaluation for item in RemoteEvaluator(AtOnce(do)).evaluate_all(asked, lambda: False)]
    assert found[0].status is Status.COMPLETE
    assert found[1] == Evaluation(asked[1], Status.FAILED, {}, error="OSError: every worker that took it died")
    assert found[2] == Evaluation(asked[2], Status.FAILED, {}, error="took longer than 5 s")


def test_without_workers_it_is_no_fault_of_the_candidate() -> None:
    def do(job: Job) -> Reply:
        raise WorkerError("no memory for workers")

    with pytest.raises(WorkerError, match="no memory"):
        list(RemoteEvaluator(AtOnce(do)).evaluate_all(candidates(2), lambda: False))


def test_an_answer_that_is_none() -> None:
    with pytest.raises(InputError, match="answer of a worker"):
        list(RemoteEvaluator(AtOnce(lambda job: Reply("{}"))).evaluate_all(candidates(1), lambda: False))
    other = dumps(ToyEvaluator().evaluate(candidates(2)[1]))
    with pytest.raises(WorkerError, match="another candidate"):
        list(RemoteEvaluator(AtOnce(lambda job: Reply(other))).evaluate_all(candidates(1), lambda: False))


def test_a_stop_takes_back_what_was_not_begun() -> None:
    executor = AtOnce(judge, held=(1, 3))
    found = list(RemoteEvaluator(executor).evaluate_all(candidates(4), lambda: True))
    assert [item.index for item in found] == [0, 2]
    assert [future.cancelled() for future in executor.futures] == [False, True, False, True]


def test_what_is_being_done_at_a_stop_is_kept() -> None:
    executor = AtOnce(judge, held=(0, 1))
    results = RemoteEvaluator(executor).evaluate_all(candidates(3), lambda: True)
    assert next(results).index == 2
    executor.futures[0].set_running_or_notify_cancel()
    executor.futures[0].set_result(judge(executor.jobs[0]))
    assert [item.index for item in results] == [0]
    assert executor.futures[1].cancelled()


def test_whoever_stops_listening_takes_all_back() -> None:
    executor = AtOnce(judge, held=(1, 2))
    results = RemoteEvaluator(executor).evaluate_all(candidates(3), lambda: False)
    assert next(results).index == 0
    results.close()  # type: ignore[attr-defined]
    assert [future.cancelled() for future in executor.futures] == [False, True, True]
