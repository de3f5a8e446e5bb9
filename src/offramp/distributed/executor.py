"""Jobs for other processes: text in and text out, so that a pipe, a network or a file may lie between."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

EVALUATE, SOLVE, FINISH = "evaluate", "solve", "finish"
"""Kinds of jobs. A cluster may require resources for each kind."""

Progress = Callable[[float, str], None]
"""Receives the share of a job that is done, 0..1, and a note on its state."""


@dataclass(frozen=True)
class Job:
    """A request to a worker.

    Attributes:
        kind: What is to be done, one of `EVALUATE`, `SOLVE` and `FINISH`.
        payload: The arguments as text, usually JSON.
        timeout_s: Seconds that the job may take, counted from when a worker begins it; None = no limit.
    """

    kind: str
    payload: str
    timeout_s: float | None = None


@dataclass(frozen=True)
class Reply:
    """The result of a job.

    Attributes:
        payload: The result as text; empty where there is an error.
        error: The reason why there is no result; None after success.
        seconds: Seconds that the job took.
        worker: Which worker did the job.
    """

    payload: str
    error: str | None = None
    seconds: float = 0.0
    worker: str = ""


Handler = Callable[[Job, Progress], str]
"""Does a job in a worker and returns the payload of the reply. What it raises becomes the error of the reply."""


@dataclass(frozen=True)
class WorkerFolder:
    """The files that workers read before their first job, and the code that does the jobs.

    Attributes:
        folder: The folder of the files.
        handler: ``package.module:function``; the function takes the folder and returns a `Handler`.
    """

    folder: Path
    handler: str


class Executor(Protocol):
    """Does jobs, several at once. Processes of this machine and workers of a cluster have the same interface."""

    @property
    def num_workers(self) -> int:
        """Number of jobs that run at the same time."""
        ...

    def submit(self, job: Job, progress: Progress | None = None) -> "Future[Reply]":
        """Queue a job.

        Args:
            job: The job.
            progress: Receives the progress of the job, if the executor reports it.

        Returns:
            The future reply. A job that fails has a reply with an error; the future raises WorkerError where no
            worker can be started.
        """
        ...

    def close(self) -> None:
        """Stop at once. Running jobs are given up."""
        ...
