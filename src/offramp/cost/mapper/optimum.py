"""Dynamic programming over layers and where their tensors lie; and a bound that no plan of the same tasks beats.

States are the places of all tensors that are still needed. In each state those prefixes of the network are kept that no
other beats in all of time, link time, energy and product so far, and that may still end below the best plan known.
Source of the method: multi-criteria labels with dominance, Martins, EJOR 16 (1984).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from offramp.cost.mapper.build import TaskBuilder
from offramp.cost.mapper.chip import Chip
from offramp.cost.mapper.labels import (
    BACKBONE,
    BRANCH,
    ENERGY,
    LINK,
    NUM_COLUMNS,
    PRODUCT,
    Choice,
    Floats,
    Journey,
    LabelModel,
    Lies,
    journey,
    task_cost,
)
from offramp.cost.mapper.passages import Router
from offramp.cost.mapper.steps import Step
from offramp.cost.mapper.tasks import Task
from offramp.workload.graph import GRAPH_INPUT, Role

PLAN_LABELS, BOUND_LABELS = 6, 24
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
class _Labels:
    values: Floats
    nodes: Nodes


class Optimizer:
    """Chooses one task per position; ``exits`` name the tensors whose making ends a stage, ``weights`` their rates."""

    def __init__(
        self,
        builder: TaskBuilder,
        router: Router,
        chip: Chip,
        steps: frozenset[Step],
        choices: Sequence[Sequence[Task]],
        weights: Sequence[float],
        waits: bool,
        exits: Sequence[str],
    ) -> None:
        self._builder, self._router, self._chip = builder, router, chip
        self._prefetch, self._waits = Step.PREFETCH in steps, waits
        self._choices, self._weights = choices, weights
        self._exit_of = {name: stage for stage, name in enumerate(exits)}
        self._costs = [Choice.of([task_cost(task, chip) for task in options]) for options in choices]
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
        self._known_trips: dict[tuple[int, tuple[int, ...]], list[Journey]] = {}

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
                key=lambda i: (
                    (options[i].duration + trips[i].cycles + 1) * (options[i].energy_pj + trips[i].energy_pj + 1)
                ),
            )
            values = self._step(model, index, values, trips)[number]
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
        states: dict[State, _Labels] = {
            ((GRAPH_INPUT, 0),): _Labels(np.zeros((1, NUM_COLUMNS)), np.zeros(1, dtype=np.int64))
        }
        history = [np.array([[-1, -1]])]
        offset = 1
        for index in range(len(self._choices)):
            arrived = self._expand(model, index, states)
            states = {}
            for key, several in arrived.items():
                values = np.concatenate([x for x, _ in several])
                keep = self._worth_keeping(index, values, known)
                if not len(keep):
                    continue
                made = np.concatenate([x for _, x in several])[keep]
                values = values[keep]
                if len(keep) > limit:
                    if join:
                        values[limit - 1] = values[limit - 1 :].min(axis=0)
                    values, made = values[:limit], made[:limit]
                history.append(made)
                states[key] = _Labels(values, np.arange(offset, offset + len(values)))
                offset += len(values)
        if not states:
            return None
        labels = min(states.values(), key=lambda item: float(item.values[:, PRODUCT].min()))
        row = int(labels.values[:, PRODUCT].argmin())
        nodes, node, numbers = np.concatenate(history), int(labels.nodes[row]), list[int]()
        while node > 0:
            numbers.append(int(nodes[node, 1]))
            node = int(nodes[node, 0])
        return float(labels.values[row, PRODUCT]), numbers[::-1]

    def _expand(
        self, model: LabelModel, index: int, states: Mapping[State, _Labels]
    ) -> dict[State, list[tuple[Floats, Nodes]]]:
        """All options after all states."""
        arrived: dict[State, list[tuple[Floats, Nodes]]] = {}
        live = self._live[index]
        for state, labels in states.items():
            lies = dict(state)
            kept = tuple(item for item in state if item[0] in live)
            options = self._choices[index]
            trips = self._trips(index, lies)
            after = self._step(model, index, labels.values, trips)
            for number, task in enumerate(options):
                key = (*kept, (task.result, self._places[index][number])) if task.result in live else kept
                made = np.empty((len(labels.nodes), 2), dtype=np.int64)
                made[:, 0], made[:, 1] = labels.nodes, number
                arrived.setdefault(key, []).append((after[number], made))
        return arrived

    def _trips(self, index: int, lies: dict[str, int]) -> list[Journey]:
        """What each option of a position takes to bring its inputs from where they lie, and its result home."""
        key = (index, tuple(lies[name] for name in self._reads[index]))
        if key not in self._known_trips:
            where = {name: self._table[lies[name]] for name in self._reads[index]}
            tensors = self._builder.tensors
            self._known_trips[key] = [journey(x, where, tensors, self._router) for x in self._choices[index]]
        return self._known_trips[key]

    def _step(self, model: LabelModel, index: int, before: Floats, trips: Sequence[Journey]) -> Floats:
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

    def _worth_keeping(self, index: int, values: Floats, known: float) -> Nodes:
        """Rows, the most promising first, that no other row beats and that may still end below ``known``."""
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
        keep = np.flatnonzero(promise <= known)
        keep = keep[np.argsort(promise[keep], kind="stable")]
        if len(keep) < 2:
            return keep
        rows = values[keep, : PRODUCT + 1]
        no_worse = (rows[:, None, :] >= rows[None, :, :]).all(axis=2)
        # Of equal rows the first stays.
        order = np.arange(len(keep))
        beaten = (no_worse & ((order[None, :] < order[:, None]) | ~no_worse.T)).any(axis=1)
        return keep[~beaten]
