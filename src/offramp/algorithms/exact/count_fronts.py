"""The front of very many candidates, by counts of right answers and costs."""

import bisect

import numpy as np
from numpy.typing import NDArray

from offramp.objectives.pareto import non_dominated

_CHUNK = 2048
_PIVOTS = 48


def undominated_rows(right: NDArray[np.integer], costs: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of the rows that no other beats in ``right`` (more is better) and all of ``costs`` (rows, costs).

    Of equal rows the first is kept. Sorted by ``right``, the largest first, then by the first cost.
    """
    if not len(right):
        return np.empty(0, dtype=np.intp)
    order = np.lexsort((np.arange(len(right)), *costs.T[::-1], -right))
    if costs.shape[1] == 1:
        # Rows before in this order have at least as many right answers: a row must be cheaper than all of them.
        values = costs[order, 0]
        alive = np.ones(len(order), dtype=bool)
        alive[1:] = values[1:] < np.minimum.accumulate(values)[:-1]
        return order[alive]
    points = np.column_stack([-right[order], costs[order]])
    places = _without_beaten_by(points, _pivots(points))
    if costs.shape[1] == 2:
        return order[places[_staircase(points[places, 1], points[places, 2])]]
    kept = np.empty(0, dtype=np.intp)
    for start in range(0, len(places), _CHUNK):
        chunk = places[start : start + _CHUNK]
        chunk = chunk[~_beaten(points[chunk], points[kept])]
        both = np.concatenate([kept, chunk])
        _, first = np.unique(points[both], axis=0, return_index=True)
        both = both[np.sort(first)]
        kept = both[non_dominated(points[both])]
    return order[kept]


def _staircase(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.intp]:
    """Places that no earlier one equals or beats in both costs.

    The best so far are kept as steps: rising in the first cost, falling in the second.
    """
    firsts: list[float] = []
    seconds: list[float] = []
    kept = []
    for place, (x, y) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        step = bisect.bisect_right(firsts, x)
        if step and seconds[step - 1] <= y:
            continue
        kept.append(place)
        # Steps at the same or a higher first cost with no lower second cost are of no more use.
        start = step - 1 if step and firsts[step - 1] == x else step
        end = start
        while end < len(firsts) and seconds[end] >= y:
            end += 1
        firsts[start:end], seconds[start:end] = [x], [y]
    return np.asarray(kept, dtype=np.intp)


def _pivots(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """Rows that beat many: at each of some levels of the first column, those cheapest in each cost and in all."""
    # Relative costs multiply to what is cheap in all of them.
    together = np.log(np.maximum(points[:, 1:], np.finfo(np.float64).tiny)).sum(axis=1)
    measures = [*points[:, 1:].T, together]
    ends = np.unique(np.linspace(1, len(points), _PIVOTS).astype(np.intp))
    return np.unique([int(np.argmin(values[:end])) for end in ends for values in measures])


def _without_beaten_by(points: NDArray[np.float64], pivots: NDArray[np.intp]) -> NDArray[np.intp]:
    left = np.arange(len(points))
    for pivot in pivots:
        nowhere_better = np.all(points[left] >= points[pivot], axis=1)
        beaten = nowhere_better & np.any(points[left] > points[pivot], axis=1)
        left = left[~beaten]
    return left


def _beaten(points: NDArray[np.float64], front: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows some row of the front equals or beats."""
    if not len(front):
        return np.zeros(len(points), dtype=bool)
    nowhere_better = np.all(front[None, :, :] <= points[:, None, :], axis=2)
    beaten: NDArray[np.bool_] = np.any(nowhere_better, axis=1)
    return beaten
