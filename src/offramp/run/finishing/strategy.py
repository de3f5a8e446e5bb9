"""Strategies that finish all networks of a run, and the one that does it in this process."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Protocol

from offramp.deadline import Deadline
from offramp.progress import Reporter
from offramp.records.run_summary import StaticReference
from offramp.run.finishing.finisher import FinishedNetwork, Finisher
from offramp.run.finishing.targets import FinishTarget


class FinishingStrategy(Protocol):
    """Finishes the networks of a run: in this process, or by workers."""

    def finish_all(
        self, targets: Sequence[FinishTarget], phase: Deadline | None
    ) -> Iterator[FinishedNetwork | StaticReference]:
        """Finish all targets.

        Args:
            targets: What to finish; a reference that teaches stands before its pupils.
            phase: The time for all of them together; None = no limit.

        Yields:
            One result per target, in their order: the reference as a StaticReference, each other one as a
            FinishedNetwork.
        """
        ...


class InProcessFinishing:
    """Finishes one network after the other in this process."""

    def __init__(self, finisher: Finisher, reporter: Reporter, *, resume: bool) -> None:
        """Prepare the strategy.

        Args:
            finisher: Finishes one network.
            reporter: Shows the progress.
            resume: Whether results and checkpoints in the folders are used.
        """
        self._finisher = finisher
        self._reporter = reporter
        self._resume = resume

    def finish_all(
        self, targets: Sequence[FinishTarget], phase: Deadline | None
    ) -> Iterator[FinishedNetwork | StaticReference]:
        """Finish all targets, each when the result is asked for.

        Args:
            targets: What to finish; a reference that teaches stands before its pupils.
            phase: The time for all of them together; None = no limit.

        Yields:
            One result per target, in their order.

        Raises:
            Interrupted: The user pressed Ctrl-C; the results that were yielded are on disk.
        """
        shares = [target.time_share for target in targets]
        for target, used in zip(targets, accumulate(shares), strict=True):
            deadline = None if phase is None else phase.up_to(used / sum(shares))
            with self._reporter.task(f"Fine-tuning {target.title}") as task:
                result = self._finisher.finish_target(target, task, deadline=deadline, resume=self._resume)
            yield result
