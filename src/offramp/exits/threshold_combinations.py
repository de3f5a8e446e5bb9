"""Accuracy and mean cost of all combinations of thresholds, from cumulative histograms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ScoredSamples:
    """What decides and what counts, per sample: a sample leaves at the first exit whose score reaches a threshold.

    Attributes:
        scores: Scores, (early exits, samples).
        correct: Whether each exit is right, 0 or 1, (exits, samples); times the weight of the sample where samples
            count differently.
        costs: What a sample costs that leaves at each exit, (exits,).
    """

    scores: NDArray[np.float64]
    correct: NDArray[np.int8] | NDArray[np.float64]
    costs: NDArray[np.float64]

    @property
    def num_samples(self) -> int:
        """The number of samples."""
        return int(self.correct.shape[1])


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What every combination of thresholds reaches; one axis per early exit.

    Attributes:
        grids: The thresholds of each early exit.
        right: How many samples are right, or the sum of their weights.
        cost: The mean cost of a sample.
    """

    grids: tuple[NDArray[np.float64], ...]
    right: NDArray[Any]
    cost: NDArray[np.float64]

    def thresholds(self, flat: int) -> tuple[float, ...]:
        """Give a combination.

        Args:
            flat: Its index in the flattened arrays.

        Returns:
            One threshold per early exit.
        """
        places = np.unravel_index(flat, self.right.shape) if self.right.ndim else ()
        return tuple(float(grid[place]) for grid, place in zip(self.grids, places, strict=True))


def evaluate_combinations(samples: ScoredSamples, grids: Sequence[NDArray[np.float64]]) -> Outcomes:
    """Every combination of the increasing thresholds in ``grids``, without visiting samples one by one.

    A sample is in bin b of an exit when its score reaches b of the exit's thresholds, so it stays for the next exit
    under threshold k exactly when b <= k. Summing, over exits, what changes for the samples that stay gives the
    totals: a joint cumulative histogram of the first exits' bins, weighted by that change.

    Args:
        samples: Scores, correctness and costs.
        grids: Increasing thresholds of each early exit.

    Returns:
        What each combination reaches.
    """
    # Counts never exceed the number of samples; small numbers are what makes millions of combinations quick.
    kind = np.int16 if samples.num_samples < 2**15 else np.int32 if samples.num_samples < 2**31 else np.int64
    worth = np.float64 if samples.correct.dtype.kind == "f" else kind
    right = np.asarray(samples.correct[0].sum(dtype=worth))
    cost = np.asarray(samples.costs[0])
    # Samples that reach all thresholds of an exit leave there in every combination and are dropped from then on.
    staying = np.arange(samples.num_samples)
    cells = np.zeros(samples.num_samples, dtype=np.int64)
    shape: tuple[int, ...] = ()
    for index, thresholds in enumerate(grids):
        bins = np.searchsorted(thresholds, samples.scores[index, staying], side="right")
        shape = (*shape, len(thresholds))
        kept = bins < len(thresholds)
        staying, cells = staying[kept], cells[kept] * len(thresholds) + bins[kept]
        difference = samples.correct[index + 1, staying] - samples.correct[index, staying]
        change = _cumulative(cells, shape, difference.astype(worth))
        change += right[..., None]
        right = change
        step = (samples.costs[index + 1] - samples.costs[index]) / samples.num_samples
        total = _cumulative(cells, shape, np.ones(len(cells), dtype=kind)) * step
        total += cost[..., None]
        cost = total
    return Outcomes(tuple(grids), right, cost)


def _cumulative(cells: NDArray[np.int64], shape: tuple[int, ...], weights: NDArray[Any]) -> NDArray[Any]:
    flat = np.zeros(math.prod(shape), dtype=weights.dtype)
    np.add.at(flat, cells, weights)
    counts = flat.reshape(shape)
    np.cumsum(counts, axis=-1, dtype=counts.dtype, out=counts)
    # Along the other axes whole slices are added, which is several times quicker than numpy's running sum.
    for axis in range(len(shape) - 1):
        slices = np.moveaxis(counts, axis, 0)
        for place in range(1, shape[axis]):
            slices[place] += slices[place - 1]
    return counts


def undominated(outcomes: Outcomes, num_samples: int) -> NDArray[np.intp]:
    """Find the combinations that no other beats in both right answers and cost.

    Args:
        outcomes: What each combination reaches.
        num_samples: The number of samples.

    Returns:
        Their flat indices, cheapest first.
    """
    right, cost = outcomes.right.ravel(), outcomes.cost.ravel()
    if right.dtype.kind == "f":
        return _undominated_sums(right, cost)
    lowest = np.full(num_samples + 1, np.inf)
    np.minimum.at(lowest, right, cost)
    # A count of right answers is on the curve if no higher count is to be had for the same cost or less.
    above = np.minimum.accumulate(np.append(lowest[1:], np.inf)[::-1])[::-1]
    on_curve = with_slack(lowest) < above
    members = np.flatnonzero(on_curve[right] & (cost == lowest[right]))
    last_of_count = np.full(num_samples + 1, -1, dtype=np.intp)
    last_of_count[right[members]] = members
    return last_of_count[np.flatnonzero(on_curve)]


def _undominated_sums(right: NDArray[np.float64], cost: NDArray[np.float64]) -> NDArray[np.intp]:
    """The same for sums of weights; sums that differ by rounding alone count as equal."""
    rounded = np.round(right, 7)
    order = np.lexsort((-rounded, cost))
    best = np.maximum.accumulate(rounded[order])
    better = np.append(True, best[1:] > best[:-1])
    chosen = order[better]
    # Of neighbours whose costs differ by rounding alone, the last one is right more often.
    apart = np.append(with_slack(cost[chosen[:-1]]) < cost[chosen[1:]], True)
    return np.asarray(chosen[apart], dtype=np.intp)


def with_slack(cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add what rounding may add: costs that differ by rounding alone count as equal.

    Args:
        cost: Costs.

    Returns:
        Costs, a little larger.
    """
    return cost + 1e-12 * np.abs(cost)


def thin(grids: Sequence[NDArray[np.float64]], max_combinations: int) -> tuple[NDArray[np.float64], ...]:
    """Choose thresholds evenly, so that the combinations are few enough; always the last one of each exit.

    Args:
        grids: Increasing thresholds of each early exit.
        max_combinations: At most so many combinations.

    Returns:
        Fewer thresholds of each early exit.
    """
    if not grids or math.prod(len(grid) for grid in grids) <= max_combinations:
        return tuple(grids)
    thinned: list[NDArray[np.float64]] = []
    budget = float(max_combinations)
    # The last exits may get fewer, down to one (the highest), when there are too many exits for two values each.
    for index, grid in enumerate(grids):
        length = min(len(grid), max(int(budget ** (1.0 / (len(grids) - index)) + 1e-9), 2 if budget >= 2 else 1))
        budget /= length
        places = np.linspace(0, len(grid) - 1, length) if length > 1 else np.asarray([len(grid) - 1])
        thinned.append(grid[np.unique(np.round(places).astype(np.intp))])
    return tuple(thinned)
