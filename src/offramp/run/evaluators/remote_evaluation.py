"""Evaluation of candidates by workers, with the same figures as in this process."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from offramp.distributed.executor import EVALUATE, Executor, Job, Reply
from offramp.errors import WorkerError
from offramp.jsonio import dumps, loads
from offramp.objectives.evaluation import Evaluation, Status
from offramp.run.evaluators.batch_evaluator import CandidateResult, More, no_more
from offramp.space.architecture import Architecture

_LOOK_AT_CLOCK_S = 0.5


class RemoteEvaluator:
    """Gives each candidate of a batch to an executor.

    Attributes:
        executor: Does the jobs.
        timeout_s: Seconds that the evaluation of one candidate may take; None = no limit.
    """

    def __init__(self, executor: Executor, timeout_s: float | None = None) -> None:
        """Wrap an executor.

        Args:
            executor: Does the jobs.
            timeout_s: Seconds that the evaluation of one candidate may take; None = no limit.
        """
        self.executor = executor
        self.timeout_s = timeout_s

    def evaluate_all(
        self, architectures: Sequence[Architecture], stop: Callable[[], bool], more: More = no_more
    ) -> Iterator[CandidateResult]:
        """Evaluate a batch, and candidates that are added meanwhile.

        Args:
            architectures: The candidates.
            stop: Asked from time to time; once it is true, no further evaluation begins.
            more: Asked for further candidates after each result.

        Yields:
            Results as they become available, those of running evaluations included after a stop.

        Raises:
            WorkerError: No worker can be started, or one evaluated another candidate.
        """
        index_of: dict[Future[Reply], int] = {}
        asked: list[Architecture] = []

        def submit(added: Sequence[Architecture]) -> set[Future[Reply]]:
            futures = set()
            for architecture in added:
                future = self.executor.submit(Job(EVALUATE, dumps(architecture), self.timeout_s))
                index_of[future] = len(asked)
                asked.append(architecture)
                futures.add(future)
            return futures

        try:
            pending = submit(architectures)
            while pending:
                done, pending = wait(pending, timeout=_LOOK_AT_CLOCK_S, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=index_of.__getitem__):
                    # Drop the future: a cluster would compute it again if the worker that holds it is lost.
                    index = index_of.pop(future)
                    yield _result_of(index, asked[index], future)
                    pending |= submit(more())
                if stop():
                    # Cancelled jobs are not waited for: not every executor reports them.
                    pending = {future for future in pending if not future.cancel()}
        finally:
            for future in index_of:
                future.cancel()


def _result_of(index: int, architecture: Architecture, future: "Future[Reply]") -> CandidateResult:
    """The result of a job, a failure of the candidate included; raises WorkerError where there are no workers."""
    try:
        reply = future.result()
    except WorkerError:
        raise
    except Exception as exc:
        # The cluster gave up the job, for example because every worker that began it died.
        reply = Reply("", " ".join(f"{type(exc).__name__}: {exc}".split()))
    if reply.error is not None:
        failed = Evaluation(architecture, Status.FAILED, {}, error=reply.error)
        return CandidateResult(index, failed, reply.seconds, reply.worker)
    evaluation = loads(Evaluation, reply.payload, what="answer of a worker")
    if evaluation.architecture != architecture:
        raise WorkerError("A worker answered for another candidate than it was asked about; is its offramp the same?")
    return CandidateResult(index, evaluation, reply.seconds, reply.worker)
