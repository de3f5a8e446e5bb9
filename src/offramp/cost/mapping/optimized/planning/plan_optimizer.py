"""Dynamic programming over layers and the places of their tensors; and a bound that no plan of the same tasks beats.

A state says where all tensors are that are still needed. In each state those partial plans are kept that no other beats
in all of time, link time, energy and product so far, and that may still end below the best plan known.
Source of the method: multi-criteria labels with dominance, Martins, EJOR 16 (1984).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from offramp.cost.mapping.optimized.candidates.task_builder import TaskBuilder
from offramp.cost.mapping.optimized.candidates.tasks import Task
from offramp.cost.mapping.optimized.core_groups import CoreGroup
from offramp.cost.mapping.optimized.mapping_steps import MappingStep
from offramp.cost.mapping.optimized.planning.partial_plans import (
    BACKBONE,
    BRANCH,
    CORES,
    ENERGY,
    FIRST,
    KIND,
    LINK,
    NUM_COLUMNS,
    PRODUCT,
    STARTS,
    Nodes,
    PartialPlanModel,
    StageEntries,
)
from offramp.cost.mapping.optimized.planning.remaining_costs import RemainingCosts
from offramp.cost.mapping.optimized.planning.task_costs import (
    Floats,
    PositionCosts,
    TensorState,
    task_cost,
    transfer_cost,
    transfer_cost_rows,
)
from offramp.cost.mapping.optimized.planning.task_orders import task_orders
from offramp.cost.mapping.optimized.router import Router
from offramp.cost.mapping.optimized.simulation.plan_simulator import Speculation
from offramp.cost.mapping.optimized.tensor_regions import Layout
from offramp.numerics.dominance import distinct_front
from offramp.workload.graph import GRAPH_INPUT, Role

PLAN_LABELS, BOUND_LABELS = 4, 24
"""Partial plans kept per state. Of more, a search for a plan drops the least promising ones; a bound joins them into
one, each figure at its best."""

FEW, MOST_PAIRS = 4, 100
"""A search for a plan compares ``FEW`` times `PLAN_LABELS` partial plans of a state, the most promising ones; so many
are compared pair by pair at once, and more are sorted first."""

_NOT_AFTER = np.triu(np.ones((MOST_PAIRS, MOST_PAIRS), dtype=bool))

MOST_READS = 1000
"""Transfers that the search for a plan works out per position: states times the tensors that the next layer reads.
Ordinary networks stay below a tenth of it. Where a layer reads dozens of tensors, as in DenseNet, the least promising
states are dropped, so that the search takes a limited number of steps on every machine."""

LEAST_STATES = 16
"""States that are kept in any case."""

PARTS = (1, 2, 4, 6, 10, 20, 1 << 30)
"""Numbers of parts that states distinguish."""

_PLAN_COLUMNS = [BACKBONE, BRANCH, LINK, ENERGY, PRODUCT]
_BOUND_COLUMNS = [*range(PRODUCT + 1), FIRST, FIRST + 1, *range(STARTS, NUM_COLUMNS)]
"""What decides which partial plan is better; for a bound, all that later figures depend on."""

State: TypeAlias = tuple[tuple[str, int], ...]
"""Tensors that are still needed, and the number of the place of each."""


@dataclass(frozen=True)
class Plan:
    """A complete plan.

    Attributes:
        tasks: One task per position.
        product: Its weighted product of energy and latency in pJ x cycles, as the model of partial plans estimates it.
        speculation: What may happen before the verdict of each exit; that of the last has no meaning.
    """

    tasks: tuple[Task, ...]
    product: float
    speculation: tuple[Speculation, ...]


@dataclass(eq=False)
class _Front:
    """All partial plans that were kept, state after state; ``owner`` is the number of a row's state."""

    states: Sequence[State]
    owner: Nodes
    values: Floats
    nodes: Nodes


@dataclass(eq=False)
class _Arrivals:
    """Partial plans after one more task; ``target`` is the number of the state that each reaches."""

    states: list[State]
    target: Nodes
    values: Floats
    tasks: Nodes


class PlanOptimizer:
    """Chooses one task per position of the plan: one position per layer or chain of layers."""

    def __init__(
        self,
        builder: TaskBuilder,
        router: Router,
        group: CoreGroup,
        steps: frozenset[MappingStep],
        choices: Sequence[Sequence[Task]],
        weights: Sequence[float],
        waits: bool,
        exits: Sequence[str],
    ) -> None:
        """Work out the figures of all candidates.

        Args:
            builder: What built the candidates.
            router: Plans transfers.
            group: The cores.
            steps: Steps of the mapping that are switched on.
            choices: Candidates of each position.
            weights: Weights of the exits.
            waits: Whether every stage waits for the verdict before.
            exits: Names of the tensors that end the stages.
        """
        self._builder, self._router, self._group = builder, router, group
        self._prefetch, self._waits = MappingStep.PREFETCH in steps, waits
        self._choices, self._weights = choices, weights
        self._exit_of = {name: stage for stage, name in enumerate(exits)}
        self._costs = [self._position_costs(options) for options in choices]
        self._numbers: dict[TensorState, int] = {TensorState(builder.offchip): 0}
        self._places = [
            [self._numbers.setdefault(places, len(self._numbers)) for places in self._where(index)]
            for index in range(len(choices))
        ]
        self._table = list(self._numbers)
        self._reads = [options[0].reads for options in choices]
        self._live = self._live_after()
        self._ends = [next(i for i, options in enumerate(choices) if options[0].result == name) for name in exits]
        layers = [options[0].layers[0] for options in choices]
        self._orders = task_orders(layers, [options[0].result for options in choices], self._reads, weights)
        self._rest = RemainingCosts(layers, self._costs, self._orders, self._ends, weights, waits=waits)
        first = group.compute_cores[0].name
        memory_bits = group.weight_memories[first].size_bits
        self._ahead = group.route(group.offchip.name, first).duration(memory_bits)
        rates = [position.load_rate for position in self._costs]
        self._load_rates = [0.0 if math.inf == (least := min(rates[i:])) else least for i in range(len(rates))]
        self._known_transfer_costs: dict[tuple[int, tuple[int, ...]], Floats] = {}
        self._was_bounded = False

    @property
    def was_bounded(self) -> bool:
        """Whether a search for a plan dropped states for their number, so that a better plan may exist."""
        return self._was_bounded

    def _position_costs(self, options: Sequence[Task]) -> PositionCosts:
        """Figures of all candidates; networks that share layers share them."""
        first = options[0]
        branch = first.layers[0].role is Role.BRANCH
        key = (
            "position costs",
            branch,
            *((task.blocks_of_tiles, task.cores, task.layout, task.resident) for task in options),
        )
        return self._router.cached(key, lambda: PositionCosts.of([task_cost(task, self._group) for task in options]))

    def _model(self, *, relaxed: bool, waits: bool | None = None) -> PartialPlanModel:
        memory_bits = min(self._group.weight_memories[core.name].size_bits for core in self._group.compute_cores)
        return PartialPlanModel(self._prefetch, self._waits if waits is None else waits, relaxed, memory_bits)

    def _live_after(self) -> list[frozenset[str]]:
        """Tensors that are still read after each position."""
        live: list[frozenset[str]] = []
        needed: frozenset[str] = frozenset()
        for options in reversed(self._choices):
            live.append(needed)
            names = {layer.name for layer in options[0].layers}
            read = {source.tensor for layer_tile in options[0].tiles[0] for source in layer_tile.sources}
            needed = (needed | read) - names
        return live[::-1]

    def _where(self, index: int) -> list[TensorState]:
        """Where the result is after each candidate, and how it was computed: coarsely, so that few states differ."""
        options = self._choices[index]
        parts = [next(x for x in PARTS if x >= min(task.num_blocks, PARTS[-1])) for task in options]
        # Of tasks that leave the same state the longest, and too many parts: the transfer is only understated.
        longest: dict[tuple[Layout, int], int] = {}
        for task, count in zip(options, parts, strict=True):
            longest[task.layout, count] = max(task.duration, longest.get((task.layout, count), 0))
        return [
            TensorState(task.layout, count, longest[task.layout, count])
            if self._prefetch and task.layout.cores == task.cores
            else TensorState(task.layout)
            for task, count in zip(options, parts, strict=True)
        ]

    def greedy(self) -> Plan:
        """The candidate with the least product of time and energy, position by position; every stage waits."""
        model = self._model(relaxed=False, waits=True)
        places: dict[str, int] = {GRAPH_INPUT: 0}
        values = np.zeros((1, NUM_COLUMNS))
        chosen = []
        for index, options in enumerate(self._choices):
            transfer_costs = self._transfer_costs(index, places)
            number = min(
                range(len(options)),
                key=lambda i: (
                    (options[i].duration + transfer_costs[i, 0] + 1)
                    * (options[i].energy_pj + transfer_costs[i, -1] + 1)
                ),
            )
            values = self._entries(model, index, values).values
            values = self._step(model, index, values, transfer_costs[:, None, :])[number]
            places[options[number].result] = self._places[index][number]
            chosen.append(options[number])
        return Plan(tuple(chosen), float(values[0, PRODUCT]), (Speculation.WAIT,) * len(self._weights))

    def best(self, known: Plan) -> Plan:
        """Search for the best plan.

        Args:
            known: A plan that is known.

        Returns:
            The best plan that was found; its estimate is not above that of ``known``.
        """
        found = self._search(self._model(relaxed=False), known.product, PLAN_LABELS, join=False)
        if found is None:
            return known
        product, numbers, modes = found
        return Plan(tuple(x[i] for x, i in zip(self._choices, numbers, strict=True)), product, modes)

    def bound(self, known_product: float) -> float:
        """Work out a product that no schedule of the same candidates undercuts.

        Args:
            known_product: The weighted product of any schedule, in pJ x cycles.

        Returns:
            The bound in pJ x cycles.
        """
        found = self._search(self._model(relaxed=True), known_product, BOUND_LABELS, join=True)
        return known_product if found is None else found[0]

    def _search(
        self, model: PartialPlanModel, known: float, limit: int, *, join: bool
    ) -> tuple[float, list[int], tuple[Speculation, ...]] | None:
        none = np.zeros(1, dtype=np.int64)
        front = _Front([((GRAPH_INPUT, 0),)], none, np.zeros((1, NUM_COLUMNS)), none)
        history = [np.array([[-1, -1, 0]])]
        offset = 1
        for index in range(len(self._choices)):
            arrived = self._expand(model, index, front)
            front = self._selected(index, arrived, known, limit, offset, history, join=join)
            if not len(front.nodes):
                return None
            offset += len(front.nodes)
        row = int(front.values[:, PRODUCT].argmin())
        nodes, node = np.concatenate(history), int(front.nodes[row])
        numbers, modes = list[int](), list[int]()
        while node > 0:
            numbers.append(int(nodes[node, 1]))
            modes.append(int(nodes[node, 2]))
            node = int(nodes[node, 0])
        entries = [modes[::-1][index] for index in range(1, len(modes)) if self._enters_stage(index)]
        speculation = tuple(tuple(Speculation)[mode] for mode in (*entries, 0))
        return float(front.values[row, PRODUCT]), numbers[::-1], speculation

    def _expand(self, model: PartialPlanModel, index: int, front: _Front) -> _Arrivals:
        """All partial plans extended by all candidates."""
        live, options = self._live[index], self._choices[index]
        transfer_costs = np.stack([self._transfer_costs(index, dict(state)) for state in front.states], axis=1)
        entries = self._entries(model, index, front.values)
        owner, nodes = front.owner[entries.rows], front.nodes[entries.rows]
        after = self._step(model, index, entries.values, transfer_costs[:, owner])
        numbers: dict[State, int] = {}
        targets = np.empty((len(options), len(front.states)), dtype=np.int64)
        for column, state in enumerate(front.states):
            kept = tuple(item for item in state if item[0] in live)
            for number, task in enumerate(options):
                key = (*kept, (task.result, self._places[index][number])) if task.result in live else kept
                targets[number, column] = numbers.setdefault(key, len(numbers))
        tasks = np.empty((len(options), len(nodes), 3), dtype=np.int64)
        tasks[:, :, 0], tasks[:, :, 1], tasks[:, :, 2] = nodes, np.arange(len(options))[:, None], entries.modes
        target = targets[:, owner].ravel()
        return _Arrivals(list(numbers), target, after.reshape(-1, NUM_COLUMNS), tasks.reshape(-1, 3))

    def _selected(
        self, index: int, arrived: _Arrivals, known: float, limit: int, offset: int, history: list[Nodes], *, join: bool
    ) -> _Front:
        """The partial plans of each state that are worth keeping, at most ``limit``; ``history`` gets their tasks."""
        lower_bound = self._rest.least_products(index, arrived.values)
        promising = np.flatnonzero(lower_bound <= known)
        if not join:
            lower_bound = self._rest.likely_products(index, arrived.values, self._ahead)
        promising = promising[np.lexsort((lower_bound[promising], arrived.target[promising]))]
        if not join:
            promising = self._most_promising(index, promising, arrived.target, lower_bound)
        borders = np.searchsorted(arrived.target[promising], np.arange(len(arrived.states) + 1))
        compared_values = arrived.values[:, _BOUND_COLUMNS if join else _PLAN_COLUMNS]
        values, owner, tasks, states = list[Floats](), list[int](), list[Nodes](), list[State]()
        for number, (start, stop) in enumerate(pairwise(borders.tolist())):
            if start == stop:
                continue
            rows = promising[start:stop]
            rows = _not_beaten(rows if join else rows[: FEW * limit], compared_values)
            kept = arrived.values[rows[:limit]]
            if len(rows) > limit and join:
                kept[limit - 1] = arrived.values[rows[limit - 1 :]].min(axis=0)
            values.append(kept)
            tasks.append(arrived.tasks[rows[:limit]])
            owner += [len(states)] * len(kept)
            states.append(arrived.states[number])
        if not states:
            return _Front([], np.zeros(0, dtype=np.int64), np.zeros((0, NUM_COLUMNS)), np.zeros(0, dtype=np.int64))
        history += tasks
        return _Front(states, np.array(owner), np.concatenate(values), np.arange(offset, offset + len(owner)))

    def _most_promising(self, index: int, rows: Nodes, target: Nodes, lower_bound: Floats) -> Nodes:
        """The rows of as many states as the next position allows; ``rows`` are sorted by state, then by bound."""
        reads = len(self._reads[index + 1]) if index + 1 < len(self._reads) else 1
        most = max(LEAST_STATES, MOST_READS // max(1, reads))
        reached, first = np.unique(target[rows], return_index=True)
        if len(reached) <= most:
            return rows
        self._was_bounded = True
        kept = reached[np.argsort(lower_bound[rows[first]], kind="stable")[:most]]
        return rows[np.isin(target[rows], kept)]

    def _transfer_costs(self, index: int, places: dict[str, int]) -> Floats:
        """What each candidate of a position takes to bring its inputs and to deliver its result."""
        key = (index, tuple(places[name] for name in self._reads[index]))
        if key not in self._known_transfer_costs:
            states = {name: self._table[places[name]] for name in self._reads[index]}
            tensors = self._builder.tensors
            options = self._choices[index]
            signature = (
                *(x.blocks_of_tiles for x in options),
                *((states[name], tensors[name]) for name in self._reads[index]),
            )
            last = self._orders[index].last
            question = ("transfer costs", *(name == last for name in states), *(x.layout for x in options), *signature)
            self._known_transfer_costs[key] = self._router.cached(
                question,
                lambda: transfer_cost_rows([transfer_cost(x, states, tensors, self._router, last) for x in options]),
            )
        return self._known_transfer_costs[key]

    def _enters_stage(self, index: int) -> bool:
        return index > 0 and self._choices[index - 1][0].layers[0].stage != self._choices[index][0].layers[0].stage

    def _entries(self, model: PartialPlanModel, index: int, before: Floats) -> StageEntries:
        """The partial plans before a position, in every way in which its stage may begin."""
        if self._enters_stage(index):
            stage = self._choices[index - 1][0].layers[0].stage
            return model.enter_stage(before, self._weights[stage], self._load_rates[index])
        return StageEntries(before, np.arange(len(before)), np.zeros(len(before), dtype=np.int64))

    def _step(self, model: PartialPlanModel, index: int, before: Floats, transfer_costs: Floats) -> Floats:
        """Figures of the partial plans after each candidate of a position."""
        layer = self._choices[index][0].layers[0]
        previous = self._choices[index - 1][0].layers[0] if index else layer
        if layer.role is Role.BRANCH and previous.role is not Role.BRANCH:
            before = before.copy()
            for column in (BACKBONE, FIRST, KIND):
                before[:, column + BRANCH] = before[:, column + BACKBONE]
        values = model.advance(before, self._costs[index], transfer_costs, self._orders[index])
        stage = self._exit_of.get(self._choices[index][0].result)
        if stage is not None:
            end = values[..., (BRANCH, BACKBONE, CORES)].max(axis=-1)
            values[..., PRODUCT] += self._weights[stage] * values[..., ENERGY] * end
        return values


def _not_beaten(rows: Nodes, values: Floats) -> Nodes:
    """Of the rows, in order, those that no other equals or beats in every figure."""
    if len(rows) == 1:
        return rows
    if len(rows) > MOST_PAIRS:
        return rows[np.sort(distinct_front(values[rows]))]
    compared = values[rows]
    no_better = (compared[:, None, :] >= compared[None, :, :]).all(axis=2)
    # Of equal rows the first stays.
    beaten = no_better & ~(no_better.T & _NOT_AFTER[: len(rows), : len(rows)])
    return rows[~beaten.any(axis=1)]
