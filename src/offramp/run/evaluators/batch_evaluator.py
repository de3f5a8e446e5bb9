"""Evaluators of whole batches of candidates, of which the one in this process is the simplest."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from offramp.objectives.evaluation import Evaluation, Evaluator
from offramp.space.architecture import Architecture


@dataclass(frozen=True)
class CandidateResult:
    """The evaluation of one candidate of a batch.

    Attributes:
        index: Position of the candidate in the batch.
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
        self, architectures: Sequence[Architecture], stop: Callable[[], bool]
    ) -> Iterator[CandidateResult]:
        """Evaluate a batch.

        Args:
            architectures: The candidates.
            stop: Asked between candidates; once it is true, no further evaluation begins.

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
        self, architectures: Sequence[Architecture], stop: Callable[[], bool]
    ) -> Iterator[CandidateResult]:
        """Evaluate a batch in the given order.

        Args:
            architectures: The candidates.
            stop: Asked before each candidate; once it is true, no further evaluation begins.

        Yields:
            One result per candidate, with the seconds it took.
        """
        for index, architecture in enumerate(architectures):
            if stop():
                return
            started = time.monotonic()
            evaluation = self._evaluator.evaluate(architecture)
            yield CandidateResult(index, evaluation, time.monotonic() - started)
