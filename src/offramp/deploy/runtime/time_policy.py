"""Early exit in time: which (window so far, exit) may answer. Thresholds are chosen like those of exits.

A network that reads a window of a series is run on the window so far; steps that have not arrived are the mean, which
is 0 once a sample is normalised. Each pair of a window so far and an exit is one place to leave, in the order in which
they are computed, so the thresholds of `offramp.exits` decide among them. The cost of a place is the number of steps
after which it answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.runtime.session import EarlyExitSession, Samples
from offramp.errors import InputError
from offramp.exits.confidence_measures import Measure
from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.exit_rule import CachedOutputs
from offramp.exits.score_thresholds import ThresholdGrid

MOST_PLACES = 12
"""So many pairs of a window so far and an exit at most: thresholds of more cannot be tried in all combinations."""

_COMBINATIONS = 100_000
_ROUNDING = 1e-12
_TIE = 1e-3
"""Share of a step by which a later exit of the same window counts more, so that the cheaper of two is preferred."""


@dataclass(frozen=True)
class TimePolicy:
    """When a series is decided, and by which exit.

    Attributes:
        steps: Lengths of the window so far at which the network is run, increasing; the last is the whole window.
        num_exits: Number of exits of the network.
        measure: The confidence measure.
        thresholds: One threshold for each pair of a window so far and an exit, in the order in which they are computed;
            the last exit of the whole window takes the rest and has none.
        accuracy: Share of the samples that the thresholds were chosen on that are answered right.
        reference_accuracy: The same for the last exit of the whole window.
        expected_steps: Mean number of steps until a sample is answered.
    """

    steps: tuple[int, ...]
    num_exits: int
    measure: Measure
    thresholds: tuple[float, ...]
    accuracy: float
    reference_accuracy: float
    expected_steps: float

    def __post_init__(self) -> None:
        increasing = list(self.steps) == sorted(set(self.steps))
        if not self.steps or not increasing or self.steps[0] < 1:
            raise ValueError(f"`steps` must be increasing integers >= 1, got {self.steps}.")
        if self.num_exits < 1 or len(self.thresholds) != len(self.steps) * self.num_exits - 1:
            raise ValueError(
                f"`thresholds` must have one value for each of {len(self.steps)} windows and {self.num_exits} exits "
                f"but the last, got {len(self.thresholds)}."
            )

    @property
    def rule(self) -> ExitPolicy:
        """The exit rule over all pairs of a window so far and an exit."""
        return ExitPolicy(self.measure, self.thresholds)


def choose_time_policy(
    session: EarlyExitSession,
    series: Samples,
    labels: NDArray[np.integer],
    steps: Sequence[int],
    *,
    accuracy_drop: float = 0.01,
    measure: Measure = "max_probability",
) -> TimePolicy:
    """Choose when series are decided: as early as the accuracy allows, on samples that nothing is tested on.

    Args:
        session: A bundle of a network of series.
        series: Whole windows as they were measured, (samples, channels, steps).
        labels: Their classes, (samples,).
        steps: Lengths of the window so far at which the network is run; the whole window is added.
        accuracy_drop: Share of the samples, 0 to 1, that may be answered wrong for it.
        measure: The confidence measure.

    Returns:
        The policy with the fewest expected steps whose accuracy is at least that of the last exit of the whole window
        less the drop.

    Raises:
        InputError: The network reads no series, the numbers are out of range, or samples do not fit.
    """
    lengths = checked_lengths(session, steps)
    if not 0.0 <= accuracy_drop <= 1.0:
        raise InputError(f"`accuracy_drop` must be from 0 to 1, got {accuracy_drop}.")
    inputs = session.prepare(series)
    if not len(inputs) or np.shape(labels) != (len(inputs),):
        raise InputError(
            f"`labels` must be one class for each of {len(inputs)} series (at least one), got shape {np.shape(labels)}."
        )
    num_exits = len(session.manifest.exits)
    logits = tuple(
        item for length in lengths for item in session.all_logits(window_so_far(inputs, length), normalised=True)
    )
    costs = tuple(length + _TIE * place / num_exits for length in lengths for place in range(num_exits))
    outputs = CachedOutputs(logits, np.asarray(labels), costs)
    curve = ExitPolicy.curve(outputs, measure, ThresholdGrid(max_combinations=_COMBINATIONS))
    reference = float((logits[-1].argmax(axis=1) == labels).mean())
    # The curve reaches the accuracy of the last exit, because nobody has to leave before.
    chosen = next((item for item in curve if item.accuracy >= reference - accuracy_drop - _ROUNDING), curve[-1])
    rule = ExitPolicy(measure, chosen.thresholds)
    exits = rule.decide(logits)
    right = np.stack([item.argmax(axis=1) for item in logits])[exits, np.arange(len(inputs))] == labels
    taken = np.repeat(lengths, num_exits)[exits]
    return TimePolicy(lengths, num_exits, measure, rule.thresholds, float(right.mean()), reference, float(taken.mean()))


def checked_lengths(session: EarlyExitSession, steps: Sequence[int]) -> tuple[int, ...]:
    """Check lengths of the window so far, and add the whole window.

    Args:
        session: A bundle.
        steps: The lengths.

    Returns:
        Increasing lengths, the whole window last.

    Raises:
        InputError: The network reads no series, a length is out of range, or there are too many.
    """
    form, window = session.manifest.preprocessing, session.manifest.input_shape[2]
    if form.input_kind != "series":
        raise InputError(
            f"Only networks of series can decide before a window ends, but {str(session.path)!r} reads "
            f"{form.input_kind.replace('_', ' ')}."
        )
    if not all(isinstance(value, int | np.integer) and 1 <= value <= window for value in steps):
        raise InputError(f"`steps` must be integers from 1 to {window}, the length of a window, got {tuple(steps)}.")
    lengths = tuple(sorted({*map(int, steps), window}))
    places = len(lengths) * len(session.manifest.exits)
    if places > MOST_PLACES:
        raise InputError(
            f"There may be at most {MOST_PLACES} pairs of a window so far and an exit, got {len(lengths)} windows and "
            f"{len(session.manifest.exits)} exits. Give fewer `steps`."
        )
    return lengths


def window_so_far(inputs: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Put the mean in place of steps that have not arrived.

    Args:
        inputs: Normalised samples, (samples, channels, 1, steps).
        length: Number of steps that have arrived.

    Returns:
        A copy with zeros behind them.
    """
    known = inputs.copy()
    known[..., length:] = 0.0
    return known


@dataclass(frozen=True)
class Leave:
    """What happened on one window so far.

    Attributes:
        exit: The exit that answers; None: none is sure enough, and the series goes on.
        label: The class that the last exit which was run finds.
        confidence: Its confidence.
    """

    exit: int | None
    label: int
    confidence: float


def leave_in_time(session: EarlyExitSession, policy: TimePolicy, known: NDArray[np.float32], window: int) -> Leave:
    """Run the network on the window so far of one sample, exit by exit, until one of them answers.

    Args:
        session: The bundle.
        policy: The policy.
        known: The window so far, normalised, (1, channels, 1, steps).
        window: Index of its length among the steps of the policy.

    Returns:
        The exit that answers, if one does, and the exits that were run.
    """
    features, logits, sure = known, None, 0.0
    for index in range(policy.num_exits):
        output = session.run_stage(index, features, logits)
        logits = output.logits
        place = window * policy.num_exits + index
        sure = float(policy.rule.confidence(logits, place)[0])
        if place == len(policy.thresholds) or sure >= policy.thresholds[place]:
            return Leave(index, int(logits[0].argmax()), sure)
        features = features if output.features is None else output.features
    return Leave(None, -1 if logits is None else int(logits[0].argmax()), sure)
