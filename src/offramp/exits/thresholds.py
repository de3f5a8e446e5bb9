"""The best thresholds from cached validation logits: all combinations of a grid at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.errors import InputError
from offramp.exits.confidence_measures import Measure, confidence
from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.threshold_combinations import (
    Outcomes,
    ScoredSamples,
    cheapest,
    evaluate_combinations,
    thin,
    undominated,
)

NEVER = 2.0
"""A threshold that no confidence reaches."""


@dataclass(frozen=True)
class ThresholdGrid:
    """Which thresholds are tried: 0 to 1 in steps, quantiles of each exit's confidences, and `NEVER`.

    At most ``max_combinations`` are evaluated together. Where the exits' thresholds make more, each exit's list is
    thinned evenly to fit, and `best_policy` then improves one exit after the other on the full lists (which finds a
    local optimum).
    """

    step: float = 0.05
    num_quantiles: int = 8
    max_combinations: int = 1_000_000

    def __post_init__(self) -> None:
        if not 0.0 < self.step <= 1.0:
            raise ValueError(f"`step` must be above 0 and at most 1, got {self.step}.")
        if self.num_quantiles < 0 or self.max_combinations < 4:
            raise ValueError(
                f"`num_quantiles` must be >= 0 and `max_combinations` >= 4, "
                f"got {self.num_quantiles} and {self.max_combinations}."
            )

    def thresholds(self, confidences: NDArray[np.float64]) -> NDArray[np.float64]:
        """Increasing thresholds for one exit; the last is `NEVER`."""
        steps = np.round(np.arange(0.0, 1.0 + self.step / 2, self.step), 6)
        shares = (np.arange(self.num_quantiles) + 0.5) / max(self.num_quantiles, 1)
        quantiles = np.round(np.quantile(confidences, shares), 6)
        return np.unique(np.concatenate([np.minimum(steps, 1.0), quantiles, [NEVER]]))


@dataclass(frozen=True)
class ScoreChoice:
    """Thresholds on scores and what they reach on the samples they were chosen on."""

    thresholds: tuple[float, ...]
    accuracy: float
    expected_cost: float


@dataclass(frozen=True)
class ThresholdChoice:
    """A policy and what it reaches on the samples it was chosen on."""

    policy: ExitPolicy
    accuracy: float
    expected_cost: float


def best_policy(
    logits: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    costs: ArrayLike,
    measure: Measure,
    accuracy_drop: float = 0.0,
    grid: ThresholdGrid | None = None,
) -> ThresholdChoice:
    """The cheapest thresholds whose accuracy is at least the best one on the grid minus ``accuracy_drop``.

    ``logits``: (samples, classes) per exit, the final one included; ``labels``: (samples,); ``costs``: what a sample
    costs that leaves at each exit, every branch on the way included. Among equally cheap combinations the more
    accurate wins, then the one with higher thresholds. Raises InputError where the arrays do not fit together or
    hold values that are not finite.
    """
    if not 0.0 <= accuracy_drop <= 1.0:
        raise InputError(f"`accuracy_drop` must be a share from 0 to 1, got {accuracy_drop}.")
    grid = grid or ThresholdGrid()
    samples = score_samples(logits, labels, costs, measure)
    full = tuple(grid.thresholds(row) for row in samples.scores)
    coarse = thin(full, grid.max_combinations)
    outcomes = evaluate_combinations(samples, coarse)
    if all(len(a) == len(b) for a, b in zip(full, coarse, strict=True)):
        needed = _needed(int(outcomes.right.max()), accuracy_drop, samples.num_samples)
        return _choice(outcomes, cheapest(outcomes, needed), measure, samples.num_samples)
    return _refined(samples, full, outcomes, measure, accuracy_drop)


def trade_off_curve(
    logits: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    costs: ArrayLike,
    measure: Measure,
    grid: ThresholdGrid | None = None,
) -> tuple[ThresholdChoice, ...]:
    """The combinations of the grid that no other beats in both accuracy and cost, cheapest first.

    Arguments as in `best_policy`. Where the grid makes more than ``max_combinations``, the thinned grid is used.
    """
    curve = score_curve(score_samples(logits, labels, costs, measure), grid)
    return tuple(
        ThresholdChoice(ExitPolicy(measure, point.thresholds), point.accuracy, point.expected_cost) for point in curve
    )


SHARED_THRESHOLDS: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(1, 21))
"""What is tried where one threshold serves all exits. Source: the grid of Zniber et al."""


def shared_trade_off_curve(
    logits: Sequence[NDArray[np.floating]], labels: NDArray[np.integer], costs: ArrayLike, measure: Measure
) -> tuple[ThresholdChoice, ...]:
    """As `trade_off_curve`, with the same threshold, one of `SHARED_THRESHOLDS`, at all exits."""
    samples = score_samples(logits, labels, costs, measure)
    count = len(samples.scores)
    points = []
    for threshold in SHARED_THRESHOLDS:
        outcome = evaluate_combinations(samples, [np.asarray([threshold])] * count)
        right, cost = int(outcome.right.ravel()[0]), float(outcome.cost.ravel()[0])
        points.append(ThresholdChoice(ExitPolicy(measure, (threshold,) * count), right / samples.num_samples, cost))
    kept: list[ThresholdChoice] = []
    for point in sorted(points, key=lambda item: (item.expected_cost, -item.accuracy)):
        if not kept or point.accuracy > kept[-1].accuracy:
            kept.append(point)
    return tuple(kept)


def score_curve(samples: ScoredSamples, grid: ThresholdGrid | None = None) -> tuple[ScoreChoice, ...]:
    """The trade-off curve of `trade_off_curve` for scores of any kind from 0 to 1."""
    grid = grid or ThresholdGrid()
    lists = [grid.thresholds(row) for row in samples.scores]
    outcomes = evaluate_combinations(samples, thin(lists, grid.max_combinations))
    right, cost = outcomes.right.ravel(), outcomes.cost.ravel()
    return tuple(
        ScoreChoice(outcomes.thresholds(int(flat)), float(right[flat]) / samples.num_samples, float(cost[flat]))
        for flat in undominated(outcomes, samples.num_samples)
    )


def score_samples(
    logits: Sequence[NDArray[np.floating]], labels: NDArray[np.integer], costs: ArrayLike, measure: Measure
) -> ScoredSamples:
    """Confidences and correctness of cached logits; raises InputError where the arrays do not fit together."""
    cost_array = np.asarray(costs, dtype=np.float64)
    if not logits or cost_array.shape != (len(logits),):
        raise InputError(f"`costs` must have one value per exit ({len(logits)}, at least 1), got {cost_array.shape}.")
    label_array = np.asarray(labels)
    shapes = [np.shape(item) for item in logits]
    if label_array.ndim != 1 or not label_array.size or any(len(s) != 2 or s[0] != label_array.size for s in shapes):
        raise InputError(
            f"every exit must have logits of shape (samples, classes) for the same one or more samples, "
            f"got {shapes} and labels of shape {label_array.shape}."
        )
    if not np.isfinite(cost_array).all() or not all(np.isfinite(item).all() for item in logits):
        raise InputError("logits and costs must be finite; a network whose logits are not has diverged in training.")
    early = [confidence(item, measure) for item in logits[:-1]]
    confidences = np.stack(early) if early else np.empty((0, label_array.size))
    correct = np.stack([np.argmax(item, axis=1) == label_array for item in logits]).astype(np.int8)
    return ScoredSamples(confidences, correct, cost_array)


def _needed(best_right: int, accuracy_drop: float, num_samples: int) -> int:
    """Right answers that must remain; the small term forgives rounding of the share times the samples."""
    return math.ceil(best_right - accuracy_drop * num_samples - 1e-9)


def _choice(outcomes: Outcomes, flat: int, measure: Measure, num_samples: int) -> ThresholdChoice:
    return ThresholdChoice(
        ExitPolicy(measure, outcomes.thresholds(flat)),
        float(outcomes.right.ravel()[flat]) / num_samples,
        float(outcomes.cost.ravel()[flat]),
    )


def _refined(
    samples: ScoredSamples,
    full: tuple[NDArray[np.float64], ...],
    coarse: Outcomes,
    measure: Measure,
    accuracy_drop: float,
) -> ThresholdChoice:
    """From the best of a thinned grid, one exit after the other on its full list until nothing improves."""
    most_right = _descend(samples, full, _at(coarse, int(coarse.right.argmax())), needed=None)
    best_right = int(evaluate_combinations(samples, most_right).right.ravel()[0])
    needed = _needed(best_right, accuracy_drop, samples.num_samples)
    # The most accurate point is allowed whatever the drop; the thinned grid may hold a cheaper one.
    starts = [most_right]
    if int(coarse.right.max()) >= needed:
        starts.append(_at(coarse, cheapest(coarse, needed)))
    ends = [evaluate_combinations(samples, _descend(samples, full, start, needed)) for start in starts]
    best = min(ends, key=lambda end: (float(end.cost.ravel()[0]), -int(end.right.ravel()[0])))
    return _choice(best, 0, measure, samples.num_samples)


def _at(outcomes: Outcomes, flat: int) -> tuple[NDArray[np.float64], ...]:
    """One combination as lists of one threshold each."""
    places = np.unravel_index(flat, outcomes.right.shape)
    return tuple(grid[place : place + 1] for grid, place in zip(outcomes.grids, places, strict=True))


def _descend(
    samples: ScoredSamples,
    full: tuple[NDArray[np.float64], ...],
    start: tuple[NDArray[np.float64], ...],
    needed: int | None,
) -> tuple[NDArray[np.float64], ...]:
    """Coordinate descent: to more right answers (``needed`` None), or to lower cost with enough of them."""
    now = start
    for _ in range(20):
        before = now
        for index in range(len(full)):
            trial = evaluate_combinations(samples, (*now[:index], full[index], *now[index + 1 :]))
            goal = int(trial.right.max()) if needed is None else needed
            now = _at(trial, cheapest(trial, goal))
        if all(np.array_equal(a, b) for a, b in zip(before, now, strict=True)):
            break
    return now
