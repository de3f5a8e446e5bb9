"""Study: drives a search algorithm, records each step, and resumes from the record."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from offramp.algorithms.algorithm import JudgesStatics
from offramp.deadline import Deadline
from offramp.errors import RunError
from offramp.jsonio import dumps
from offramp.objectives.evaluation import Evaluation, Evaluator, SearchAlgorithm, Status
from offramp.objectives.fronts import as_what_it_is
from offramp.progress import Task
from offramp.records import RunStore
from offramp.run.evaluators.batch_evaluator import BatchEvaluator, CandidateResult, SequentialEvaluator
from offramp.space.architecture import Architecture

_FEWEST_FAILURES_TO_STOP = 20
_SHARE_OF_FAILURES_TO_STOP = 0.5


@dataclass(frozen=True)
class FailureLimit:
    """The number of failed candidates after which a search ends.

    Attributes:
        most: Failed candidates that are accepted; None = half of all candidates, once twenty have failed.
    """

    most: int | None = None

    def check(self, num_failed: int, num_tried: int, reason: str) -> None:
        """Compare the failures so far with the limit.

        Args:
            num_failed: Failed candidates.
            num_tried: All candidates that were evaluated.
            reason: The reason of the last failure.

        Raises:
            RunError: More candidates failed than the limit accepts.
        """
        if self.most is None:
            beyond = num_failed > max(_FEWEST_FAILURES_TO_STOP, _SHARE_OF_FAILURES_TO_STOP * num_tried)
        else:
            beyond = num_failed > self.most
        if beyond:
            raise RunError(
                f"{num_failed} of {num_tried} candidates failed, more than the limit of the search. The last reason: "
                f"{reason}. All of them are recorded; go on with --resume --max-failures {2 * num_failed}."
            )


@dataclass(frozen=True)
class StudyEnd:
    """The result of a study.

    Attributes:
        evaluations: All evaluations, in the order of the proposals.
        interrupted: Whether the user stopped the study with Ctrl-C.
    """

    evaluations: tuple[Evaluation, ...]
    interrupted: bool


@dataclass
class _Batch:
    """Candidates that were proposed together, and their evaluations so far, by position."""

    number: int
    asked: list[Architecture]
    done: dict[int, Evaluation] = field(default_factory=dict)

    @property
    def missing(self) -> list[int]:
        return [position for position in range(len(self.asked)) if position not in self.done]

    def in_order(self) -> list[Evaluation]:
        return [self.done[position] for position in sorted(self.done)]


class Study:
    """Drives a search algorithm.

    Proposals are recorded before their evaluation, and each evaluation as soon as it is known. The algorithm is told a
    batch when it is complete, in the order of the proposals. Batches that were cut short, by the clock, Ctrl-C or a
    crash, are completed first when the study is resumed, so that the algorithm sees the same as without the stop.

    With several open batches, workers need not wait for the slowest candidate of a batch: batch k is proposed as soon
    as batch k - open_batches is complete. What an algorithm knows when it proposes therefore depends on this number
    alone, never on which worker was faster.
    """

    def __init__(
        self,
        algorithm: SearchAlgorithm,
        evaluator: Evaluator | BatchEvaluator,
        store: RunStore | None = None,
        *,
        open_batches: int = 1,
        failure_limit: FailureLimit | None = None,
        on_evaluation: Callable[[int, Evaluation], None] | None = None,
    ) -> None:
        """Begin a study without evaluations; `replay` adds those of the record.

        Args:
            algorithm: Proposes candidates.
            evaluator: Evaluates single candidates or whole batches.
            store: The record; None = nothing is recorded.
            open_batches: Number of batches that may be incomplete at the same time, at least 1.
            failure_limit: When the study ends for failures; None = the default limit.
            on_evaluation: Called with the number of evaluations so far and each new evaluation.
        """
        self.algorithm = algorithm
        self.evaluator: BatchEvaluator = (
            SequentialEvaluator(evaluator) if isinstance(evaluator, Evaluator) else evaluator
        )
        self.store = store
        self.open_batches = open_batches
        self._limit = failure_limit or FailureLimit()
        self._on_evaluation = on_evaluation
        self._batches: list[_Batch] = []
        self._num_told = 0
        self._just_told = False
        self._statics: dict[Architecture, Evaluation] = {}
        self._num_judged = 0
        self._num_done = 0
        self._num_failed = 0

    def replay(self) -> None:
        """Bring a fresh algorithm to the end of the record.

        Raises:
            RunError: The algorithm proposes other candidates than the record holds.
        """
        for static in self.store.static_candidates() if self.store else ():
            self._statics[static.architecture] = static
        for stored in self.store.batches() if self.store else ():
            while self._num_told <= len(self._batches) - self.open_batches:
                self._tell_first()
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
        self._tell_due()

    def run(self, evaluations: int, batch: int, task: Task, deadline: Deadline | None = None) -> StudyEnd:
        """Propose and evaluate candidates. Ctrl-C ends the study with all evaluations so far.

        Args:
            evaluations: Number of evaluations at which the study ends, those of the record included.
            batch: Number of candidates that are proposed together.
            task: Receives the progress.
            deadline: When the study must end, but not before the first candidate is evaluated; None = no limit.

        Returns:
            The evaluations, and whether the user stopped the study.

        Raises:
            RunError: Too many candidates failed.
        """
        try:
            self._evaluate(evaluations, batch, task, deadline)
        except KeyboardInterrupt:
            return StudyEnd(self.evaluations, interrupted=True)
        return StudyEnd(self.evaluations, interrupted=False)

    @property
    def static_candidates(self) -> tuple[Evaluation, ...]:
        """The evaluations of all static networks so far, in an order that does not depend on when they were made."""
        return tuple(sorted(self._statics.values(), key=lambda item: dumps(item.architecture)))

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """All evaluations so far, in the order of the proposals.

        Where a proposal is a static network in effect, its evaluation is that of the static network.
        """
        return tuple(evaluation for batch in self._batches for evaluation in batch.in_order())

    def _is_over(self, deadline: Deadline | None) -> bool:
        """Whether the time is over and there is a candidate to go on with."""
        return deadline is not None and deadline.passed() and self._num_done > self._num_failed

    def _ask(self, count: int) -> _Batch:
        # After evaluations, an algorithm may propose again what it was not told about yet.
        open_ones = self._batches[self._num_told :] if self._just_told else []
        unknown = {item for batch in open_ones for item in batch.asked}
        self._just_told = False
        found = [item for item in self.algorithm.ask(count + len(unknown)) if item not in unknown]
        batch = _Batch(len(self._batches), found[:count])
        self._batches.append(batch)
        return batch

    def _evaluate(self, total: int, batch_size: int, task: Task, deadline: Deadline | None) -> None:
        """Evaluate what is missing, and new batches as older ones become complete."""
        begun: list[tuple[_Batch, int]] = []
        exhausted = False

        def begin(batch: _Batch) -> list[Architecture]:
            if self.store is not None:
                # Before any evaluation begins. Recorded proposals stay as they are.
                self.store.propose(batch.number, batch.asked)
            missing = batch.missing
            begun.extend((batch, position) for position in missing)
            return [batch.asked[position] for position in missing]

        def more() -> list[Architecture]:
            nonlocal exhausted
            found: list[Architecture] = []
            while True:
                num_asked = sum(len(item.asked) for item in self._batches)
                if exhausted or num_asked >= total or self._is_over(deadline):
                    self._tell_due()
                    return found
                if self._num_told > len(self._batches) - self.open_batches:
                    batch = self._ask(min(batch_size, total - num_asked))
                    if batch.asked:
                        found += begin(batch)
                    else:
                        self._batches.pop()
                        exhausted = True
                elif not self._batches[self._num_told].missing:
                    self._tell_first()
                else:
                    return found

        first = [item for batch in self._batches[self._num_told :] if batch.missing for item in begin(batch)]
        first += more()
        for item in self.evaluator.evaluate_all(first, lambda: self._is_over(deadline), more):
            self._keep(*begun[item.index], item, total, task, deadline)

    def _keep(
        self, batch: _Batch, position: int, item: CandidateResult, total: int, task: Task, deadline: Deadline | None
    ) -> None:
        """Record the evaluation of a candidate."""
        evaluation = as_what_it_is(item.evaluation)
        statics = self._new_statics((*item.evaluation.statics, evaluation))
        if self.store is not None:
            self.store.append(
                batch.number, position, evaluation, seconds=item.seconds, worker=item.worker, statics=statics
            )
        self._take(batch, position, evaluation)
        done = self._num_done
        if self._on_evaluation is not None:
            self._on_evaluation(done, evaluation)
        task.update(max(done / total, deadline.fraction() if deadline else 0.0), self._note())
        if item.evaluation.status is Status.FAILED:
            self._limit.check(self._num_failed, done, item.evaluation.error or "none given")

    def _new_statics(self, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
        """Remember the static networks among evaluations; returns those that were not known."""
        new = []
        for evaluation in evaluations:
            if evaluation.architecture.is_static and evaluation.architecture not in self._statics:
                self._statics[evaluation.architecture] = evaluation
                new.append(evaluation)
        return new

    def _note(self) -> str:
        failed = f", {self._num_failed} failed" if self._num_failed else ""
        return f"candidate {self._num_done}{failed}"

    def _take(self, batch: _Batch, position: int, evaluation: Evaluation) -> None:
        batch.done[position] = evaluation
        self._num_done += 1
        self._num_failed += evaluation.status is Status.FAILED

    def _tell_due(self) -> None:
        """Tell the complete batches that the algorithm must know before its next proposal, and no other ones.

        It would otherwise propose something else in a resumed study.
        """
        while self._num_told <= len(self._batches) - self.open_batches and not self._batches[self._num_told].missing:
            self._tell_first()

    def _tell_first(self) -> None:
        """Tell the algorithm the first batch that it does not know yet."""
        batch = self._batches[self._num_told]
        if batch.missing:
            raise RunError(
                "The record of this run does not fit its settings (a batch was proposed before an earlier one was "
                "complete). Start a new run."
            )
        self._num_told += 1
        self._just_told = True
        # An algorithm knows a candidate by what it proposed, also where that is a static network in effect.
        self.algorithm.tell(
            [replace(item, architecture=batch.asked[position]) for position, item in sorted(batch.done.items())]
        )
        if isinstance(self.algorithm, JudgesStatics):
            judged = self.algorithm.statics
            statics = self._new_statics(judged[self._num_judged :])
            self._num_judged = len(judged)
            if self.store is not None and statics:
                self.store.append_statics(statics)
