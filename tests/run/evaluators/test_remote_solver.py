"""Backbones that are announced are solved at the same time; a failed job has no solution, and the search goes on."""

from concurrent.futures import Future

import pytest

from offramp.algorithms.exact.backbone_solver import BackboneSolution
from offramp.distributed.executor import SOLVE, Job, Progress, Reply
from offramp.errors import WorkerError
from offramp.jsonio import dumps, loads
from offramp.objectives.evaluation import Evaluation, Status
from offramp.run.evaluators.remote_solver import RemoteSolver
from offramp.space.architecture import Architecture
from offramp.testing.toys import tiny_space

LARGEST, SMALLEST = tiny_space().max_architecture(), tiny_space().min_architecture()


def solution_of(backbone: Architecture) -> BackboneSolution:
    return BackboneSolution((Evaluation(backbone, Status.COMPLETE, {"accuracy": 0.5}),), complete=False)


class Jobs:
    """An executor whose replies a test gives."""

    num_workers = 2

    def __init__(self, **replies: Reply | Exception) -> None:
        self.jobs: list[Job] = []
        self._replies = replies

    def submit(self, job: Job, progress: Progress | None = None) -> "Future[Reply]":
        self.jobs.append(job)
        backbone = loads(Architecture, job.payload, what="job")
        future: Future[Reply] = Future()
        reply = self._replies["largest" if backbone == LARGEST else "smallest"]
        if isinstance(reply, Exception):
            future.set_exception(reply)
        else:
            future.set_result(reply)
        return future

    def close(self) -> None:
        pass


def test_announced_backbones_are_submitted_at_once_and_only_once() -> None:
    jobs = Jobs(largest=Reply(dumps(solution_of(LARGEST))), smallest=Reply("null"))
    solver = RemoteSolver(jobs, timeout_s=7.0)
    solver.prepare([LARGEST, SMALLEST])
    assert [(job.kind, job.timeout_s) for job in jobs.jobs] == [(SOLVE, 7.0)] * 2
    assert solver.solve(LARGEST) == solution_of(LARGEST)
    assert solver.solve(SMALLEST) is None
    assert len(jobs.jobs) == 2


def test_a_job_that_failed_has_no_solution() -> None:
    jobs = Jobs(largest=Reply("", "took longer than 7 s"), smallest=RuntimeError("the cluster gave it up"))
    solver = RemoteSolver(jobs)
    assert solver.solve(LARGEST) is None
    assert solver.solve(SMALLEST) is None


def test_a_search_without_workers_ends() -> None:
    with pytest.raises(WorkerError, match="no worker"):
        RemoteSolver(Jobs(largest=WorkerError("no worker can be started"))).solve(LARGEST)
    with pytest.raises(WorkerError, match="another backbone"):
        RemoteSolver(Jobs(largest=Reply(dumps(solution_of(SMALLEST))))).solve(LARGEST)
