"""Solutions of backbones in the record of a run, so that a resumed search solves none a second time."""

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from offramp.algorithms.exact.backbone_solver import BackboneSolution, BackboneSolver
from offramp.errors import RunError
from offramp.jsonio import dumps, loads
from offramp.objectives.evaluation import Evaluation, Evaluator
from offramp.records import RunStore
from offramp.run.evaluators.batch_evaluator import BatchEvaluator, CandidateResult, More, SequentialEvaluator, no_more
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
        self, architectures: Sequence[Architecture], stop: Callable[[], bool], more: More = no_more
    ) -> Iterator[CandidateResult]:
        """Evaluate a batch, and candidates that are added meanwhile.

        Args:
            architectures: The candidates.
            stop: Asked before candidates that are not known; once it is true, no further evaluation begins.
            more: Asked for further candidates after each result.

        Yields:
            Known candidates first, then the others as they become available.
        """
        numbers = itertools.count()
        known: deque[CandidateResult] = deque()
        places: list[int] = []

        def unknown_of(added: Sequence[Architecture]) -> list[Architecture]:
            unknown = []
            for architecture in added:
                index, evaluation = next(numbers), self._solver.evaluation(architecture)
                if evaluation is None:
                    places.append(index)
                    unknown.append(architecture)
                else:
                    known.append(CandidateResult(index, evaluation))
            return unknown

        unknown = unknown_of(architectures)
        while known or unknown:
            while known:
                yield known.popleft()
                unknown += unknown_of(more())
            first, begun = len(places) - len(unknown), unknown
            unknown = []
            for result in self._others.evaluate_all(begun, stop, lambda: unknown_of(more())):
                place = places[first + result.index]
                yield CandidateResult(place, result.evaluation, result.seconds, result.worker)
                while known:
                    yield known.popleft()


def _key(backbone: Architecture) -> str:
    return f"solution {hashlib.sha256(dumps(backbone).encode()).hexdigest()}"
