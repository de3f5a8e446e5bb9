"""Evaluators of whole batches of candidates, of which the one in this process is the simplest."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from offramp.objectives.evaluation import Evaluation, Evaluator
from offramp.space.architecture import Architecture

More = Callable[[], Sequence[Architecture]]
"""Further candidates to begin now; asked after each result. Their numbers go on from those before."""


def no_more() -> Sequence[Architecture]:
    """No further candidates."""
    return ()


@dataclass(frozen=True)
class CandidateResult:
    """The evaluation of one candidate of a batch.

    Attributes:
        index: Number of the candidate: its position in the batch, or behind it among those that came later.
        evaluation: What was found.
        seconds: Seconds that the evaluation took; None = unknown.
        worker: Which worker evaluated it; empty for this process.
    """

    index: int
    evaluation: Evaluation
    seconds: float | None = None
    worker: str = ""


class BatchEvaluator(Protocol):
    """Evaluates several architectures, perhaps at once."""

    def evaluate_all(
        self, architectures: Sequence[Architecture], stop: Callable[[], bool], more: More = no_more
    ) -> Iterator[CandidateResult]:
        """Evaluate a batch, and candidates that are added meanwhile.

        Args:
            architectures: The candidates.
            stop: Asked between candidates; once it is true, no further evaluation begins.
            more: Asked for further candidates after each result.

        Yields:
            Results as they become available, in any order.
        """
        ...


class SequentialEvaluator:
    """Evaluates a batch in this process, one candidate after the other."""

    def __init__(self, evaluator: Evaluator) -> None:
        """Wrap an evaluator of single candidates.

        Args:
            evaluator: Evaluates one candidate.
        """
        self._evaluator = evaluator

    def evaluate_all(
        self, architectures: Sequence[Architecture], stop: Callable[[], bool], more: More = no_more
    ) -> Iterator[CandidateResult]:
        """Evaluate a batch in the given order, and then candidates that were added meanwhile.

        Args:
            architectures: The candidates.
            stop: Asked before each candidate; once it is true, no further evaluation begins.
            more: Asked for further candidates after each result.

        Yields:
            One result per candidate, with the seconds it took.
        """
        waiting, count = deque(architectures), 0
        while waiting and not stop():
            started = time.monotonic()
            evaluation = self._evaluator.evaluate(waiting.popleft())
            yield CandidateResult(count, evaluation, time.monotonic() - started)
            count += 1
            waiting.extend(more())
