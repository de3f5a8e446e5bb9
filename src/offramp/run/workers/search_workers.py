"""Workers for a search: those that the settings ask for, and fine-tuning that is left to them."""

import base64
import math
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from offramp.distributed.dask_cluster import DaskExecutor
from offramp.distributed.executor import EVALUATE, FINISH, Executor, Job, Progress, Reply
from offramp.distributed.process_pool import ProcessPool
from offramp.errors import RunError, WorkerError
from offramp.jsonio import dumps, loads, write_atomically
from offramp.progress import Task
from offramp.run.context import Context
from offramp.run.finishing.finish import Selection
from offramp.run.workers.worker_jobs import SENT_BACK, FinishJob, SentFile, set_up_desk
from offramp.train.compute import default_threads

_LOOK_S = 0.5
_ALL_CORES = 1 << 20
"""Processes among which no share of the cores is left but one: those of a cluster, where others may work too."""


@dataclass(frozen=True)
class Target:
    """A network to fine-tune and its folder in the run; None in place of a selection stands for the reference.

    ``teacher`` is the folder of the finished reference, where it is to teach.
    """

    selection: Selection | None
    folder: Path
    teacher: Path | None = None


@contextmanager
def workers_for(context: Context, run_folder: Path, *, training: bool) -> Iterator[Executor | None]:
    """The workers that the settings ask for, until the end of the block; None where this process does the work.

    A time limit needs a worker of its own: this process cannot end what it does itself.
    """
    execution, train = context.config.execution, context.config.train
    count = execution.workers or (1 if execution.evaluation_timeout_s is not None and not training else None)
    if count is None and execution.cluster is None:
        yield None
        return
    threads = 1
    if training:
        threads = train.threads or default_threads(max(context.dataset.input_shape[1:]), count or _ALL_CORES)
    # Removed by the next resume where a kill leaves it behind.
    folder = run_folder / ".workplace.part"
    shutil.rmtree(folder, ignore_errors=True)
    desk = set_up_desk(context, folder, training=training, threads=threads)
    executor: Executor
    if execution.cluster is not None:
        needs = {EVALUATE: execution.evaluation_resources, FINISH: execution.training_resources}
        executor = DaskExecutor(desk, execution.cluster, threads=threads, resources=needs)
    else:
        executor = ProcessPool(desk, count or 1, threads)
    try:
        yield executor
    finally:
        executor.close()
        shutil.rmtree(folder, ignore_errors=True)


def finish_elsewhere(
    executor: Executor,
    targets: Sequence[Target],
    seconds: float | None,
    task: Task,
    *,
    shared_folder: bool,
    resume: bool,
) -> None:
    """Fine-tune all targets, several at once, so that their folders hold what ``Finisher`` leaves there.

    ``seconds`` are for all of them together. Raises RunError for one that fails.
    """
    rounds = math.ceil(len(targets) / executor.num_workers)
    each = None if seconds is None else seconds / rounds
    shares = [0.0] * len(targets)

    def told(index: int) -> Progress:
        def tell(fraction: float, note: str) -> None:
            shares[index] = fraction

        return tell

    futures: dict[Future[Reply], int] = {}
    for index, target in enumerate(targets):
        folder = str(target.folder.resolve()) if shared_folder else None
        teacher = None if target.teacher is None else str(target.teacher.resolve())
        job = FinishJob(target.folder.name, target.selection, each, folder, resume, teacher)
        futures[executor.submit(Job(FINISH, dumps(job)), told(index))] = index
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
        for future in done:
            index = futures[future]
            _keep(future.result(), targets[index].folder)
            shares[index] = 1.0
        task.update(sum(shares) / len(shares), f"{len(targets) - len(pending)} of {len(targets)} done")


def _keep(reply: Reply, folder: Path) -> None:
    """Write the files of a reply that had to be sent back; the record last, for it says that all is there."""
    if reply.error is not None:
        raise RunError(f"Fine-tuning in {str(folder)!r} failed: {reply.error}. Go on with --resume.")
    files = loads(tuple[SentFile, ...], reply.payload, what="answer of a worker")
    if files:
        folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        if file.name not in SENT_BACK:
            raise WorkerError(f"A worker sent a file that nobody asked for: {file.name!r}.")
        write_atomically(folder / file.name, base64.b64decode(file.base64))
