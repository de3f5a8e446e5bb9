"""Solution of backbones by workers, with the same results as in this process."""

from collections.abc import Sequence
from concurrent.futures import Future

from offramp.algorithms.exact.backbone_solver import BackboneSolution
from offramp.distributed.executor import SOLVE, Executor, Job, Reply
from offramp.errors import WorkerError
from offramp.jsonio import dumps, loads
from offramp.space.architecture import Architecture


class RemoteSolver:
    """Gives each backbone to an executor; backbones that are announced are solved at the same time."""

    def __init__(self, executor: Executor, timeout_s: float | None = None) -> None:
        """Wrap an executor.

        Args:
            executor: Does the jobs.
            timeout_s: Seconds that one backbone may take; None = no limit.
        """
        self._executor = executor
        self._timeout_s = timeout_s
        self._running: dict[Architecture, Future[Reply]] = {}

    def prepare(self, backbones: Sequence[Architecture]) -> None:
        """Submit backbones to the executor.

        Args:
            backbones: The backbones, without early exits.
        """
        for backbone in backbones:
            if backbone not in self._running:
                self._running[backbone] = self._executor.submit(Job(SOLVE, dumps(backbone), self._timeout_s))

    def solve(self, backbone: Architecture) -> BackboneSolution | None:
        """Wait for the solution of a backbone; one that was not announced is submitted first.

        Args:
            backbone: The backbone, without early exits.

        Returns:
            Its solution; None if its exits cannot be solved from cached outputs, or the worker failed or was too slow.

        Raises:
            WorkerError: No worker can be started, or one answered for another backbone.
        """
        self.prepare([backbone])
        try:
            reply = self._running.pop(backbone).result()
        except WorkerError:
            raise
        except Exception:
            # The cluster gave up the job. The evaluation of the backbone states the reason.
            return None
        if reply.error is not None:
            return None
        solution = loads(BackboneSolution | None, reply.payload, what="answer of a worker")  # type: ignore[arg-type]
        check_solution(solution, backbone)
        return solution


def check_solution(solution: BackboneSolution | None, backbone: Architecture) -> None:
    """Check that a solution is one of a backbone.

    Args:
        solution: The solution, or None.
        backbone: The backbone, without early exits.

    Raises:
        WorkerError: An evaluation is of another backbone.
    """
    if solution is not None and any(e.architecture.without_exits() != backbone for e in solution.evaluations):
        raise WorkerError("A worker solved another backbone than it was asked about; is its offramp the same?")
