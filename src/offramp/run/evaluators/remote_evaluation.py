"""Candidates that are judged by others: the same evaluations as in this process, in whatever order they come."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from offramp.distributed.executor import EVALUATE, Executor, Job, Reply
from offramp.errors import WorkerError
from offramp.jsonio import dumps, loads
from offramp.objectives.evaluation import Evaluation, Status
from offramp.run.study import Finished
from offramp.space.architecture import Architecture

_LOOK_AT_CLOCK_S = 0.5


class RemoteEvaluator:
    """Gives each candidate to an executor; ``timeout_s`` is for one candidate."""

    def __init__(self, executor: Executor, timeout_s: float | None = None) -> None:
        self._executor = executor
        self._timeout_s = timeout_s

    def evaluate_all(self, architectures: Sequence[Architecture], stop: Callable[[], bool]) -> Iterator[Finished]:
        """As they are finished; after a stop, those that are being worked on. Raises WorkerError without workers."""
        index_of: dict[Future[Reply], int] = {}
        try:
            for index, architecture in enumerate(architectures):
                job = Job(EVALUATE, dumps(architecture), self._timeout_s)
                index_of[self._executor.submit(job)] = index
            pending = set(index_of)
            while pending:
                done, pending = wait(pending, timeout=_LOOK_AT_CLOCK_S, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=index_of.__getitem__):
                    # Let go of what is recorded: a cluster would compute it anew if the worker that holds it is lost.
                    index = index_of.pop(future)
                    yield finished(index, architectures[index], future)
                if stop():
                    # Those that could be cancelled are not waited for: not every executor tells of them.
                    pending = {future for future in pending if not future.cancel()}
        finally:
            for future in index_of:
                future.cancel()


def finished(index: int, architecture: Architecture, future: "Future[Reply]") -> Finished:
    """What a job yielded, a failure of the candidate included; raises WorkerError where there are no workers."""
    try:
        reply = future.result()
    except WorkerError:
        raise
    except Exception as exc:
        # The cluster gave the candidate up, for example because every worker that took it died.
        reply = Reply("", " ".join(f"{type(exc).__name__}: {exc}".split()))
    if reply.error is not None:
        failed = Evaluation(architecture, Status.FAILED, {}, error=reply.error)
        return Finished(index, failed, reply.seconds, reply.worker)
    evaluation = loads(Evaluation, reply.payload, what="answer of a worker")
    if evaluation.architecture != architecture:
        raise WorkerError("A worker answered for another candidate than it was asked about; is its offramp the same?")
    return Finished(index, evaluation, reply.seconds, reply.worker)
