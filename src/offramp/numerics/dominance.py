"""Which points no other point dominates: the one filter behind all fronts and trade-off curves.

A point dominates another when it is nowhere worse and somewhere better. Everywhere here smaller is better.
"""

import bisect

import numpy as np
from numpy.typing import NDArray

_FEW = 128
"""So many points are compared pair by pair at once; more are sorted and thinned first."""

_CHUNK = 2048
_PIVOTS = 48


def non_dominated(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points no other point dominates; equal points do not dominate each other.

    Args:
        points: One point per row, one objective per column.

    Returns:
        A truth value per row.
    """
    if not len(points):
        return np.zeros(0, dtype=bool)
    distinct, places = np.unique(points, axis=0, return_inverse=True)
    kept = np.zeros(len(distinct), dtype=bool)
    kept[distinct_front(distinct)] = True
    return kept[places.reshape(-1)]


def distinct_front(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """The points that no other point dominates, each place once.

    Args:
        points: One point per row, one objective per column.

    Returns:
        Indices of the rows, sorted by the first objective, then the second, and so on. Of equal rows the first is kept.
    """
    if not points.size:
        return np.arange(min(len(points), 1))
    order = np.lexsort(points.T[::-1])
    ranked = points[order]
    if points.shape[1] <= 2:
        # Rows before in this order are no worse in the first objective: a row must be better in the last one.
        values = ranked[:, -1]
        alive = np.ones(len(order), dtype=bool)
        alive[1:] = values[1:] < np.minimum.accumulate(values)[:-1]
        return order[alive] if points.shape[1] == 2 else order[:1]
    if len(ranked) <= _FEW:
        return order[_pairwise(ranked)]
    places = _without_beaten_by(ranked, _pivots(ranked))
    if points.shape[1] == 3:
        return order[places[_staircase(ranked[places, 1], ranked[places, 2])]]
    kept = np.empty(0, dtype=np.intp)
    for start in range(0, len(places), _CHUNK):
        chunk = places[start : start + _CHUNK]
        chunk = chunk[~covered(ranked[chunk], ranked[kept])]
        # In lexicographic order no row dominates one before it, so what was kept stays.
        for first in range(0, len(chunk), _FEW):
            part = chunk[first : first + _FEW]
            part = part[~covered(ranked[part], ranked[kept])]
            kept = np.concatenate([kept, part[_pairwise(ranked[part])]])
    return order[kept]


def covered(points: NDArray[np.float64], front: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points some point of a front equals or dominates.

    Args:
        points: One point per row, one objective per column.
        front: Points to compare them with, with the same columns.

    Returns:
        A truth value per row of ``points``.
    """
    left = np.arange(len(points))
    for point in front:
        left = left[~np.all(points[left] >= point, axis=1)]
        if not len(left):
            break
    found = np.ones(len(points), dtype=bool)
    found[left] = False
    return found


def _pairwise(ranked: NDArray[np.float64]) -> NDArray[np.intp]:
    """Of rows in lexicographic order, those that no earlier one equals or dominates; no later one can dominate them."""
    no_worse = np.all(ranked[:, None, :] >= ranked[None, :, :], axis=2)
    return np.flatnonzero(~np.any(np.tril(no_worse, -1), axis=1))


def _staircase(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.intp]:
    """Places that no earlier one equals or beats in both objectives.

    The best so far are kept as steps: rising in the first objective, falling in the second.
    """
    firsts: list[float] = []
    seconds: list[float] = []
    kept = []
    for place, (x, y) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        step = bisect.bisect_right(firsts, x)
        if step and seconds[step - 1] <= y:
            continue
        kept.append(place)
        # Steps at the same or a higher first objective with no lower second one are of no more use.
        start = step - 1 if step and firsts[step - 1] == x else step
        end = start
        while end < len(firsts) and seconds[end] >= y:
            end += 1
        firsts[start:end], seconds[start:end] = [x], [y]
    return np.asarray(kept, dtype=np.intp)


def _pivots(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """Rows that beat many: at each of some levels of the first objective, the best in each other one and in all."""
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
