"""All early-exit networks of one backbone, evaluated by counting bits.

A network is a set of exits, at most one per tap, each with a threshold. It is built exit by exit from the first tap to
the last, so every set is visited exactly once: the sets with k exits are those with k - 1 exits, each extended by every
exit at a later tap. To be extended, a set needs the samples that have not left yet (one bit each) and the costs so
far. This proves completeness by induction over the number of exits: a set is dropped only if a bound shows that all
its extensions are no better than a network that was found.

If more extensions are left than a limit allows, only those of the most promising sets are checked: a beam search,
which is reported.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.exact.exit_table import ExitTable, count_bits, metric_columns, pack_bits
from offramp.exits.confidence_measures import Measure
from offramp.numerics.dominance import covered, distinct_front

NONE = -1
"""Means "no further exit" in rows of exits."""

_WORDS_AT_ONCE = 2_000_000
_NODES_AT_ONCE = 150_000
_WEIGHTS_OF_COST = (0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Accuracy that the cost of the static network is worth; small weights favour accuracy, large ones low cost."""
_BEAM = 0.25
"""Share of the limit that a beam search uses; it reached 99.6 % of the hypervolume on synthetic tables."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Networks with thresholds, one per row, and their results.

    Attributes:
        exits: Indices into the options of the table, (rows, largest number of exits), padded with `NONE`.
        threshold_indices: Index of the threshold of each exit, of the same shape.
        num_correct: Number of correct samples, (rows,).
        costs: Mean costs per sample, (rows, 4), with columns `METRICS`.
    """

    exits: NDArray[np.int16]
    threshold_indices: NDArray[np.int16]
    num_correct: NDArray[np.int64]
    costs: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.num_correct)

    def take(self, rows: NDArray[np.intp]) -> "Outcomes":
        """Select rows.

        Args:
            rows: Indices of the rows.

        Returns:
            The rows, in this order.
        """
        return Outcomes(self.exits[rows], self.threshold_indices[rows], self.num_correct[rows], self.costs[rows])

    def goals(self, columns: Sequence[int]) -> NDArray[np.float64]:
        """Arrange what a front compares; smaller is better.

        Args:
            columns: Indices into `METRICS`.

        Returns:
            The negated number of correct samples and the selected costs, (rows, 1 + columns).
        """
        return np.column_stack([-self.num_correct, self.costs[:, list(columns)]])

    def front(self, columns: Sequence[int]) -> NDArray[np.intp]:
        """Find the rows that no other row beats in correct samples and costs.

        Args:
            columns: Indices into `METRICS`.

        Returns:
            Indices of the rows, the most correct first; the first one of equal rows.
        """
        return distinct_front(self.goals(columns))


def concatenated(parts: list[Outcomes]) -> Outcomes:
    """Concatenate rows.

    Args:
        parts: The parts, at least one.

    Returns:
        All rows in order.
    """
    return Outcomes(
        np.concatenate([part.exits for part in parts]),
        np.concatenate([part.threshold_indices for part in parts]),
        np.concatenate([part.num_correct for part in parts]),
        np.concatenate([part.costs for part in parts]),
    )


@dataclass(frozen=True, eq=False)
class _Actions:
    """Every option at every threshold: the samples that leave, and those of them that are correct, as bits."""

    option: NDArray[np.int16]
    threshold_index: NDArray[np.int16]
    tap: NDArray[np.int64]
    leaves: NDArray[np.uint64]
    correct: NDArray[np.uint64]
    to_tap: NDArray[np.float64]
    branch: NDArray[np.float64]
    to_first: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Sets of exits: the rows of `Outcomes` so far, and what their extensions need.

    ``spent`` sums the costs of the samples that left; ``branches`` those of the branches on the way.
    """

    exits: NDArray[np.int16]
    threshold_indices: NDArray[np.int16]
    last_tap: NDArray[np.int64]
    staying: NDArray[np.uint64]
    num_staying: NDArray[np.int64]
    num_correct: NDArray[np.int64]
    spent: NDArray[np.float64]
    branches: NDArray[np.float64]

    def take(self, rows: NDArray[np.intp]) -> "_Nodes":
        return _Nodes(
            self.exits[rows],
            self.threshold_indices[rows],
            self.last_tap[rows],
            self.staying[rows],
            self.num_staying[rows],
            self.num_correct[rows],
            self.spent[rows],
            self.branches[rows],
        )


class Enumeration:
    """Enumerates the networks of a table for one measure.

    Attributes:
        num_visited: Number of networks that were evaluated.
        complete: Whether no beam search was needed.
    """

    def __init__(
        self,
        table: ExitTable,
        measure: Measure,
        max_exits: int,
        columns: tuple[int, ...] | None = None,
        max_extensions: int | None = None,
    ) -> None:
        """Prepare an enumeration.

        Args:
            table: Exit table of the backbone.
            measure: The confidence measure.
            max_exits: Largest number of early exits.
            columns: Costs, as indices into `METRICS`. Only rows that can be on the front of accuracy against these
                costs are
                kept (branch and bound); None: all networks are kept.
            max_extensions: Largest number of networks per number of exits; beyond it, beam search is used. Only with
                ``columns``; None: no limit.
        """
        self._table = table
        self._measure = measure
        self._max_exits = min(max_exits, len(set(table.taps.tolist())))
        self._columns = columns
        self._max_extensions = max_extensions
        self._final = pack_bits(table.correct[-1:])[0]
        self.num_visited = 0
        self.complete = True

    def run(self) -> Outcomes:
        """All networks, or those that can be on the front."""
        if not self._table.shared_threshold:
            return self._tree(self._actions(None))
        lists = self._table.thresholds[self._measure]
        return concatenated([self._tree(self._actions(place)) for place in range(len(lists[0]) if lists else 1)])

    def _actions(self, shared: int | None) -> _Actions:
        """All options at all their thresholds, or at the shared one."""
        table, scores, lists = self._table, self._table.scores[self._measure], self._table.thresholds[self._measure]
        pairs = [
            (option, place)
            for option, thresholds in enumerate(lists)
            for place in (range(len(thresholds)) if shared is None else (shared,))
        ]
        options = np.asarray([option for option, _ in pairs], dtype=np.int16)
        limits = np.asarray([lists[option][place] for option, place in pairs])
        leaves = scores[options] >= limits[:, None]
        return _Actions(
            option=options,
            threshold_index=np.asarray([place for _, place in pairs], dtype=np.int16),
            tap=table.taps[options],
            leaves=pack_bits(leaves),
            correct=pack_bits(leaves & table.correct[options]),
            to_tap=table.costs.to_tap[options],
            branch=table.costs.branch[options],
            to_first=table.costs.to_first[options],
        )

    def _tree(self, actions: _Actions) -> Outcomes:
        nodes = self._root()
        found = [self._outcomes_of(nodes)]
        for depth in range(self._max_exits):
            last = depth == self._max_exits - 1
            extended: list[_Nodes] = []
            for part in self._extensions(nodes, actions, depth):
                found.append(self._pruned(self._outcomes_of(part)))
                if not last:
                    extended.append(part)
                if self._columns is not None and sum(len(each.num_correct) for each in extended) > _NODES_AT_ONCE:
                    found = [self._pruned(concatenated(found))]
                    extended = [self._worth_extending(_concatenated_nodes(extended), found[0], actions)]
            if self._columns is not None:
                found = [self._pruned(concatenated(found))]
            if last or not extended:
                break
            nodes = self._worth_extending(_concatenated_nodes(extended), found[0], actions)
        return concatenated(found)

    def _root(self) -> _Nodes:
        words = np.zeros((1, len(self._final)), dtype=np.uint64)
        all_samples = pack_bits(np.ones((1, self._table.num_samples), dtype=bool))
        return _Nodes(
            exits=np.full((1, self._max_exits), NONE, dtype=np.int16),
            threshold_indices=np.full((1, self._max_exits), NONE, dtype=np.int16),
            last_tap=np.full(1, -1),
            staying=all_samples | words,
            num_staying=np.asarray([self._table.num_samples]),
            num_correct=np.zeros(1, dtype=np.int64),
            spent=np.zeros((1, 4)),
            branches=np.zeros((1, 3)),
        )

    def _extensions(self, nodes: _Nodes, actions: _Actions, depth: int) -> Iterator[_Nodes]:
        """Every node with every action at a later tap, in pieces."""
        for tap in np.unique(actions.tap):
            chosen = np.flatnonzero(actions.tap == tap)
            before = np.flatnonzero(nodes.last_tap < tap)
            step = max(1, _WORDS_AT_ONCE // max(1, len(chosen) * nodes.staying.shape[1]))
            for start in range(0, len(before), step):
                rows = before[start : start + step]
                yield self._extended(nodes, np.repeat(rows, len(chosen)), actions, np.tile(chosen, len(rows)), depth)

    def _extended(
        self, nodes: _Nodes, rows: NDArray[np.intp], actions: _Actions, chosen: NDArray[np.intp], depth: int
    ) -> _Nodes:
        self.num_visited += len(rows)
        before = nodes.staying[rows]
        staying = before & ~actions.leaves[chosen]
        num_staying = count_bits(staying)
        num_leaving = nodes.num_staying[rows] - num_staying
        branches = nodes.branches[rows] + actions.branch[chosen]
        leaving_costs = metric_columns(actions.to_tap[chosen] + branches if depth else actions.to_first[chosen])
        exits, threshold_indices = nodes.exits[rows], nodes.threshold_indices[rows]
        exits[:, depth] = actions.option[chosen]
        threshold_indices[:, depth] = actions.threshold_index[chosen]
        return _Nodes(
            exits=exits,
            threshold_indices=threshold_indices,
            last_tap=actions.tap[chosen],
            staying=staying,
            num_staying=num_staying,
            num_correct=nodes.num_correct[rows] + count_bits(before & actions.correct[chosen]),
            spent=nodes.spent[rows] + num_leaving[:, None] * leaving_costs,
            branches=branches,
        )

    def _outcomes_of(self, nodes: _Nodes) -> Outcomes:
        """Results if all remaining samples leave at the final classifier."""
        costs, samples = self._table.costs, self._table.num_samples
        final = metric_columns(costs.to_tap[-1] + costs.branch[-1] + nodes.branches)
        return Outcomes(
            nodes.exits,
            nodes.threshold_indices,
            nodes.num_correct + count_bits(nodes.staying & self._final),
            (nodes.spent + nodes.num_staying[:, None] * final) / samples,
        )

    def _pruned(self, outcomes: Outcomes) -> Outcomes:
        if self._columns is None:
            return outcomes
        return outcomes.take(outcomes.front(self._columns))

    def _worth_extending(self, nodes: _Nodes, front: Outcomes, actions: _Actions) -> _Nodes:
        """Nodes whose extensions can improve the front, within the limit."""
        if self._columns is None:
            return nodes
        num_correct, costs = self._best_case(nodes, actions)
        left = np.flatnonzero(~covered(np.column_stack([-num_correct, costs]), front.goals(self._columns)))
        return self._within_limit(nodes.take(left), num_correct[left], costs[left], actions)

    def _best_case(self, nodes: _Nodes, actions: _Actions) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Correct samples and costs (rows, columns) that no extension of a node can beat.

        In the best case every remaining sample is correct if some later exit is, and leaves at the next tap for the
        price of
        the cheapest later branch.
        """
        num_correct, costs = nodes.num_correct.copy(), np.empty((len(nodes.num_correct), 4))
        for tap in np.unique(nodes.last_tap):
            rows = np.flatnonzero(nodes.last_tap == tap)
            later = np.flatnonzero(actions.tap > tap)
            answerable = (
                self._final | np.bitwise_or.reduce(actions.correct[later], axis=0) if len(later) else self._final
            )
            to_tap = np.vstack([actions.to_tap[later], self._table.costs.to_tap[-1:]]).min(axis=0)
            branch = np.vstack([actions.branch[later], self._table.costs.branch[-1:]]).min(axis=0)
            num_correct[rows] += count_bits(nodes.staying[rows] & answerable)
            least = metric_columns(to_tap + branch + nodes.branches[rows])
            costs[rows] = (nodes.spent[rows] + nodes.num_staying[rows, None] * least) / self._table.num_samples
        return num_correct, costs[:, list(self._columns or ())]

    def _within_limit(
        self, nodes: _Nodes, num_correct: NDArray[np.int64], costs: NDArray[np.float64], actions: _Actions
    ) -> _Nodes:
        """All nodes, or the most promising ones, judged halfway between their present and their best case."""
        extensions = len(actions.tap) - np.searchsorted(np.sort(actions.tap), nodes.last_tap, side="right")
        if self._max_extensions is None or extensions.sum() <= self._max_extensions:
            return nodes
        self.complete = False
        now, static, columns = self._outcomes_of(nodes), self._outcomes_of(self._root()), list(self._columns or ())
        accuracy = (now.num_correct + num_correct) / (2 * self._table.num_samples)
        cost = ((now.costs[:, columns] + costs) / (2 * static.costs[:, columns])).mean(axis=1)
        # The best by each weight in turn, so that every part of the front keeps parents.
        orders = np.stack([np.argsort(weight * cost - accuracy, kind="stable") for weight in _WEIGHTS_OF_COST], axis=1)
        _, first = np.unique(orders, return_index=True)
        order = orders.ravel()[np.sort(first)]
        return nodes.take(np.sort(order[np.cumsum(extensions[order]) <= _BEAM * self._max_extensions]))


def _concatenated_nodes(parts: list[_Nodes]) -> _Nodes:
    return _Nodes(
        np.concatenate([part.exits for part in parts]),
        np.concatenate([part.threshold_indices for part in parts]),
        np.concatenate([part.last_tap for part in parts]),
        np.concatenate([part.staying for part in parts]),
        np.concatenate([part.num_staying for part in parts]),
        np.concatenate([part.num_correct for part in parts]),
        np.concatenate([part.spent for part in parts]),
        np.concatenate([part.branches for part in parts]),
    )
