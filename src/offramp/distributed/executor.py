"""Work that others do: a job is text in and text out, so that a pipe, a network or a file may lie between."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

EVALUATE, FINISH = "evaluate", "finish"
"""Kinds of jobs; a cluster may have resources for each."""

Progress = Callable[[float, str], None]
"""Receives the share of a job that is done, 0..1, and a word on its state."""


@dataclass(frozen=True)
class Job:
    """What a worker is asked; ``timeout_s`` counts from when a worker begins with it."""

    kind: str
    payload: str
    timeout_s: float | None = None


@dataclass(frozen=True)
class Reply:
    """What came of a job: a payload, or the reason why there is none; how long it took and where."""

    payload: str
    error: str | None = None
    seconds: float = 0.0
    worker: str = ""


Handler = Callable[[Job, Progress], str]
"""Does a job in a worker. What it raises becomes the error of the reply."""


class Workplace(Protocol):
    """What workers need before their first job, as files, and who does the jobs there."""

    @property
    def handler(self) -> str:
        """``package.module:function``; the function takes the folder of the files and returns a Handler."""
        ...

    @property
    def folder(self) -> Path: ...


class Executor(Protocol):
    """Does jobs, several at once; those of the processes of this machine and those of a cluster look the same."""

    @property
    def num_workers(self) -> int:
        """Jobs that are done at the same time."""
        ...

    def submit(self, job: Job, progress: Progress | None = None) -> "Future[Reply]":
        """A job that fails has a reply with an error; the future raises WorkerError where no worker can be had."""
        ...

    def close(self) -> None:
        """Stop at once, whatever is being done."""
        ...
