"""The best exits, branches and operating points of one backbone, computed from its exit table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.exact.exit_enumeration import NONE, Enumeration, Outcomes, joined
from offramp.algorithms.exact.exit_table import METRICS, ExitTable
from offramp.exits.confidence_measures import Measure
from offramp.objectives.evaluation import Constraint, Objective
from offramp.space.architecture import Architecture, PolicyChoice

MOST_EXTENSIONS = 1_600_000
"""Of one measure and number of exits: three exits of five branch types and six thresholds at eight taps fit in."""

_PRODUCT = METRICS.index("energy_delay_product_j_cycles")


def cost_columns(objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> tuple[int, ...]:
    """Which of `METRICS` a front must look at; the energy-delay product where no cost is named."""
    named = [o.metric for o in objectives] + [c.metric for c in constraints]
    return tuple(dict.fromkeys(METRICS.index(name) for name in named if name in METRICS)) or (_PRODUCT,)


@dataclass(frozen=True)
class Solution:
    """Candidates, the most accurate first; ``complete`` where none that matters can be missing."""

    candidates: tuple[Architecture, ...]
    complete: bool


def solve(
    table: ExitTable,
    max_exits: int,
    accuracy_drops: Sequence[float],
    columns: tuple[int, ...],
    most_extensions: int = MOST_EXTENSIONS,
) -> Solution:
    """Candidates among which all that matter are.

    With one threshold for all exits every network of the table is judged exactly as an evaluator judges it. With one
    per exit the networks are those on the front over the table's thresholds, which an evaluator then refines; where
    more than ``most_extensions`` networks per number of exits are worth a look, a beam search takes the place of the
    complete one.
    """
    if not table.options:
        return Solution((table.backbone,), complete=True)
    measures = sorted(table.scores, key=str)
    parts = [_candidates(table, m, max_exits, accuracy_drops, columns, most_extensions) for m in measures]
    outcomes = joined([part.outcomes for part in parts])
    drops = np.concatenate([part.drops for part in parts])
    measure_of = [m for m, part in zip(measures, parts, strict=True) for _ in range(len(part.outcomes))]
    best = outcomes.front(columns)
    found = [table.backbone]
    for row in best:
        found.append(_architecture(table, outcomes.exits[row], measure_of[row], float(drops[row])))
    return Solution(tuple(dict.fromkeys(found)), all(part.complete for part in parts))


def _architecture(table: ExitTable, exits: NDArray[np.int16], measure: Measure, drop: float) -> Architecture:
    chosen = tuple(table.options[place] for place in exits.tolist() if place != NONE)
    policy = PolicyChoice(measure, drop) if chosen else PolicyChoice()
    return replace(table.backbone, exits=chosen, policy=policy)


@dataclass(frozen=True, eq=False)
class _Part:
    """What one measure adds: rows that may be on the front, and the accuracy drop that leads an evaluator to each."""

    outcomes: Outcomes
    drops: NDArray[np.float64]
    complete: bool


def _candidates(
    table: ExitTable,
    measure: Measure,
    max_exits: int,
    accuracy_drops: Sequence[float],
    columns: tuple[int, ...],
    most_extensions: int,
) -> _Part:
    if table.shared_threshold:
        outcomes = Enumeration(table, measure, max_exits).run()
        parts = list(operating_points(outcomes, accuracy_drops, table.num_samples))
        rows = np.concatenate([rows for _, rows in parts])
        drops = np.concatenate([np.full(len(rows), drop) for drop, rows in parts])
        return _Part(outcomes.take(rows), drops, complete=True)
    enumeration = Enumeration(table, measure, max_exits, columns, most_extensions)
    outcomes = enumeration.run()
    outcomes = outcomes.take(outcomes.front(columns))
    groups = _sets(outcomes)
    most = np.zeros(groups.max() + 1, dtype=np.int64)
    np.maximum.at(most, groups, outcomes.right)
    given_up = (most[groups] - outcomes.right) / table.num_samples
    offered = np.sort(np.asarray(accuracy_drops))
    places = np.minimum(np.searchsorted(offered, given_up - 1e-12), len(offered) - 1)
    return _Part(outcomes, offered[places], enumeration.complete)


def operating_points(
    outcomes: Outcomes, accuracy_drops: Sequence[float], num_samples: int
) -> Iterator[tuple[float, NDArray[np.intp]]]:
    """For each drop, the row of every set of exits that an evaluator without constraints chooses.

    That is the one with the lowest product among those whose accuracy is at most the drop below the set's best.
    """
    groups = _sets(outcomes)
    most = np.zeros(groups.max() + 1, dtype=np.int64)
    np.maximum.at(most, groups, outcomes.right)
    accuracy = outcomes.right / num_samples
    product = outcomes.costs[:, _PRODUCT]
    for drop in accuracy_drops:
        near = np.flatnonzero(accuracy >= most[groups] / num_samples - drop - 1e-12)
        order = near[np.lexsort((-outcomes.right[near], product[near], groups[near]))]
        first = np.ones(len(order), dtype=bool)
        first[1:] = groups[order[1:]] != groups[order[:-1]]
        yield drop, order[first]


def _sets(outcomes: Outcomes) -> NDArray[np.int64]:
    """A number per row, the same for rows with the same exits."""
    if not outcomes.exits.shape[1]:
        return np.zeros(len(outcomes), dtype=np.int64)
    base = int(outcomes.exits.max()) + 2
    if base ** outcomes.exits.shape[1] < 2**62:
        powers = base ** np.arange(outcomes.exits.shape[1], dtype=np.int64)
        keys = (outcomes.exits.astype(np.int64) + 1) @ powers
        return np.asarray(np.unique(keys, return_inverse=True)[1], dtype=np.int64)
    return np.asarray(np.unique(outcomes.exits, axis=0, return_inverse=True)[1], dtype=np.int64).reshape(-1)
