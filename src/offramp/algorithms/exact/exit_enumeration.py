"""All early-exit networks of one backbone, evaluated by counting bits.

A network is a set of exits, at most one per tap, each with a threshold. It is built exit by exit from the first tap to
the last, so every set is visited exactly once: the sets with k exits are those with k - 1 exits, each extended by every
exit at a later tap. What a set needs to know of its past are the samples that have not left yet (one bit each) and the
costs so far. That is the proof of completeness: induction over the number of exits, and nothing is thrown away unless
a bound says that all its extensions are no better than something that was found.

Where more extensions are left than a limit allows, those of the most promising sets are looked at: a beam search, which
says that it was one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.exact.exit_table import ExitTable, count_bits, metric_columns, packed
from offramp.exits.confidence_measures import Measure
from offramp.numerics.dominance import covered, distinct_front

NONE = -1
"""Stands for "no further exit" in rows of exits."""

_WORDS_AT_ONCE = 2_000_000
_NODES_AT_ONCE = 150_000
_WEIGHTS_OF_COST = (0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 1.6)
"""What a cost equal to the static network's is worth in accuracy, from where accuracy counts to where cost does."""
_BEAM = 0.25
"""Share of the limit that a beam search keeps to: it reached 99.6 % of the hypervolume on made-up tables."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """One row per network and thresholds.

    ``exits``: (rows, most exits) indices into the table's options, padded with `NONE`; ``places``: which of the
    option's thresholds; ``right``: samples that are right; ``costs``: (rows, 4) means, columns `METRICS`.
    """

    exits: NDArray[np.int16]
    places: NDArray[np.int16]
    right: NDArray[np.int64]
    costs: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.right)

    def take(self, rows: NDArray[np.intp]) -> "Outcomes":
        """The given rows, in their order."""
        return Outcomes(self.exits[rows], self.places[rows], self.right[rows], self.costs[rows])

    def goals(self, columns: Sequence[int]) -> NDArray[np.float64]:
        """What a front compares, smaller is better.

        Args:
            columns: Indices into `METRICS`.

        Returns:
            Per row the right answers, negated, and the named costs.
        """
        return np.column_stack([-self.right, self.costs[:, list(columns)]])

    def front(self, columns: Sequence[int]) -> NDArray[np.intp]:
        """The rows that no other beats in right answers and costs.

        Args:
            columns: Indices into `METRICS`.

        Returns:
            Indices of the rows, most right answers first; of equal rows the first.
        """
        return distinct_front(self.goals(columns))


def joined(parts: list[Outcomes]) -> Outcomes:
    """The rows of several, one after the other."""
    return Outcomes(
        np.concatenate([part.exits for part in parts]),
        np.concatenate([part.places for part in parts]),
        np.concatenate([part.right for part in parts]),
        np.concatenate([part.costs for part in parts]),
    )


@dataclass(frozen=True, eq=False)
class _Actions:
    """Every option at every threshold: who leaves, and who of them is right, as bits."""

    option: NDArray[np.int16]
    place: NDArray[np.int16]
    tap: NDArray[np.int64]
    leaves: NDArray[np.uint64]
    right: NDArray[np.uint64]
    to_tap: NDArray[np.float64]
    branch: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Sets of exits: the rows of `Outcomes` so far, and what their extensions need.

    ``spent`` sums the costs of the samples that left; ``branches`` those of the branches on the way.
    """

    exits: NDArray[np.int16]
    places: NDArray[np.int16]
    last_tap: NDArray[np.int64]
    staying: NDArray[np.uint64]
    num_staying: NDArray[np.int64]
    right: NDArray[np.int64]
    spent: NDArray[np.float64]
    branches: NDArray[np.float64]

    def take(self, rows: NDArray[np.intp]) -> "_Nodes":
        return _Nodes(
            self.exits[rows],
            self.places[rows],
            self.last_tap[rows],
            self.staying[rows],
            self.num_staying[rows],
            self.right[rows],
            self.spent[rows],
            self.branches[rows],
        )


class Enumeration:
    """All networks of a table for one measure.

    With ``columns`` (indices into `METRICS`), only rows that can be on the front of accuracy against these costs are
    kept: branch and bound. Without, every network is a row. With ``most_extensions`` and columns, a number of exits at
    which more networks are worth a look gets a beam search; ``complete`` says that there was none, ``num_visited`` how
    many networks were looked at.
    """

    def __init__(
        self,
        table: ExitTable,
        measure: Measure,
        max_exits: int,
        columns: tuple[int, ...] | None = None,
        most_extensions: int | None = None,
    ) -> None:
        self._table = table
        self._measure = measure
        self._max_exits = min(max_exits, len(set(table.taps.tolist())))
        self._columns = columns
        self._most_extensions = most_extensions
        self._final = packed(table.correct[-1:])[0]
        self.num_visited = 0
        self.complete = True

    def run(self) -> Outcomes:
        if not self._table.shared_threshold:
            return self._tree(self._actions(None))
        lists = self._table.thresholds[self._measure]
        return joined([self._tree(self._actions(place)) for place in range(len(lists[0]) if lists else 1)])

    def _actions(self, shared: int | None) -> _Actions:
        """All options at all of their thresholds, or at the one all share."""
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
            place=np.asarray([place for _, place in pairs], dtype=np.int16),
            tap=table.taps[options],
            leaves=packed(leaves),
            right=packed(leaves & table.correct[options]),
            to_tap=table.costs.to_tap[options],
            branch=table.costs.branch[options],
        )

    def _tree(self, actions: _Actions) -> Outcomes:
        nodes = self._root()
        found = [self._finished(nodes)]
        for depth in range(self._max_exits):
            last = depth == self._max_exits - 1
            grown: list[_Nodes] = []
            for part in self._extensions(nodes, actions, depth):
                found.append(self._kept(self._finished(part)))
                if not last:
                    grown.append(part)
                if self._columns is not None and sum(len(each.right) for each in grown) > _NODES_AT_ONCE:
                    found = [self._kept(joined(found))]
                    grown = [self._worth_extending(_stacked(grown), found[0], actions)]
            if self._columns is not None:
                found = [self._kept(joined(found))]
            if last or not grown:
                break
            nodes = self._worth_extending(_stacked(grown), found[0], actions)
        return joined(found)

    def _root(self) -> _Nodes:
        words = np.zeros((1, len(self._final)), dtype=np.uint64)
        everyone = packed(np.ones((1, self._table.num_samples), dtype=bool))
        return _Nodes(
            exits=np.full((1, self._max_exits), NONE, dtype=np.int16),
            places=np.full((1, self._max_exits), NONE, dtype=np.int16),
            last_tap=np.full(1, -1),
            staying=everyone | words,
            num_staying=np.asarray([self._table.num_samples]),
            right=np.zeros(1, dtype=np.int64),
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
        leaving_costs = metric_columns(actions.to_tap[chosen] + branches)
        exits, places = nodes.exits[rows], nodes.places[rows]
        exits[:, depth], places[:, depth] = actions.option[chosen], actions.place[chosen]
        return _Nodes(
            exits=exits,
            places=places,
            last_tap=actions.tap[chosen],
            staying=staying,
            num_staying=num_staying,
            right=nodes.right[rows] + count_bits(before & actions.right[chosen]),
            spent=nodes.spent[rows] + num_leaving[:, None] * leaving_costs,
            branches=branches,
        )

    def _finished(self, nodes: _Nodes) -> Outcomes:
        """Everybody who is left leaves at the final classifier."""
        costs, samples = self._table.costs, self._table.num_samples
        final = metric_columns(costs.to_tap[-1] + costs.branch[-1] + nodes.branches)
        return Outcomes(
            nodes.exits,
            nodes.places,
            nodes.right + count_bits(nodes.staying & self._final),
            (nodes.spent + nodes.num_staying[:, None] * final) / samples,
        )

    def _kept(self, outcomes: Outcomes) -> Outcomes:
        if self._columns is None:
            return outcomes
        return outcomes.take(outcomes.front(self._columns))

    def _worth_extending(self, nodes: _Nodes, front: Outcomes, actions: _Actions) -> _Nodes:
        """Without those whose extensions cannot beat what was found, and within the limit."""
        if self._columns is None:
            return nodes
        right, costs = self._best_case(nodes, actions)
        left = np.flatnonzero(~covered(np.column_stack([-right, costs]), front.goals(self._columns)))
        return self._within_limit(nodes.take(left), right[left], costs[left], actions)

    def _best_case(self, nodes: _Nodes, actions: _Actions) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Right answers and costs (rows, columns) that no extension of a node can beat.

        At best every sample that stays is right wherever some later exit is right, and leaves at the next tap for the
        price of the cheapest later branch.
        """
        right, costs = nodes.right.copy(), np.empty((len(nodes.right), 4))
        for tap in np.unique(nodes.last_tap):
            rows = np.flatnonzero(nodes.last_tap == tap)
            later = np.flatnonzero(actions.tap > tap)
            able = self._final | np.bitwise_or.reduce(actions.right[later], axis=0) if len(later) else self._final
            to_tap = np.vstack([actions.to_tap[later], self._table.costs.to_tap[-1:]]).min(axis=0)
            branch = np.vstack([actions.branch[later], self._table.costs.branch[-1:]]).min(axis=0)
            right[rows] += count_bits(nodes.staying[rows] & able)
            least = metric_columns(to_tap + branch + nodes.branches[rows])
            costs[rows] = (nodes.spent[rows] + nodes.num_staying[rows, None] * least) / self._table.num_samples
        return right, costs[:, list(self._columns or ())]

    def _within_limit(
        self, nodes: _Nodes, right: NDArray[np.int64], costs: NDArray[np.float64], actions: _Actions
    ) -> _Nodes:
        """All nodes, or the most promising ones: halfway between what they are and the best they can become."""
        extensions = len(actions.tap) - np.searchsorted(np.sort(actions.tap), nodes.last_tap, side="right")
        if self._most_extensions is None or extensions.sum() <= self._most_extensions:
            return nodes
        self.complete = False
        now, static, columns = self._finished(nodes), self._finished(self._root()), list(self._columns or ())
        accuracy = (now.right + right) / (2 * self._table.num_samples)
        cost = ((now.costs[:, columns] + costs) / (2 * static.costs[:, columns])).mean(axis=1)
        # The best by each weight in turn, so that no part of the front is left without parents.
        orders = np.stack([np.argsort(weight * cost - accuracy, kind="stable") for weight in _WEIGHTS_OF_COST], axis=1)
        _, first = np.unique(orders, return_index=True)
        order = orders.ravel()[np.sort(first)]
        return nodes.take(np.sort(order[np.cumsum(extensions[order]) <= _BEAM * self._most_extensions]))


def _stacked(parts: list[_Nodes]) -> _Nodes:
    return _Nodes(
        np.concatenate([part.exits for part in parts]),
        np.concatenate([part.places for part in parts]),
        np.concatenate([part.last_tap for part in parts]),
        np.concatenate([part.staying for part in parts]),
        np.concatenate([part.num_staying for part in parts]),
        np.concatenate([part.right for part in parts]),
        np.concatenate([part.spent for part in parts]),
        np.concatenate([part.branches for part in parts]),
    )
