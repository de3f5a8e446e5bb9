"""Solutions of backbones in the record of a run, so that a resumed search solves none a second time."""

import hashlib
from collections.abc import Callable, Iterator, Sequence

from offramp.algorithms.exact.backbone_solver import BackboneSolution, BackboneSolver
from offramp.errors import RunError
from offramp.jsonio import dumps, loads
from offramp.objectives.evaluation import Evaluation, Evaluator
from offramp.records import RunStore
from offramp.run.evaluators.batch_evaluator import BatchEvaluator, CandidateResult, SequentialEvaluator
from offramp.space.architecture import Architecture


class RecordedSolver:
    """Reads solutions from the record of a run; others come from another solver and are recorded."""

    def __init__(self, solver: BackboneSolver, store: RunStore) -> None:
        """Wrap a solver.

        Args:
            solver: Solves backbones that are not recorded.
            store: The record.
        """
        self._solver = solver
        self._store = store
        self._known: dict[Architecture, Evaluation] = {}

    def prepare(self, backbones: Sequence[Architecture]) -> None:
        """Announce those backbones that are not recorded.

        Args:
            backbones: The backbones, without early exits.
        """
        self._solver.prepare([item for item in backbones if self._store.get(_key(item)) is None])

    def solve(self, backbone: Architecture) -> BackboneSolution | None:
        """Read the solution of a backbone, or solve it and record the solution.

        Args:
            backbone: The backbone, without early exits.

        Returns:
            Its solution; None if its exits cannot be solved from cached outputs.

        Raises:
            RunError: The record cannot be read or written, or it holds something else.
        """
        text = self._store.get(_key(backbone))
        if text is None:
            solution = self._solver.solve(backbone)
            self._store.set(_key(backbone), dumps(solution))
        else:
            what = f"A solution in {self._store.folder}"
            solution = loads(BackboneSolution | None, text, what=what, error=RunError)  # type: ignore[arg-type]
            if solution is not None and any(e.architecture.without_exits() != backbone for e in solution.evaluations):
                raise RunError(f"{what} must be of the backbone that it is recorded for. Start a new run.")
        if solution is not None:
            self._known.update((item.architecture, item) for item in solution.evaluations)
        return solution

    def evaluation(self, architecture: Architecture) -> Evaluation | None:
        """Look up the evaluation of a candidate.

        Args:
            architecture: The candidate.

        Returns:
            Its evaluation; None if it is in no solution so far.
        """
        return self._known.get(architecture)


class SolvedCandidates:
    """Evaluates batches: candidates of solved backbones by looking them up, all others by another evaluator."""

    def __init__(self, solver: RecordedSolver, evaluator: Evaluator | BatchEvaluator) -> None:
        """Wrap an evaluator.

        Args:
            solver: Knows the evaluations of solved backbones.
            evaluator: Evaluates all other candidates.
        """
        self._solver = solver
        self._others: BatchEvaluator = SequentialEvaluator(evaluator) if isinstance(evaluator, Evaluator) else evaluator

    def evaluate_all(
        self, architectures: Sequence[Architecture], stop: Callable[[], bool]
    ) -> Iterator[CandidateResult]:
        """Evaluate a batch.

        Args:
            architectures: The candidates.
            stop: Asked before candidates that are not known; once it is true, no further evaluation begins.

        Yields:
            Known candidates first, then the others as they become available.
        """
        unknown = []
        for index, architecture in enumerate(architectures):
            known = self._solver.evaluation(architecture)
            if known is None:
                unknown.append(index)
            else:
                yield CandidateResult(index, known)
        if unknown:
            for result in self._others.evaluate_all([architectures[index] for index in unknown], stop):
                yield CandidateResult(unknown[result.index], result.evaluation, result.seconds, result.worker)


def _key(backbone: Architecture) -> str:
    return f"solution {hashlib.sha256(dumps(backbone).encode()).hexdigest()}"
