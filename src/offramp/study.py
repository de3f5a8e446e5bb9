"""Study: ask, evaluate, tell, store; and go on from what is stored."""

from dataclasses import dataclass

from offramp.clock import Deadline
from offramp.errors import RunError
from offramp.objectives.evaluation import Evaluation, Evaluator, SearchAlgorithm
from offramp.progress import Task
from offramp.store import RunStore


@dataclass(frozen=True)
class StudyEnd:
    """Why a study stopped and what it knows."""

    evaluations: tuple[Evaluation, ...]
    interrupted: bool


class Study:
    """Drives a search algorithm; every batch is stored before the algorithm is told about it."""

    def __init__(self, algorithm: SearchAlgorithm, evaluator: Evaluator, store: RunStore | None = None) -> None:
        self.algorithm = algorithm
        self.evaluator = evaluator
        self.store = store
        self.batches: list[list[Evaluation]] = []

    def replay(self) -> None:
        """Bring a fresh algorithm to where the stored record ends."""
        if self.store is None:
            return
        for batch in self.store.batches():
            asked = self.algorithm.ask(len(batch))
            told = [evaluation.architecture for evaluation in batch]
            if asked != told:
                raise RunError(
                    "The record of this run does not fit its settings (the algorithm proposes other candidates). "
                    "Start a new run."
                )
            self.algorithm.tell(batch)
            self.batches.append(batch)

    def run(self, evaluations: int, batch: int, task: Task, deadline: Deadline | None = None) -> StudyEnd:
        """Evaluate until ``evaluations`` are known or the deadline has passed; Ctrl-C ends it in good order.

        A batch that is cut short is stored as far as it came, so nothing that was computed is lost.
        """
        interrupted = False
        while not interrupted and self._done() < evaluations and not (deadline and deadline.passed()):
            count = min(batch, evaluations - self._done())
            results, interrupted = self._evaluate(count, evaluations, task, deadline)
            if not results:
                break
            if self.store is not None:
                self.store.append(len(self.batches), results)
            self.algorithm.tell(results)
            self.batches.append(results)
        return StudyEnd(tuple(e for group in self.batches for e in group), interrupted)

    def _evaluate(self, count: int, total: int, task: Task, deadline: Deadline | None) -> tuple[list[Evaluation], bool]:
        results: list[Evaluation] = []
        try:
            for architecture in self.algorithm.ask(count):
                results.append(self.evaluator.evaluate(architecture))
                done = self._done() + len(results)
                task.update(max(done / total, deadline.fraction() if deadline else 0.0), f"candidate {done}")
                if deadline and deadline.passed():
                    break
        except KeyboardInterrupt:
            return results, True
        return results, False

    def _done(self) -> int:
        return sum(len(batch) for batch in self.batches)
