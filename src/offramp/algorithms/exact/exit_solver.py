"""The best exits, branches and operating points of one backbone, computed from its exit table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.exact.exit_enumeration import NONE, Enumeration, Outcomes, concatenated
from offramp.algorithms.exact.exit_table import METRICS, ExitTable
from offramp.exits.confidence_measures import Measure
from offramp.objectives.evaluation import Constraint, Objective
from offramp.space.architecture import Architecture, PolicyChoice

MAX_EXTENSIONS = 1_600_000
"""Limit for one measure and number of exits; three exits of five branch types and six thresholds at eight taps fit."""

_PRODUCT = METRICS.index("energy_delay_product_j_cycles")


def cost_columns(objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> tuple[int, ...]:
    """Select the costs that a front compares.

    Args:
        objectives: Metrics to optimise.
        constraints: Bounds on metrics.

    Returns:
        Indices into `METRICS`; the energy-delay product alone if no cost is named.
    """
    named = [o.metric for o in objectives] + [c.metric for c in constraints]
    return tuple(dict.fromkeys(METRICS.index(name) for name in named if name in METRICS)) or (_PRODUCT,)


@dataclass(frozen=True)
class Solution:
    """The candidates of one backbone.

    Attributes:
        candidates: The candidates: the backbone without exits, then the most accurate first.
        complete: Whether no candidate of the front can be missing.
    """

    candidates: tuple[Architecture, ...]
    complete: bool


def solve(
    table: ExitTable,
    max_exits: int,
    accuracy_drops: Sequence[float],
    columns: tuple[int, ...],
    max_extensions: int = MAX_EXTENSIONS,
) -> Solution:
    """Find the candidates of one backbone that may be on the front.

    If all exits share one threshold, every network of the table is evaluated exactly as an evaluator does. With one
    threshold per exit, the networks are those on the front over the table's thresholds, which an evaluator then
    refines.

    Args:
        table: Exit table of the backbone.
        max_exits: Largest number of early exits.
        accuracy_drops: Accuracy drops to choose among, 0 to 1.
        columns: Costs of the front, indices into `METRICS`.
        max_extensions: Largest number of networks per number of exits that are checked one by one; beyond it, beam
            search replaces the complete search.

    Returns:
        The candidates.
    """
    if not table.options:
        return Solution((table.backbone,), complete=True)
    measures = sorted(table.scores, key=str)
    parts = [_candidates(table, m, max_exits, accuracy_drops, columns, max_extensions) for m in measures]
    outcomes = concatenated([part.outcomes for part in parts])
    drops = np.concatenate([part.drops for part in parts])
    measure_of = [m for m, part in zip(measures, parts, strict=True) for _ in range(len(part.outcomes))]
    best = outcomes.front(columns)
    found = [table.backbone]
    for row in best:
        found.append(_architecture(table, outcomes.exits[row], measure_of[row], float(drops[row])))
    return Solution(tuple(dict.fromkeys(found)), all(part.complete for part in parts))


def _architecture(table: ExitTable, exits: NDArray[np.int16], measure: Measure, drop: float) -> Architecture:
    chosen = tuple(table.options[option] for option in exits.tolist() if option != NONE)
    policy = PolicyChoice(measure, drop) if chosen else PolicyChoice()
    return replace(table.backbone, exits=chosen, policy=policy)


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows for one measure that may be on the front, and the accuracy drop with which an evaluator chooses each."""

    outcomes: Outcomes
    drops: NDArray[np.float64]
    complete: bool


def _candidates(
    table: ExitTable,
    measure: Measure,
    max_exits: int,
    accuracy_drops: Sequence[float],
    columns: tuple[int, ...],
    max_extensions: int,
) -> _Part:
    if table.shared_threshold:
        outcomes = Enumeration(table, measure, max_exits).run()
        parts = list(operating_points(outcomes, accuracy_drops, table.num_samples))
        rows = np.concatenate([rows for _, rows in parts])
        drops = np.concatenate([np.full(len(rows), drop) for drop, rows in parts])
        return _Part(outcomes.take(rows), drops, complete=True)
    enumeration = Enumeration(table, measure, max_exits, columns, max_extensions)
    outcomes = enumeration.run()
    outcomes = outcomes.take(outcomes.front(columns))
    groups = _sets(outcomes)
    best_correct = np.zeros(groups.max() + 1, dtype=np.int64)
    np.maximum.at(best_correct, groups, outcomes.num_correct)
    given_up = (best_correct[groups] - outcomes.num_correct) / table.num_samples
    offered = np.sort(np.asarray(accuracy_drops))
    indices = np.minimum(np.searchsorted(offered, given_up - 1e-12), len(offered) - 1)
    return _Part(outcomes, offered[indices], enumeration.complete)


def operating_points(
    outcomes: Outcomes, accuracy_drops: Sequence[float], num_samples: int
) -> Iterator[tuple[float, NDArray[np.intp]]]:
    """Select the row that an evaluator without constraints chooses for every set of exits and each accuracy drop.

    It has the lowest energy-delay product among the rows whose accuracy is at most the drop below the best of the set.

    Args:
        outcomes: Networks with thresholds.
        accuracy_drops: Accuracy drops, 0 to 1.
        num_samples: Number of samples.

    Yields:
        Accuracy drop, and the indices of the chosen rows.
    """
    groups = _sets(outcomes)
    best_correct = np.zeros(groups.max() + 1, dtype=np.int64)
    np.maximum.at(best_correct, groups, outcomes.num_correct)
    accuracy = outcomes.num_correct / num_samples
    product = outcomes.costs[:, _PRODUCT]
    for drop in accuracy_drops:
        near = np.flatnonzero(accuracy >= best_correct[groups] / num_samples - drop - 1e-12)
        order = near[np.lexsort((-outcomes.num_correct[near], product[near], groups[near]))]
        first = np.ones(len(order), dtype=bool)
        first[1:] = groups[order[1:]] != groups[order[:-1]]
        yield drop, order[first]


def _sets(outcomes: Outcomes) -> NDArray[np.int64]:
    """Numbers of the sets of exits, one per row; rows with the same exits have the same number."""
    if not outcomes.exits.shape[1]:
        return np.zeros(len(outcomes), dtype=np.int64)
    base = int(outcomes.exits.max()) + 2
    if base ** outcomes.exits.shape[1] < 2**62:
        powers = base ** np.arange(outcomes.exits.shape[1], dtype=np.int64)
        keys = (outcomes.exits.astype(np.int64) + 1) @ powers
        return np.asarray(np.unique(keys, return_inverse=True)[1], dtype=np.int64)
    return np.asarray(np.unique(outcomes.exits, axis=0, return_inverse=True)[1], dtype=np.int64).reshape(-1)
