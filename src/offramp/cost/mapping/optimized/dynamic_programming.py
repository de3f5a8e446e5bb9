"""Dynamic programming over layers and where their tensors lie; and a bound that no plan of the same tasks beats.

States are the places of all tensors that are still needed. In each state those prefixes of the network are kept that no
other beats in all of time, link time, energy and product so far, and that may still end below the best plan known.
Source of the method: multi-criteria labels with dominance, Martins, EJOR 16 (1984).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from offramp.cost.mapping.optimized.core_groups import Chip
from offramp.cost.mapping.optimized.mapping_steps import MappingStep
from offramp.cost.mapping.optimized.partial_plans import (
    BACKBONE,
    BRANCH,
    ENERGY,
    LINK,
    NUM_COLUMNS,
    PRODUCT,
    Choice,
    Floats,
    LabelModel,
    Lies,
    journey,
    journey_figures,
    task_cost,
)
from offramp.cost.mapping.optimized.task_candidates import TaskBuilder
from offramp.cost.mapping.optimized.tasks import Task
from offramp.cost.mapping.optimized.transfers import Router
from offramp.workload.graph import GRAPH_INPUT, Role

PLAN_LABELS, BOUND_LABELS = 4, 24
"""Prefixes kept per state. Of more, a plan loses the least promising; a bound joins them, each figure at its best."""

PARTS = (1, 4, 16, 1 << 30)
"""Numbers of parts that states tell apart."""

State: TypeAlias = tuple[tuple[str, int], ...]
"""Tensors that are still needed, and the number of the place where each lies."""

Nodes: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """One task per position, and the weighted product in pJ x cycles that the label model sees."""

    tasks: tuple[Task, ...]
    product: float


@dataclass(eq=False)
class _Front:
    """All prefixes that were kept, state after state: ``owner`` is the number of a row's state."""

    states: Sequence[State]
    owner: Nodes
    values: Floats
    nodes: Nodes


@dataclass(eq=False)
class _Arrivals:
    """Prefixes after one more task; ``target`` is the number of the state where each arrives."""

    states: list[State]
    target: Nodes
    values: Floats
    made: Nodes


class Optimizer:
    """Chooses one task per position; ``exits`` name the tensors whose making ends a stage, ``weights`` their rates."""

    def __init__(
        self,
        builder: TaskBuilder,
        router: Router,
        chip: Chip,
        steps: frozenset[MappingStep],
        choices: Sequence[Sequence[Task]],
        weights: Sequence[float],
        waits: bool,
        exits: Sequence[str],
    ) -> None:
        self._builder, self._router, self._chip = builder, router, chip
        self._prefetch, self._waits = MappingStep.PREFETCH in steps, waits
        self._choices, self._weights = choices, weights
        self._exit_of = {name: stage for stage, name in enumerate(exits)}
        self._costs = [self._choice(options) for options in choices]
        self._numbers: dict[Lies, int] = {Lies(builder.offchip): 0}
        self._places = [
            [self._numbers.setdefault(lies, len(self._numbers)) for lies in self._where(index)]
            for index in range(len(choices))
        ]
        self._table = list(self._numbers)
        self._reads = [options[0].reads for options in choices]
        self._live = self._live_after()
        self._ends = [next(i for i, options in enumerate(choices) if options[0].result == name) for name in exits]
        self._rest = self._least_rest()
        self._known_trips: dict[tuple[int, tuple[int, ...]], Floats] = {}

    def _choice(self, options: Sequence[Task]) -> Choice:
        """Figures of all options; networks that share layers share them."""
        first = options[0]
        branch = first.layers[0].role is Role.BRANCH
        key = ("choice", branch, *((task.work, task.cores, task.layout, task.resident) for task in options))
        return self._router.noted(key, lambda: Choice.of([task_cost(task, self._chip) for task in options]))

    def _model(self, *, relaxed: bool) -> LabelModel:
        room = min(self._chip.weight_rooms[core.name].size_bits for core in self._chip.team)
        return LabelModel(self._prefetch, self._waits, relaxed, room)

    def _live_after(self) -> list[frozenset[str]]:
        """Tensors that are still read after each position."""
        live: list[frozenset[str]] = []
        needed: frozenset[str] = frozenset()
        for options in reversed(self._choices):
            live.append(needed)
            names = {layer.name for layer in options[0].layers}
            read = {source.tensor for stretch in options[0].tiles[0] for source in stretch.sources}
            needed = (needed | read) - names
        return live[::-1]

    def _where(self, index: int) -> list[Lies]:
        """Where the result lies after each option, and how it was made: roughly, so that few states differ."""
        options = self._choices[index]
        # The longest time of all, and too many parts: parts may leave early, so this only understates the journey.
        longest = max(option.duration for option in options)
        return [
            Lies(task.layout, next(x for x in PARTS if x >= min(task.num_blocks, PARTS[-1])), longest)
            if self._prefetch and task.layout.cores == task.cores
            else Lies(task.layout)
            for task in options
        ]

    def greedy(self) -> Plan:
        """The option with the least product of time and energy, layer by layer."""
        model = self._model(relaxed=False)
        lies: dict[str, int] = {GRAPH_INPUT: 0}
        values = np.zeros((1, NUM_COLUMNS))
        chosen = []
        for index, options in enumerate(self._choices):
            trips = self._trips(index, lies)
            number = min(
                range(len(options)),
                key=lambda i: (options[i].duration + trips[i, 0] + 1) * (options[i].energy_pj + trips[i, 3] + 1),
            )
            values = self._step(model, index, values, trips[:, None, :])[number]
            lies[options[number].result] = self._places[index][number]
            chosen.append(options[number])
        return Plan(tuple(chosen), float(values[0, PRODUCT]))

    def best(self, known: Plan) -> Plan:
        """The best plan that is found, at least as good as ``known`` in the label model."""
        found = self._search(self._model(relaxed=False), known.product, PLAN_LABELS, join=False)
        if found is None:
            return known
        product, numbers = found
        return Plan(tuple(x[i] for x, i in zip(self._choices, numbers, strict=True)), product)

    def bound(self, known_product: float) -> float:
        """No schedule of the same tasks has a smaller weighted product; ``known_product`` of any one schedule."""
        found = self._search(self._model(relaxed=True), known_product, BOUND_LABELS, join=True)
        return known_product if found is None else min(found[0], known_product)

    def _search(self, model: LabelModel, known: float, limit: int, *, join: bool) -> tuple[float, list[int]] | None:
        none = np.zeros(1, dtype=np.int64)
        front = _Front([((GRAPH_INPUT, 0),)], none, np.zeros((1, NUM_COLUMNS)), none)
        history = [np.array([[-1, -1]])]
        offset = 1
        for index in range(len(self._choices)):
            front = self._selected(index, self._expand(model, index, front), known, limit, offset, history, join=join)
            if not len(front.nodes):
                return None
            offset += len(front.nodes)
        row = int(front.values[:, PRODUCT].argmin())
        nodes, node, numbers = np.concatenate(history), int(front.nodes[row]), list[int]()
        while node > 0:
            numbers.append(int(nodes[node, 1]))
            node = int(nodes[node, 0])
        return float(front.values[row, PRODUCT]), numbers[::-1]

    def _expand(self, model: LabelModel, index: int, front: _Front) -> _Arrivals:
        """All options after all prefixes."""
        live, options = self._live[index], self._choices[index]
        trips = np.stack([self._trips(index, dict(state)) for state in front.states], axis=1)
        after = self._step(model, index, front.values, trips[:, front.owner])
        numbers: dict[State, int] = {}
        targets = np.empty((len(options), len(front.states)), dtype=np.int64)
        for place, state in enumerate(front.states):
            kept = tuple(item for item in state if item[0] in live)
            for number, task in enumerate(options):
                key = (*kept, (task.result, self._places[index][number])) if task.result in live else kept
                targets[number, place] = numbers.setdefault(key, len(numbers))
        made = np.empty((len(options), len(front.nodes), 2), dtype=np.int64)
        made[:, :, 0], made[:, :, 1] = front.nodes, np.arange(len(options))[:, None]
        target = targets[:, front.owner].ravel()
        return _Arrivals(list(numbers), target, after.reshape(-1, NUM_COLUMNS), made.reshape(-1, 2))

    def _selected(
        self, index: int, arrived: _Arrivals, known: float, limit: int, offset: int, history: list[Nodes], *, join: bool
    ) -> _Front:
        """The prefixes of each state that are worth keeping, at most ``limit``; ``history`` gets what they are."""
        promise = self._promise(index, arrived.values)
        hopeful = np.flatnonzero(promise <= known)
        hopeful = hopeful[np.lexsort((promise[hopeful], arrived.target[hopeful]))]
        borders = np.searchsorted(arrived.target[hopeful], np.arange(len(arrived.states) + 1))
        values, owner, made, states = list[Floats](), list[int](), list[Nodes](), list[State]()
        for number, (start, stop) in enumerate(pairwise(borders.tolist())):
            if start == stop:
                continue
            rows = hopeful[start:stop]
            rows = rows[_unbeaten(arrived.values[rows])] if len(rows) > 1 else rows
            kept = arrived.values[rows[:limit]]
            if len(rows) > limit and join:
                kept[limit - 1] = arrived.values[rows[limit - 1 :]].min(axis=0)
            values.append(kept)
            made.append(arrived.made[rows[:limit]])
            owner += [len(states)] * len(kept)
            states.append(arrived.states[number])
        if not states:
            return _Front([], np.zeros(0, dtype=np.int64), np.zeros((0, NUM_COLUMNS)), np.zeros(0, dtype=np.int64))
        history += made
        return _Front(states, np.array(owner), np.concatenate(values), np.arange(offset, offset + len(owner)))

    def _trips(self, index: int, lies: dict[str, int]) -> Floats:
        """What each option of a position takes to bring its inputs from where they lie, and its result home."""
        key = (index, tuple(lies[name] for name in self._reads[index]))
        if key not in self._known_trips:
            where = {name: self._table[lies[name]] for name in self._reads[index]}
            tensors = self._builder.tensors
            options = self._choices[index]
            asked = (*(x.work for x in options), *((where[name], tensors[name]) for name in self._reads[index]))
            note = ("trips", *(x.layout for x in options), *asked)
            self._known_trips[key] = self._router.noted(
                note, lambda: journey_figures([journey(x, where, tensors, self._router) for x in options])
            )
        return self._known_trips[key]

    def _step(self, model: LabelModel, index: int, before: Floats, trips: Floats) -> Floats:
        """Labels after each option of a position."""
        layer = self._choices[index][0].layers[0]
        previous = self._choices[index - 1][0].layers[0] if index else layer
        if previous.stage != layer.stage:
            before = before.copy()
            model.enter_stage(before)
        if layer.role is Role.BRANCH and previous.role is not Role.BRANCH:
            before = before.copy()
            before[:, BRANCH] = before[:, BACKBONE]
        values = model.advance(before, self._costs[index], trips)
        stage = self._exit_of.get(self._choices[index][0].result)
        if stage is not None:
            end = np.maximum(values[..., BRANCH], values[..., BACKBONE])
            values[..., PRODUCT] += self._weights[stage] * values[..., ENERGY] * end
        return values

    def _least_rest(self) -> Floats:
        """Per position and exit: least time, link time and energy of all that follows until that exit."""
        rest = np.zeros((len(self._choices), len(self._weights), 3))
        least = np.array(
            [
                [
                    min(getattr(c, name) for c in costs)
                    for name in ("last_duration", "link_cycles", "energy_pj", "duration")
                ]
                for costs in (choice.costs for choice in self._costs)
            ],
            dtype=float,
        )
        branch = np.array([options[0].layers[0].role is Role.BRANCH for options in self._choices])
        stages = np.array([options[0].layers[0].stage for options in self._choices])
        for stage, end in enumerate(self._ends):
            timed = least[:, 3] * (~branch | (stages == stage) | self._waits)
            for column, figures in enumerate((timed, least[:, 1], least[:, 2])):
                sums = np.concatenate([[0.0], np.cumsum(figures)])
                rest[:end, stage, column] = sums[end + 1] - sums[1 : end + 1]
        return rest

    def _promise(self, index: int, values: Floats) -> Floats:
        """The least product that each prefix may still end with."""
        promise = values[:, PRODUCT].copy()
        here = self._choices[index][0].layers[0]
        for stage, weight in enumerate(self._weights):
            if self._ends[stage] <= index:
                continue
            base = values[:, BACKBONE]
            if here.role is Role.BRANCH and (self._waits or stage == here.stage):
                base = np.maximum(base, values[:, BRANCH])
            time, link, energy = self._rest[index, stage]
            promise += weight * (values[:, ENERGY] + energy) * np.maximum(base + time, values[:, LINK] + link)
        return promise


def _unbeaten(values: Floats) -> Nodes:
    """Rows that no other row beats; of equal rows the first."""
    rows = values[:, : PRODUCT + 1]
    no_worse = (rows[:, None, :] >= rows[None, :, :]).all(axis=2)
    order = np.arange(len(rows))
    beaten = (no_worse & ((order[None, :] < order[:, None]) | ~no_worse.T)).any(axis=1)
    return np.flatnonzero(~beaten)
