"""What a worker of a search does with its jobs: evaluate a candidate, solve a backbone, or finish a network."""

import base64
import tempfile
import time
from pathlib import Path

from offramp.algorithms.exact.backbone_solver import TableSolver
from offramp.deadline import Deadline
from offramp.distributed.executor import EVALUATE, SOLVE, Handler, Job, Progress
from offramp.jsonio import dumps, loads
from offramp.run.evaluators.cached_logits import CachedLogitsEvaluator
from offramp.run.finishing.finisher import Finisher
from offramp.run.finishing.targets import FinishTarget
from offramp.run.workers.finish_job import RETURNED_FILES, FinishJob, ReturnedFile
from offramp.run.workers.worker_folder import read_worker_folder
from offramp.space.architecture import Architecture

_SECONDS_BETWEEN_UPDATES = 0.5


def make_handler(folder: Path) -> Handler:
    """Make the handler of a worker.

    Args:
        folder: The files that `prepare_worker_folder` wrote.

    Returns:
        The handler. It answers a job of the kind ``evaluate``, an architecture, with its evaluation; one of the kind
        ``solve``, a backbone, with its `BackboneSolution` or null; and one of the kind ``finish``, a `FinishJob`, with
        a list of `ReturnedFile`.
    """
    context = read_worker_folder(folder)
    finisher = Finisher(context)
    # A worker is asked for each backbone once.
    cached = CachedLogitsEvaluator(context.evaluator, context.space, capacity=1)
    solver = TableSolver(cached, context.space, context.objectives, context.constraints)

    def handle(job: Job, progress: Progress) -> str:
        if job.kind == EVALUATE:
            return dumps(context.evaluator.evaluate(loads(Architecture, job.payload, what="candidate")))
        if job.kind == SOLVE:
            return dumps(solver.solve(loads(Architecture, job.payload, what="backbone")))
        return _finish(finisher, loads(FinishJob, job.payload, what="job"), progress)

    return handle


class _ProgressForwarder:
    """A task that forwards progress to the caller of the job, at most twice a second."""

    def __init__(self, forward: Progress) -> None:
        self._forward = forward
        self._last = 0.0

    def update(self, fraction: float, note: str = "") -> None:
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_UPDATES:
            self._last = now
            self._forward(fraction, note)


def _finish(finisher: Finisher, job: FinishJob, progress: Progress) -> str:
    now = time.monotonic()
    deadline = None if job.seconds is None else Deadline(now, now + job.seconds)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / job.name if job.folder is None else Path(job.folder)
        target = FinishTarget(job.selection, folder, None if job.teacher is None else Path(job.teacher))
        finisher.finish_target(target, _ProgressForwarder(progress), deadline=deadline, resume=job.resume)
        if job.folder is not None:
            return "[]"
        files = [ReturnedFile(name, base64.b64encode((folder / name).read_bytes()).decode()) for name in RETURNED_FILES]
        return dumps(files)
