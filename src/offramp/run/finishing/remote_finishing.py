"""The finishing strategy that leaves the work to an executor."""

import base64
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager
from pathlib import Path

from offramp.deadline import Deadline
from offramp.distributed.executor import FINISH, Executor, Job, Progress, Reply
from offramp.errors import RunError, WorkerError
from offramp.files.safe_files import write_atomically
from offramp.jsonio import dumps, loads
from offramp.progress import Reporter, Task
from offramp.records.run_summary import StaticReference
from offramp.run.finishing.finisher import FinishedNetwork, Finisher
from offramp.run.finishing.targets import FinishTarget
from offramp.run.workers.finish_job import RETURNED_FILES, FinishJob, ReturnedFile

_SECONDS_BETWEEN_UPDATES = 0.5


class RemoteFinishing:
    """Finishes several networks at once by workers, and reads the results."""

    def __init__(
        self,
        open_executor: Callable[[], AbstractContextManager[Executor]],
        finisher: Finisher,
        reporter: Reporter,
        *,
        shared_folder: bool,
        resume: bool,
    ) -> None:
        """Prepare the strategy.

        Args:
            open_executor: Starts the workers; they end when the context is left.
            finisher: Reads what the workers made.
            reporter: Shows the progress.
            shared_folder: Whether workers see the run's folder; otherwise they send their files back.
            resume: Whether results and checkpoints in the folders are used.
        """
        self._open_executor = open_executor
        self._finisher = finisher
        self._reporter = reporter
        self._shared_folder = shared_folder
        self._resume = resume

    def finish_all(
        self, targets: Sequence[FinishTarget], phase: Deadline | None
    ) -> Iterator[FinishedNetwork | StaticReference]:
        """Finish all targets; workers have ended before the first result.

        Args:
            targets: What to finish. A reference that teaches is finished before its pupils.
            phase: The time for all of them together; None = no limit.

        Yields:
            One result per target, in their order.

        Raises:
            RunError: A target failed.
            WorkerError: No worker can be started, or one sent an unexpected file.
        """
        taught = [target for target in targets if target.teacher is not None]
        others = [target for target in targets if target.teacher is None]
        rounds = [group for group in (others, taught) if group]
        with self._open_executor() as executor:
            for number, group in enumerate(rounds, start=1):
                deadline = None if phase is None else phase.up_to(number / len(rounds))
                with self._reporter.task(f"Fine-tuning {len(group)} networks") as task:
                    self._run_jobs(executor, group, deadline, task)
        for target in targets:
            yield self._finisher.read_target(target)

    def _run_jobs(
        self, executor: Executor, targets: Sequence[FinishTarget], deadline: Deadline | None, task: Task
    ) -> None:
        """Fine-tune targets that do not depend on each other, so that their folders hold what `Finisher` writes."""
        turns = math.ceil(len(targets) / executor.num_workers)
        seconds = None if deadline is None else deadline.seconds_left() / turns
        fractions = [0.0] * len(targets)
        futures: dict[Future[Reply], int] = {}
        for index, target in enumerate(targets):
            job = Job(FINISH, dumps(self._job(target, seconds)))
            futures[executor.submit(job, _fraction_setter(fractions, index))] = index
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=_SECONDS_BETWEEN_UPDATES, return_when=FIRST_COMPLETED)
            for future in done:
                index = futures[future]
                _save_files(future.result(), targets[index].folder)
                fractions[index] = 1.0
            finished = len(targets) - len(pending)
            task.update(sum(fractions) / len(fractions), f"{finished} of {len(targets)} done")

    def _job(self, target: FinishTarget, seconds: float | None) -> FinishJob:
        return FinishJob(
            name=target.folder.name,
            selection=target.selection,
            seconds=seconds,
            folder=str(target.folder.resolve()) if self._shared_folder else None,
            resume=self._resume,
            teacher=None if target.teacher is None else str(target.teacher.resolve()),
        )


def _fraction_setter(fractions: list[float], index: int) -> Progress:
    def set_fraction(fraction: float, note: str) -> None:
        fractions[index] = fraction

    return set_fraction


def _save_files(reply: Reply, folder: Path) -> None:
    """Write the files that a worker sent back, the record last."""
    if reply.error is not None:
        raise RunError(f"Fine-tuning in {str(folder)!r} failed: {reply.error}. Go on with --resume.")
    files = loads(tuple[ReturnedFile, ...], reply.payload, what="answer of a worker")
    if files:
        folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        if file.name not in RETURNED_FILES:
            raise WorkerError(f"A worker sent a file that was not asked for: {file.name!r}.")
        try:
            content = base64.b64decode(file.base64, validate=True)
        except ValueError as exc:
            raise WorkerError(f"A worker must send {file.name} as base64 text, but: {exc}.") from exc
        write_atomically(folder / file.name, content)
