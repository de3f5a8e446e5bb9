"""What a prefix of a network has cost so far, many prefixes at once: the model behind the dynamic programming.

Layers run one after the other on their cores, weights come one after the other over the DRAM link. A result travels
part by part while it is made. ``relaxed`` leaves out that weights need room before they are used, and that a layer
waits for its first block; then every schedule of the same tasks takes at least as long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from offramp.cost.mapping.optimized.core_groups import Chip
from offramp.cost.mapping.optimized.tasks import Task
from offramp.cost.mapping.optimized.tensor_regions import Layout, TensorShape
from offramp.cost.mapping.optimized.transfers import Router
from offramp.workload.graph import Role

Floats: TypeAlias = NDArray[np.float64]

BACKBONE, BRANCH, LINK, ENERGY, PRODUCT = range(5)
"""Columns that decide which prefix is better: end of backbone and branch, end of the last weights, pJ, pJ x cycles."""

FIRST_USED, FIRST_BITS, HISTORY = 5, 8, 3
"""Then, newest first, when the weights of the last layers were used up and how many bits they took."""

NUM_COLUMNS = FIRST_BITS + HISTORY


@dataclass(frozen=True)
class Lies:
    """Where a tensor lies, in how many parts it was made and in how many cycles."""

    layout: Layout
    parts: int = 1
    cycles: int = 0


@dataclass(frozen=True)
class Journey:
    """What bringing the inputs takes; ``exposed_cycles`` of it pass after the last part was made."""

    cycles: float
    exposed_cycles: float
    handing_cycles: float
    energy_pj: float


JOURNEY_FIGURES = 4


def journey_figures(trips: Sequence[Journey]) -> Floats:
    """Journeys as rows of figures: cycles, exposed and handing cycles, energy."""
    return np.array([[x.cycles, x.exposed_cycles, x.handing_cycles, x.energy_pj] for x in trips])


@dataclass(frozen=True)
class TaskCost:
    """Figures of one task that do not depend on what went before."""

    duration: int
    last_duration: int
    link_cycles: int
    first_link_cycles: int
    last_link_cycles: int
    first_bits: int
    tail_bits: int
    energy_pj: float
    channels_apart: bool
    branch: bool


def task_cost(task: Task, chip: Chip) -> TaskCost:
    """Energies of moving weights included."""
    blocks = [(stretch.blocks, block) for tile in task.tiles for stretch in tile for block in stretch.blocks.blocks]
    loaded = task.tiles[:1] if task.resident else task.tiles
    energy = task.energy_pj
    for tile in loaded:
        for stretch in tile:
            for block in stretch.blocks.blocks:
                users = [(c, b) for c, b in zip(task.cores, block.weight_bits, strict=True) if b]
                read = users[:1] if stretch.blocks.shared_weights else users
                energy += sum(chip.rooms[chip.offchip.name].read_energy_pj(bits) for _, bits in read)
                energy += sum(chip.weight_rooms[core].write_energy_pj(bits) for core, bits in users)

    def bits_of(index: int) -> int:
        shared, block = blocks[index][0].shared_weights, blocks[index][1]
        return max(block.weight_bits) if shared else sum(block.weight_bits)

    duration_of = chip.route(chip.offchip.name, task.cores[0]).duration
    per_core = [max(block.weight_bits) for _, block in blocks]
    return TaskCost(
        duration=task.duration,
        last_duration=task.last_duration,
        link_cycles=duration_of(task.weight_bits),
        first_link_cycles=duration_of(bits_of(0)),
        last_link_cycles=duration_of(bits_of(-1)),
        first_bits=per_core[0],
        tail_bits=sum(per_core[-2:]),
        energy_pj=energy,
        channels_apart=bool(task.tiles[-1][-1].sources[0].block_needs),
        branch=task.layers[0].role is Role.BRANCH,
    )


def journey(task: Task, lies: dict[str, Lies], tensors: dict[str, TensorShape], router: Router) -> Journey:
    """How long and how dear it is to bring ``task`` its inputs and its result home."""
    cycles = exposed = handing = energy = 0.0
    for tile in task.tiles:
        inside = {stretch.layer.name for stretch in tile}
        for stretch in tile:
            for source in stretch.sources:
                if source.tensor in inside:
                    continue
                where = lies[source.tensor]
                traffic = router.traffic(tensors[source.tensor], where.layout, source.needs, task.cores)
                ahead = where.cycles * (where.parts - 1) / where.parts
                exposed = max(exposed, traffic.least_cycles / where.parts, traffic.least_cycles - ahead)
                cycles += traffic.least_cycles
                energy += traffic.energy_pj
        if task.layout.cores != task.cores:
            handed = router.delivery(tensors[task.result], tile[-1].results, task.cores, task.layout)
            handing += handed.least_cycles
            energy += handed.energy_pj
    return Journey(cycles, exposed, handing, energy)


@dataclass(frozen=True, eq=False)
class Choice:
    """The options of one position: figures of ``costs`` as columns, one row per option."""

    costs: tuple[TaskCost, ...]
    branch: bool
    loads: bool
    duration: Floats
    last_duration: Floats
    after_trip: Floats
    link: Floats
    first_link: Floats
    last_link: Floats
    first_bits: Floats
    tail_bits: Floats
    energy: Floats

    @staticmethod
    def of(costs: Sequence[TaskCost]) -> "Choice":
        def column(name: str) -> Floats:
            return np.array([[float(getattr(cost, name))] for cost in costs])

        # Blocks that treat channels apart start as their channels come, others when all is there.
        waiting = [[float(x.last_duration if x.channels_apart else x.duration)] for x in costs]
        return Choice(
            costs=tuple(costs),
            branch=costs[0].branch,
            loads=any(cost.link_cycles for cost in costs),
            duration=column("duration"),
            last_duration=column("last_duration"),
            after_trip=np.array(waiting),
            link=column("link_cycles"),
            first_link=column("first_link_cycles"),
            last_link=column("last_link_cycles"),
            first_bits=column("first_bits"),
            tail_bits=column("tail_bits"),
            energy=column("energy_pj"),
        )


@dataclass(frozen=True)
class LabelModel:
    """Moves labels forward by one task."""

    prefetch: bool
    waits: bool
    relaxed: bool
    weight_room_bits: int

    def enter_stage(self, values: Floats) -> None:
        """In place: the next stage begins, after the verdict if it has to wait."""
        if self.waits:
            values[:, BACKBONE] = np.maximum(values[:, BACKBONE], values[:, BRANCH])
            values[:, LINK] = np.maximum(values[:, LINK], values[:, BRANCH])
        values[:, BRANCH] = 0.0

    def advance(self, before: Floats, choice: Choice, trips: Floats) -> Floats:
        """Labels after each option: indexed by option, label, column. ``trips``: see ``journey_figures``."""
        values = np.repeat(before[None, :, :], len(choice.costs), axis=0)
        column = BRANCH if choice.branch else BACKBONE
        base = before[:, column]
        cycles, exposed, handing, energy = (trips[:, :, figure] for figure in range(JOURNEY_FIGURES))
        if self.prefetch:
            done = self._prefetched(before, values, base, choice, exposed)
        else:
            done = base + (choice.duration + cycles + choice.link)
            values[:, :, LINK] += choice.link
        values[:, :, column] = done + handing
        values[:, :, ENERGY] += choice.energy + energy
        return values

    def _prefetched(self, before: Floats, values: Floats, base: Floats, choice: Choice, exposed: Floats) -> Floats:
        done: Floats = base + np.maximum(choice.duration, exposed + choice.after_trip)
        if not choice.loads:
            return done
        start = before[:, LINK] if self.relaxed else self._room_from(before, choice.first_bits)
        link = start + choice.link
        done = np.maximum(done, link + choice.last_duration)
        if not self.relaxed:
            done = np.maximum(done, start + (choice.first_link + choice.duration))
            # The last block comes when the one before the one before has been used.
            link = np.maximum(link, done - 2 * choice.last_duration + choice.last_link)
            link = np.minimum(link, done - choice.last_duration)
            self._remember(values, done, choice.tail_bits)
        values[:, :, LINK] = link
        return done

    def _room_from(self, values: Floats, bits: Floats) -> Floats:
        """When the link is free and there is room for the first block."""
        start: Floats = values[None, :, LINK]
        held = bits
        for age in range(HISTORY):
            held = held + values[:, FIRST_BITS + age]
            used = values[:, FIRST_USED + age]
            start = np.where(held > self.weight_room_bits, np.maximum(start, used), start)
        return start

    def _remember(self, values: Floats, done: Floats, bits: Floats) -> None:
        for first, newest in ((FIRST_USED, done), (FIRST_BITS, bits)):
            values[:, :, first + 1 : first + HISTORY] = values[:, :, first : first + HISTORY - 1].copy()
            values[:, :, first] = newest
