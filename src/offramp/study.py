"""Study: ask, evaluate, store, tell; and go on from what is stored."""

from dataclasses import dataclass, field

from offramp.clock import Deadline
from offramp.errors import RunError
from offramp.objectives.evaluation import Evaluation, Evaluator, SearchAlgorithm
from offramp.progress import Task
from offramp.space.architecture import Architecture
from offramp.store import RunStore


@dataclass(frozen=True)
class StudyEnd:
    """What a study knows when it stops, and whether the user stopped it."""

    evaluations: tuple[Evaluation, ...]
    interrupted: bool


@dataclass
class _Batch:
    """What was asked together, and the evaluations of it that are there."""

    number: int
    asked: list[Architecture]
    done: list[Evaluation] = field(default_factory=list)


class Study:
    """Drives a search algorithm. Every evaluation is stored at once; a batch is told when it is complete.

    A batch that was cut short (by the clock, by Ctrl-C, by a crash) is completed first when the study goes on, so that
    the algorithm sees what it would have seen without the stop.
    """

    def __init__(self, algorithm: SearchAlgorithm, evaluator: Evaluator, store: RunStore | None = None) -> None:
        self.algorithm = algorithm
        self.evaluator = evaluator
        self.store = store
        self._evaluations: list[Evaluation] = []
        self._num_batches = 0
        self._open: _Batch | None = None

    def replay(self) -> None:
        """Bring a fresh algorithm to where the stored record ends."""
        for stored in self.store.batches() if self.store else ():
            batch = self._ask(stored.num_asked)
            told = [evaluation.architecture for evaluation in stored.evaluations]
            if batch.asked[: len(told)] != told:
                raise RunError(
                    "The record of this run does not fit its settings (the algorithm proposes other candidates). "
                    "Start a new run."
                )
            batch.done.extend(stored.evaluations)
            self._evaluations.extend(stored.evaluations)
            self._close_if_complete(batch)

    def run(self, evaluations: int, batch: int, task: Task, deadline: Deadline | None = None) -> StudyEnd:
        """Evaluate until ``evaluations`` are known or the deadline has passed; Ctrl-C ends it in good order."""
        try:
            while len(self._evaluations) < evaluations and not (deadline and deadline.passed()):
                current = self._open or self._ask(min(batch, evaluations - len(self._evaluations)))
                if not current.asked:
                    break
                self._evaluate(current, evaluations, task, deadline)
        except KeyboardInterrupt:
            return StudyEnd(tuple(self._evaluations), interrupted=True)
        return StudyEnd(tuple(self._evaluations), interrupted=False)

    def _ask(self, count: int) -> _Batch:
        batch = _Batch(self._num_batches, self.algorithm.ask(count))
        self._num_batches += 1
        self._open = batch
        return batch

    def _evaluate(self, batch: _Batch, total: int, task: Task, deadline: Deadline | None) -> None:
        for architecture in batch.asked[len(batch.done) :]:
            if deadline and deadline.passed():
                return
            evaluation = self.evaluator.evaluate(architecture)
            if self.store is not None:
                self.store.append(batch.number, len(batch.asked), evaluation)
            batch.done.append(evaluation)
            self._evaluations.append(evaluation)
            done = len(self._evaluations)
            task.update(max(done / total, deadline.fraction() if deadline else 0.0), f"candidate {done}")
        self._close_if_complete(batch)

    def _close_if_complete(self, batch: _Batch) -> None:
        if len(batch.done) == len(batch.asked):
            self.algorithm.tell(batch.done)
            self._open = None
