"""Dynamic programming over layers, where their tensors lie, and what a prefix of the network has cost so far.

The relaxed model: layers one after the other on the cores, weights one after the other over the DRAM link, a layer not
done before its inputs travelled and its last weights came. Room in weight memories, conflicts on more than the busiest
link and waiting for the first block of a layer are left out, so no schedule of the same tasks is cheaper. Every prefix
is kept that no other with the same layouts beats in all of time, link time, energy and product so far; prefixes that
cannot end below the best known network go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from offramp.cost.mapper.build import TaskBuilder
from offramp.cost.mapper.chip import Chip
from offramp.cost.mapper.passages import Router
from offramp.cost.mapper.regions import Layout
from offramp.cost.mapper.steps import Step
from offramp.cost.mapper.tasks import Task
from offramp.workload.graph import GRAPH_INPUT, Role

Floats = NDArray[np.float64]

BACKBONE, BRANCH, LINK, ENERGY, PRODUCT = range(5)
"""Columns of a label: end of backbone and branch, end of the last weights, energy in pJ, weighted product so far."""

MAX_LABELS = 64
"""Prefixes kept per state; where more would be, the least promising go and the result is no longer exact."""

TOLERANCE = 1e-3
"""A prefix must promise to beat the best known network by this share."""


@dataclass(frozen=True)
class Optimum:
    """``bound``: no plan of these tasks has a smaller weighted product (J x cycles) in the relaxed model."""

    tasks: tuple[Task, ...]
    relaxed_product: float
    bound: float
    exact: bool


@dataclass(frozen=True)
class _Journey:
    """What it takes to bring a task its inputs and to put its result where it is to lie."""

    cycles: int
    energy_pj: float


@dataclass(eq=False)
class _Labels:
    """Prefixes in one state: values, and for each the node it came to be by."""

    values: Floats
    nodes: NDArray[np.int64]


class Optimizer:
    """Chooses one task per position."""

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
        self._prefetch = Step.PREFETCH in steps
        self._choices = choices
        self._weights = weights
        self._waits = waits
        self._exit_of = {name: stage for stage, name in enumerate(exits)}
        self._live = self._live_after()
        self._nodes: list[NDArray[np.int64]] = []
        self._exact = True

    def _live_after(self) -> list[frozenset[str]]:
        """Tensors that are still read after each position."""
        live: list[frozenset[str]] = []
        needed: frozenset[str] = frozenset()
        for options in reversed(self._choices):
            live.append(needed)
            names = {layer.name for layer in options[0].layers}
            needed = (needed | _read_by(options[0])) - names
        return live[::-1]

    def greedy(self) -> Optimum:
        """The option with the least product of time and energy, layer by layer."""
        layouts: dict[str, Layout] = {GRAPH_INPUT: self._builder.offchip}
        values = np.zeros((1, 5))
        chosen = []
        for index, options in enumerate(self._choices):
            journeys = [self._journey(task, layouts) for task in options]
            task, journey = min(
                zip(options, journeys, strict=True),
                key=lambda pair: (pair[0].duration + pair[1].cycles + 1) * (pair[0].energy_pj + pair[1].energy_pj + 1),
            )
            values = self._advance(index, values, task, journey)
            layouts[task.result] = task.layout
            chosen.append(task)
        product = float(values[0, PRODUCT]) * 1e-12
        return Optimum(tuple(chosen), product, 0.0, exact=False)

    def best(self) -> Optimum:
        """Raises nothing; ``exact`` is False where labels had to be dropped."""
        start = self.greedy()
        incumbent = start.relaxed_product * 1e12
        rest = self._least_rest()
        states: dict[tuple[tuple[str, Layout], ...], _Labels] = {
            ((GRAPH_INPUT, self._builder.offchip),): _Labels(np.zeros((1, 5)), np.zeros(1, dtype=np.int64))
        }
        self._nodes = [np.array([[-1, -1]])]
        offset = 1
        for index, options in enumerate(self._choices):
            arrived: dict[tuple[tuple[str, Layout], ...], list[tuple[Floats, NDArray[np.int64]]]] = {}
            for state, labels in states.items():
                layouts = dict(state)
                kept = tuple(item for item in state if item[0] in self._live[index])
                for number, task in enumerate(options):
                    values = self._advance(index, labels.values, task, self._journey(task, layouts))
                    key = (*kept, (task.result, task.layout)) if task.result in self._live[index] else kept
                    made = np.column_stack([labels.nodes, np.full(len(labels.nodes), number)])
                    arrived.setdefault(key, []).append((values, made))
            states = {}
            for key, several in arrived.items():
                values = np.concatenate([x for x, _ in several])
                made = np.concatenate([x for _, x in several])
                keep = self._worth_keeping(index, values, incumbent, rest)
                if len(keep):
                    self._nodes.append(made[keep])
                    states[key] = _Labels(values[keep], np.arange(offset, offset + len(keep)))
                    offset += len(keep)
            if not states:
                return Optimum(start.tasks, start.relaxed_product, start.relaxed_product * (1 - TOLERANCE), self._exact)
        return self._trace(states, start)

    def _trace(self, states: "dict[tuple[tuple[str, Layout], ...], _Labels]", start: Optimum) -> Optimum:
        nodes = np.concatenate(self._nodes)
        product, node = min(
            (float(labels.values[i, PRODUCT]), int(labels.nodes[i]))
            for labels in states.values()
            for i in range(len(labels.nodes))
        )
        numbers: list[int] = []
        while node > 0:
            numbers.append(int(nodes[node, 1]))
            node = int(nodes[node, 0])
        tasks = tuple(options[i] for options, i in zip(self._choices, reversed(numbers), strict=True))
        found = product * 1e-12
        return Optimum(tasks, found, min(found, start.relaxed_product * (1 - TOLERANCE)), self._exact)

    def _journey(self, task: Task, layouts: dict[str, Layout]) -> _Journey:
        cycles, energy = 0, 0.0
        for tile in task.tiles:
            inside = {stretch.layer.name for stretch in tile}
            for stretch in tile:
                for source in stretch.sources:
                    if source.tensor in inside:
                        continue
                    traffic = self._router.traffic(
                        self._builder.tensors[source.tensor], layouts[source.tensor], source.needs, task.cores
                    )
                    cycles += traffic.least_cycles
                    energy += traffic.energy_pj
            if task.layout.cores != task.cores:
                shape = self._builder.tensors[task.result]
                handed = self._router.delivery(shape, tile[-1].results, task.cores, task.layout)
                cycles += handed.least_cycles
                energy += handed.energy_pj
        return _Journey(cycles, energy)

    def _link_cycles(self, task: Task) -> int:
        return self._chip.route(self._chip.offchip.name, task.cores[0]).duration(task.weight_bits)

    def _advance(self, index: int, before: Floats, task: Task, journey: _Journey) -> Floats:
        """Labels after one more task."""
        values = before.copy()
        layer = task.layers[0]
        column = BRANCH if layer.role is Role.BRANCH else BACKBONE
        previous = self._choices[index - 1][0].layers[0] if index else layer
        if previous.stage != layer.stage:
            if self._waits:
                values[:, BACKBONE] = np.maximum(values[:, BACKBONE], values[:, BRANCH])
                values[:, LINK] = np.maximum(values[:, LINK], values[:, BRANCH])
            values[:, BRANCH] = 0.0
        if column == BRANCH and previous.role is not Role.BRANCH:
            values[:, BRANCH] = values[:, BACKBONE]
        link = self._link_cycles(task)
        values[:, LINK] += link
        own = task.duration + journey.cycles
        if self._prefetch:
            last = task.tiles[-1][-1].blocks.blocks[-1].duration if link else 0
            done = np.maximum(values[:, column] + own, values[:, LINK] + last)
        else:
            done = values[:, column] + own + link
        values[:, column] = done
        values[:, ENERGY] += task.energy_pj + journey.energy_pj + self._weight_pj(task)
        stage = self._exit_of.get(task.result)
        if stage is not None:
            values[:, PRODUCT] += self._weights[stage] * values[:, ENERGY] * np.maximum(
                values[:, BRANCH], values[:, BACKBONE]
            )
        return values

    def _weight_pj(self, task: Task) -> float:
        known = self.__weight_pj.get(task)
        if known is None:
            chip = self._chip
            loaded = task.tiles[:1] if task.resident else task.tiles
            known = 0.0
            for tile in loaded:
                for stretch in tile:
                    for block in stretch.blocks.blocks:
                        users = [(c, b) for c, b in zip(task.cores, block.weight_bits, strict=True) if b]
                        read = users[:1] if stretch.blocks.shared_weights else users
                        known += sum(chip.rooms[chip.offchip.name].read_energy_pj(bits) for _, bits in read)
                        known += sum(chip.weight_rooms[core].write_energy_pj(bits) for core, bits in users)
            self.__weight_pj[task] = known
        return known

    @cached_property
    def __weight_pj(self) -> dict[Task, float]:
        return {}

    def _least_rest(self) -> Floats:
        """Per position: least time, link time and energy of what follows on the way to each exit, from the backbone."""
        exits = len(self._weights)
        rest = np.zeros((len(self._choices), exits, 3))
        ends = {self._exit_of[options[0].result]: i for i, options in enumerate(self._choices) if options[0].result in self._exit_of}
        least = np.array(
            [
                [min(t.duration for t in x), min(self._link_cycles(t) for t in x), min(t.energy_pj + self._weight_pj(t) for t in x)]
                for x in self._choices
            ]
        )
        branch = np.array([x[0].layers[0].role is Role.BRANCH for x in self._choices])
        stages = np.array([x[0].layers[0].stage for x in self._choices])
        for stage, end in ends.items():
            for index in range(end):
                after = slice(index + 1, end + 1)
                rest[index, stage, 1:] = least[after, 1:].sum(axis=0)
                counted = ~branch[after] | (stages[after] == stage) | self._waits
                rest[index, stage, 0] = least[after, 0][counted].sum()
        return rest

    def _worth_keeping(self, index: int, values: Floats, incumbent: float, rest: Floats) -> NDArray[np.int64]:
        """Rows that no other row beats and that may still end below the incumbent."""
        promise = values[:, PRODUCT].copy()
        here = self._choices[index][0].layers[0]
        in_branch = here.role is Role.BRANCH
        for stage, weight in enumerate(self._weights):
            end = max((i for i, x in enumerate(self._choices) if self._exit_of.get(x[0].result) == stage), default=-1)
            if end <= index:
                continue
            base = values[:, BACKBONE]
            if in_branch and (self._waits or stage == here.stage):
                base = np.maximum(base, values[:, BRANCH])
            time = np.maximum(base + rest[index, stage, 0], values[:, LINK] + rest[index, stage, 1])
            promise += weight * (values[:, ENERGY] + rest[index, stage, 2]) * time
        keep = np.flatnonzero(promise <= incumbent * (1 - TOLERANCE))
        if not len(keep):
            return keep
        keep = keep[np.argsort(promise[keep], kind="stable")]
        rows = values[keep]
        beaten = np.zeros(len(keep), dtype=bool)
        no_worse = (rows[:, None, :] >= rows[None, :, :]).all(axis=2)
        # Of equal rows the first stays.
        earlier = np.arange(len(keep))[None, :] < np.arange(len(keep))[:, None]
        beaten = (no_worse & (earlier | ~no_worse.T)).any(axis=1)
        keep = keep[~beaten]
        if len(keep) > MAX_LABELS:
            self._exact = False
            keep = keep[:MAX_LABELS]
        return keep


def _read_by(task: Task) -> frozenset[str]:
    names = {layer.name for layer in task.layers}
    return frozenset(source.tensor for stretch in task.tiles[0] for source in stretch.sources) - names
