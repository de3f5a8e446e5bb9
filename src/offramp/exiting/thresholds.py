"""The best thresholds from cached validation logits: all combinations of a grid at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.errors import InputError
from offramp.exiting.measures import Measure, confidence
from offramp.exiting.policy import ExitPolicy

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
class ThresholdChoice:
    """A policy and what it reaches on the samples it was chosen on."""

    policy: ExitPolicy
    accuracy: float
    expected_cost: float


@dataclass(frozen=True)
class _Samples:
    """Confidences (early exits, samples), correctness (exits, samples) and cumulative costs (exits,)."""

    confidences: NDArray[np.float64]
    correct: NDArray[np.int64]
    costs: NDArray[np.float64]

    @property
    def num_samples(self) -> int:
        return int(self.correct.shape[1])


@dataclass(frozen=True)
class _Outcomes:
    """For every combination of thresholds (one axis per early exit): samples that are right, and the mean cost."""

    grids: tuple[NDArray[np.float64], ...]
    right: NDArray[np.int64]
    cost: NDArray[np.float64]


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
    samples = _collect(logits, labels, costs, measure)
    full = tuple(grid.thresholds(row) for row in samples.confidences)
    coarse = _thin(full, grid.max_combinations)
    outcomes = _evaluate(samples, coarse)
    if all(len(a) == len(b) for a, b in zip(full, coarse, strict=True)):
        needed = _needed(int(outcomes.right.max()), accuracy_drop, samples.num_samples)
        return _choice(outcomes, _cheapest(outcomes, needed), measure, samples.num_samples)
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
    grid = grid or ThresholdGrid()
    samples = _collect(logits, labels, costs, measure)
    outcomes = _evaluate(samples, _thin([grid.thresholds(row) for row in samples.confidences], grid.max_combinations))
    right, cost = outcomes.right.ravel(), outcomes.cost.ravel()
    cheapest = np.full(samples.num_samples + 1, np.inf)
    np.minimum.at(cheapest, right, cost)
    # A count of right answers is on the curve if no higher count is to be had for the same cost or less.
    above = np.minimum.accumulate(np.append(cheapest[1:], np.inf)[::-1])[::-1]
    on_curve = _with_slack(cheapest) < above
    members = np.flatnonzero(on_curve[right] & (cost == cheapest[right]))
    last_of_count = np.full(samples.num_samples + 1, -1)
    last_of_count[right[members]] = members
    return tuple(
        _choice(outcomes, int(flat), measure, samples.num_samples) for flat in last_of_count[np.flatnonzero(on_curve)]
    )


def _collect(
    logits: Sequence[NDArray[np.floating]], labels: NDArray[np.integer], costs: ArrayLike, measure: Measure
) -> _Samples:
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
    correct = np.stack([np.argmax(item, axis=1) == label_array for item in logits]).astype(np.int64)
    return _Samples(confidences, correct, cost_array)


def _thin(grids: Sequence[NDArray[np.float64]], max_combinations: int) -> tuple[NDArray[np.float64], ...]:
    """Evenly chosen thresholds, so that the combinations are few enough; always the last one (nobody leaves)."""
    if not grids or math.prod(len(grid) for grid in grids) <= max_combinations:
        return tuple(grids)
    thinned: list[NDArray[np.float64]] = []
    budget = float(max_combinations)
    # The last exits may get fewer, down to one (`NEVER`), when there are too many exits for two values each.
    for index, grid in enumerate(grids):
        length = min(len(grid), max(int(budget ** (1.0 / (len(grids) - index)) + 1e-9), 2 if budget >= 2 else 1))
        budget /= length
        places = np.linspace(0, len(grid) - 1, length) if length > 1 else np.asarray([len(grid) - 1])
        thinned.append(grid[np.unique(np.round(places).astype(np.intp))])
    return tuple(thinned)


def _evaluate(samples: _Samples, grids: Sequence[NDArray[np.float64]]) -> _Outcomes:
    """Right answers and mean cost of every combination of thresholds, without visiting samples one by one.

    A sample is in bin b of an exit when its confidence reaches b of the exit's thresholds, so it stays for the next
    exit under threshold k exactly when b <= k. Summing, over exits, what changes for the samples that stay gives the
    totals: a joint cumulative histogram of the first exits' bins, weighted by that change.
    """
    right = np.asarray(samples.correct[0].sum())
    cost = np.asarray(samples.costs[0])
    # Samples that reach all thresholds of an exit leave there in every combination and are dropped from then on.
    staying = np.arange(samples.num_samples)
    cells = np.zeros(samples.num_samples, dtype=np.int64)
    shape: tuple[int, ...] = ()
    for index, thresholds in enumerate(grids):
        bins = np.searchsorted(thresholds, samples.confidences[index, staying], side="right")
        shape = (*shape, len(thresholds))
        kept = bins < len(thresholds)
        staying, cells = staying[kept], cells[kept] * len(thresholds) + bins[kept]
        stayed = _cumulative(cells, shape, None)
        change = _cumulative(cells, shape, (samples.correct[index + 1] - samples.correct[index])[staying])
        right = right[..., None] + change
        step = (samples.costs[index + 1] - samples.costs[index]) / samples.num_samples
        cost = cost[..., None] + stayed * step
    return _Outcomes(tuple(grids), right, cost)


def _cumulative(
    cells: NDArray[np.int64], shape: tuple[int, ...], weights: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    counts = np.bincount(cells, weights, minlength=math.prod(shape)).astype(np.int64).reshape(shape)
    for axis in range(len(shape)):
        np.cumsum(counts, axis=axis, out=counts)
    return counts


def _needed(best_right: int, accuracy_drop: float, num_samples: int) -> int:
    """Right answers that must remain; the small term forgives rounding of the share times the samples."""
    return math.ceil(best_right - accuracy_drop * num_samples - 1e-9)


def _cheapest(outcomes: _Outcomes, needed: int) -> int:
    """Flat index of the cheapest combination with at least ``needed`` right answers."""
    right, cost = outcomes.right.ravel(), outcomes.cost.ravel()
    allowed = np.where(right >= needed, cost, np.inf)
    ties = np.flatnonzero(allowed <= _with_slack(allowed.min()))
    best = ties[right[ties] == right[ties].max()]
    return int(best[-1])


def _with_slack(cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cost and a little more: costs that differ by rounding alone count as equal."""
    return cost + 1e-12 * np.abs(cost)


def _choice(outcomes: _Outcomes, flat: int, measure: Measure, num_samples: int) -> ThresholdChoice:
    places = np.unravel_index(flat, outcomes.right.shape) if outcomes.right.ndim else ()
    thresholds = tuple(float(grid[place]) for grid, place in zip(outcomes.grids, places, strict=True))
    return ThresholdChoice(
        ExitPolicy(measure, thresholds),
        float(outcomes.right.ravel()[flat]) / num_samples,
        float(outcomes.cost.ravel()[flat]),
    )


def _refined(
    samples: _Samples,
    full: tuple[NDArray[np.float64], ...],
    coarse: _Outcomes,
    measure: Measure,
    accuracy_drop: float,
) -> ThresholdChoice:
    """From the best of a thinned grid, one exit after the other on its full list until nothing improves."""
    most_right = _descend(samples, full, _at(coarse, int(coarse.right.argmax())), needed=None)
    best_right = int(_evaluate(samples, most_right).right.ravel()[0])
    needed = _needed(best_right, accuracy_drop, samples.num_samples)
    # The most accurate point is allowed whatever the drop; the thinned grid may hold a cheaper one.
    starts = [most_right]
    if int(coarse.right.max()) >= needed:
        starts.append(_at(coarse, _cheapest(coarse, needed)))
    ends = [_evaluate(samples, _descend(samples, full, start, needed)) for start in starts]
    best = min(ends, key=lambda end: (float(end.cost.ravel()[0]), -int(end.right.ravel()[0])))
    return _choice(best, 0, measure, samples.num_samples)


def _at(outcomes: _Outcomes, flat: int) -> tuple[NDArray[np.float64], ...]:
    """One combination as lists of one threshold each."""
    places = np.unravel_index(flat, outcomes.right.shape)
    return tuple(grid[place : place + 1] for grid, place in zip(outcomes.grids, places, strict=True))


def _descend(
    samples: _Samples,
    full: tuple[NDArray[np.float64], ...],
    start: tuple[NDArray[np.float64], ...],
    needed: int | None,
) -> tuple[NDArray[np.float64], ...]:
    """Coordinate descent: to more right answers (``needed`` None), or to lower cost with enough of them."""
    now = start
    for _ in range(20):
        before = now
        for index in range(len(full)):
            trial = _evaluate(samples, (*now[:index], full[index], *now[index + 1 :]))
            goal = int(trial.right.max()) if needed is None else needed
            now = _at(trial, _cheapest(trial, goal))
        if all(np.array_equal(a, b) for a, b in zip(before, now, strict=True)):
            break
    return now
