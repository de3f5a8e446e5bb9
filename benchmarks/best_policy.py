"""The cheapest thresholds that keep an accuracy: a second way to choose them, compared with the trade-off curve.

Where a grid has too many combinations, the thinned grid is searched and one exit after the other is then improved on
its full list of thresholds.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.errors import InputError
from offramp.exits.confidence_measures import Measure
from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.score_thresholds import ThresholdGrid, score_samples
from offramp.exits.threshold_combinations import Outcomes, ScoredSamples, evaluate_combinations, thin, with_slack
from offramp.exits.thresholds import ThresholdChoice


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


def cheapest(outcomes: Outcomes, needed: int) -> int:
    """Flat index of the cheapest combination with at least ``needed`` right answers.

    Of equally cheap ones the one with most right answers, then the one with higher thresholds.
    """
    right, cost = outcomes.right.ravel(), outcomes.cost.ravel()
    allowed = np.where(right >= needed, cost, np.inf)
    ties = np.flatnonzero(allowed <= with_slack(allowed.min()))
    best = ties[right[ties] == right[ties].max()]
    return int(best[-1])
