"""Study: ask, store, evaluate, store, tell; and go on from what is stored."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from offramp.deadline import Deadline
from offramp.errors import RunError
from offramp.objectives.evaluation import Evaluation, Evaluator, SearchAlgorithm, Status
from offramp.progress import Task
from offramp.records import RunStore
from offramp.space.architecture import Architecture

_FEWEST_FAILURES_TO_STOP = 20
_SHARE_OF_FAILURES_TO_STOP = 0.5


@dataclass(frozen=True)
class Finished:
    """An evaluation of the candidate at ``index`` of a batch, the time it took and who made it."""

    index: int
    evaluation: Evaluation
    seconds: float | None = None
    worker: str = ""


class BatchEvaluator(Protocol):
    """Tries several architectures, perhaps at once."""

    def evaluate_all(self, architectures: Sequence[Architecture], stop: Callable[[], bool]) -> Iterator[Finished]:
        """Evaluations as they are finished, in any order; begins no further one once ``stop`` says so."""
        ...


class OneByOne:
    """An evaluator of single candidates as one of batches, in this process."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def evaluate_all(self, architectures: Sequence[Architecture], stop: Callable[[], bool]) -> Iterator[Finished]:
        """In the given order."""
        for index, architecture in enumerate(architectures):
            if stop():
                return
            started = time.monotonic()
            evaluation = self._evaluator.evaluate(architecture)
            yield Finished(index, evaluation, time.monotonic() - started)


@dataclass(frozen=True)
class FailureLimit:
    """When so much fails that going on is of no use: after ``most`` failed candidates.

    None stands for half of all candidates, once twenty have failed.
    """

    most: int | None = None

    def check(self, num_failed: int, num_tried: int, reason: str) -> None:
        """Raise RunError beyond the limit; ``reason`` is that of the last failure."""
        if self.most is None:
            beyond = num_failed > max(_FEWEST_FAILURES_TO_STOP, _SHARE_OF_FAILURES_TO_STOP * num_tried)
        else:
            beyond = num_failed > self.most
        if beyond:
            raise RunError(
                f"{num_failed} of {num_tried} candidates failed, more than the search puts up with. The last reason: "
                f"{reason}. All of them are recorded; go on with --resume --max-failures {2 * num_failed}."
            )


@dataclass(frozen=True)
class StudyEnd:
    """What a study knows when it stops, and whether the user stopped it."""

    evaluations: tuple[Evaluation, ...]
    interrupted: bool


@dataclass
class _Batch:
    """What was asked together, and the evaluations of it that are there, by position."""

    number: int
    asked: list[Architecture]
    done: dict[int, Evaluation] = field(default_factory=dict)

    @property
    def missing(self) -> list[int]:
        return [position for position in range(len(self.asked)) if position not in self.done]

    def in_order(self) -> list[Evaluation]:
        return [self.done[position] for position in sorted(self.done)]


class Study:
    """Drives a search algorithm. Proposals are stored before they are tried, every evaluation at once.

    A batch is told when it is complete, in the order in which it was asked for, whichever candidate was finished first.
    One that was cut short (by the clock, by Ctrl-C, by a crash) is completed first when the study goes on, so that the
    algorithm sees what it would have seen without the stop.
    """

    def __init__(
        self,
        algorithm: SearchAlgorithm,
        evaluator: Evaluator | BatchEvaluator,
        store: RunStore | None = None,
        *,
        failure_limit: FailureLimit | None = None,
        on_evaluation: Callable[[int, Evaluation], None] | None = None,
    ) -> None:
        self.algorithm = algorithm
        self.evaluator: BatchEvaluator = OneByOne(evaluator) if isinstance(evaluator, Evaluator) else evaluator
        self.store = store
        self._limit = failure_limit or FailureLimit()
        self._on_evaluation = on_evaluation
        self._batches: list[_Batch] = []
        self._num_done = 0
        self._num_failed = 0

    def replay(self) -> None:
        """Bring a fresh algorithm to where the stored record ends."""
        for stored in self.store.batches() if self.store else ():
            batch = self._ask(stored.num_asked)
            known = [proposal.architecture for proposal in stored.proposals]
            if batch.asked[: len(known)] != known or len(batch.asked) != stored.num_asked:
                raise RunError(
                    "The record of this run does not fit its settings (the algorithm proposes other candidates). "
                    "Start a new run."
                )
            for position, proposal in enumerate(stored.proposals):
                if proposal.evaluation is not None:
                    self._take(batch, position, proposal.evaluation)
            self._close_if_complete(batch)

    def run(self, evaluations: int, batch: int, task: Task, deadline: Deadline | None = None) -> StudyEnd:
        """Evaluate until ``evaluations`` are known or the deadline has passed; Ctrl-C ends it in good order.

        Raises RunError when too many candidates fail.
        """
        try:
            while self._num_done < evaluations and not (deadline and deadline.passed()):
                current = self._open() or self._ask(min(batch, evaluations - self._num_done))
                if not current.asked:
                    break
                self._evaluate(current, evaluations, task, deadline)
        except KeyboardInterrupt:
            return StudyEnd(self.evaluations, interrupted=True)
        return StudyEnd(self.evaluations, interrupted=False)

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """All that are known, in the order of the proposals."""
        return tuple(evaluation for batch in self._batches for evaluation in batch.in_order())

    def _open(self) -> _Batch | None:
        """The last batch, where it is not complete."""
        last = self._batches[-1] if self._batches else None
        return last if last is not None and last.missing else None

    def _ask(self, count: int) -> _Batch:
        batch = _Batch(len(self._batches), self.algorithm.ask(count))
        self._batches.append(batch)
        return batch

    def _evaluate(self, batch: _Batch, total: int, task: Task, deadline: Deadline | None) -> None:
        missing = batch.missing
        if self.store is not None:
            # Before any of them is tried; those that are there stay as they are.
            self.store.propose(batch.number, batch.asked)
        finished = self.evaluator.evaluate_all(
            [batch.asked[position] for position in missing], lambda: deadline is not None and deadline.passed()
        )
        for item in finished:
            position = missing[item.index]
            if self.store is not None:
                self.store.append(batch.number, position, item.evaluation, item)
            self._take(batch, position, item.evaluation)
            done = self._num_done
            if self._on_evaluation is not None:
                self._on_evaluation(done, item.evaluation)
            task.update(max(done / total, deadline.fraction() if deadline else 0.0), self._note())
            if item.evaluation.status is Status.FAILED:
                self._limit.check(self._num_failed, done, item.evaluation.error or "none given")
        self._close_if_complete(batch)

    def _note(self) -> str:
        failed = f", {self._num_failed} failed" if self._num_failed else ""
        return f"candidate {self._num_done}{failed}"

    def _take(self, batch: _Batch, position: int, evaluation: Evaluation) -> None:
        batch.done[position] = evaluation
        self._num_done += 1
        self._num_failed += evaluation.status is Status.FAILED

    def _close_if_complete(self, batch: _Batch) -> None:
        if not batch.missing:
            self.algorithm.tell(batch.in_order())
