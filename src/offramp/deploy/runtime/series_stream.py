"""SeriesStream: decides windows of a series while their steps arrive."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.bundle.manifest_records import ExitCost
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.deploy.runtime.time_policy import TimePolicy, checked_lengths, leave_in_time, window_so_far
from offramp.errors import InputError


@dataclass(frozen=True)
class TimedPrediction:
    """The answer for one window of a series.

    Attributes:
        start: Number of the window's first step in the stream, from 0.
        steps: Steps of the window that had arrived when it was answered.
        label: Index of the class.
        class_name: Name of the class.
        exit: The exit that gave the answer.
        confidence: Its confidence.
        cost: What all runs of the network for this window cost together; None where that is not known.
    """

    start: int
    steps: int
    label: int
    class_name: str
    exit: int
    confidence: float
    cost: ExitCost | None


@dataclass(eq=False)
class _Window:
    """A window that is not answered yet."""

    start: int
    tried: int = 0  # lengths of the policy at which the network was run
    spent: list[ExitCost | None] = field(default_factory=list)


class SeriesStream:
    """Takes the steps of an endless series as they arrive, and answers each window as early as the policy allows.

    Args:
        session: A bundle of a network of series.
        policy: When a window is answered, from `choose_time_policy`.
        hop: Steps between the beginnings of windows, >= 1; None: windows follow each other without overlap.

    Raises:
        InputError: The policy is for a network of another window or other exits, or the hop is out of range.
    """

    def __init__(self, session: EarlyExitSession, policy: TimePolicy, *, hop: int | None = None) -> None:
        channels, _, window = session.manifest.input_shape
        if checked_lengths(session, policy.steps) != policy.steps or policy.num_exits != len(session.manifest.exits):
            raise InputError(
                f"The policy must be for windows of {window} steps and {len(session.manifest.exits)} exits, got "
                f"{policy.steps[-1]} steps and {policy.num_exits} exits. Choose one for this bundle."
            )
        self._hop = window if hop is None else hop
        if self._hop < 1:
            raise InputError(f"`hop` must be >= 1 steps, got {hop}.")
        self._session, self._policy, self._channels, self._length = session, policy, channels, window
        self._known = np.empty((channels, 0), dtype=np.float32)  # steps from `_first` on
        self._first = 0
        self._open: list[_Window] = []
        self._next = 0

    def push(self, steps: NDArray[Any]) -> tuple[TimedPrediction, ...]:
        """Take steps that arrived.

        Args:
            steps: Values as they were measured, (channels, steps); (steps,) for a series of one channel.

        Returns:
            The windows that are answered by now, in the order in which they are.

        Raises:
            InputError: The steps do not fit the network, or are not finite.
        """
        given = np.asarray(steps)
        given = given[None] if given.ndim == 1 else given
        if given.ndim != 2 or len(given) != self._channels or given.dtype.kind not in "iuf":
            raise InputError(
                f"`steps` must hold numbers of shape ({self._channels}, steps), got {given.dtype} of {given.shape}."
            )
        with np.errstate(over="ignore"):
            values = given.astype(np.float32)
        if not np.isfinite(values).all():
            raise InputError("`steps` must hold finite numbers, got NaN or infinity.")
        self._known = np.concatenate([self._known, values], axis=1)
        end = self._first + self._known.shape[1]
        while self._next < end:
            self._open.append(_Window(self._next))
            self._next += self._hop
        answers = list(self._answers(end))
        kept = min([*(window.start for window in self._open), self._next, end])
        self._known, self._first = self._known[:, max(0, kept - self._first) :], max(self._first, kept)
        return tuple(answers)

    def follow(self, chunks: Iterable[NDArray[Any]]) -> Iterator[TimedPrediction]:
        """Answer the windows of an endless series.

        Args:
            chunks: Steps as they arrive, see `push`.

        Yields:
            The answers, each as soon as it is known.
        """
        for chunk in chunks:
            yield from self.push(chunk)

    def _answers(self, end: int) -> Iterator[TimedPrediction]:
        """Try all windows at all lengths that they have reached, the earliest first."""
        while True:
            due = [
                (window.start + self._policy.steps[window.tried], window.start, window)
                for window in self._open
                if window.start + self._policy.steps[window.tried] <= end
            ]
            if not due:
                return
            window = min(due, key=lambda item: item[:2])[2]
            answer = self._tried(window)
            if answer is not None:
                self._open.remove(window)
                yield answer

    def _tried(self, window: _Window) -> TimedPrediction | None:
        steps = self._policy.steps[window.tried]
        first = window.start - self._first
        whole = np.zeros((1, self._channels, self._length), dtype=np.float32)
        whole[0, :, :steps] = self._known[:, first : first + steps]
        left = leave_in_time(
            self._session, self._policy, window_so_far(self._session.prepare(whole), steps), window.tried
        )
        window.tried += 1
        exits = self._session.manifest.exits
        window.spent.append(exits[-1 if left.exit is None else left.exit].cost)
        if left.exit is None:
            return None
        name = self._session.manifest.class_names[left.label]
        cost = _sum(window.spent)
        return TimedPrediction(window.start, steps, left.label, name, left.exit, left.confidence, cost)


def _sum(costs: list[ExitCost | None]) -> ExitCost | None:
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return None
    return ExitCost(
        sum(cost.latency_cycles for cost in known),
        sum(cost.energy_pj for cost in known),
        sum(cost.macs for cost in known),
    )
