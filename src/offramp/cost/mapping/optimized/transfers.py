"""What has to travel so that every core has what it needs: passages with one or several receivers."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

from offramp.cost.mapping.optimized.core_groups import Chip
from offramp.cost.mapping.optimized.layer_blocks import Block
from offramp.cost.mapping.optimized.tensor_regions import Layout, TensorShape
from offramp.cost.schedule import Region

T = TypeVar("T")

MAX_NOTES = 20_000
"""Bounds what a long search keeps: tasks that no later network has are among it."""


@dataclass(frozen=True)
class Passage:
    """A part of a tensor from one core to others; ``energies_pj`` per receiver, reading is paid with the first."""

    region: Region
    sender: str
    receivers: tuple[str, ...]
    media: tuple[str, ...]
    duration: int
    bits: int
    energies_pj: tuple[float, ...]

    @cached_property
    def energy_pj(self) -> float:
        return sum(self.energies_pj)


@dataclass(frozen=True)
class Traffic:
    """``least_cycles``: no schedule of the passages is shorter, for the busiest medium needs as long."""

    passages: tuple[Passage, ...]
    least_cycles: int
    energy_pj: float


class Router:
    """Plans traffic; equal questions are answered from memory."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        self._known: dict[tuple[TensorShape, Layout, tuple[Region, ...], tuple[str, ...]], Traffic] = {}
        self._notes: dict[Hashable, Any] = {}
        self._weight_loads: dict[tuple[Block, tuple[str, ...], bool], tuple[Passage, ...]] = {}
        self._ways: dict[tuple[str, tuple[str, ...]], tuple[tuple[str, ...], int | None, float]] = {}

    def traffic(self, tensor: TensorShape, source: Layout, needs: Sequence[Region], cores: Sequence[str]) -> Traffic:
        """How each of ``cores`` gets the region it needs of a tensor that lies in layout ``source``."""
        key = (tensor, source, tuple(needs), tuple(cores))
        if key not in self._known:
            self._known[key] = self._plan(tensor, source, needs, cores)
        return self._known[key]

    def _plan(self, tensor: TensorShape, source: Layout, needs: Sequence[Region], cores: Sequence[str]) -> Traffic:
        wanted: dict[tuple[str, Region], list[str]] = {}
        for sender, held in zip(source.cores, source.regions(tensor), strict=True):
            for receiver, need in zip(cores, needs, strict=True):
                common = held.overlap(need)
                if receiver != sender and not common.empty:
                    wanted.setdefault((sender, common), []).append(receiver)
        passages = [
            self.passage(sender, tuple(receivers), region, tensor.bits(region), weights=False)
            for (sender, region), receivers in wanted.items()
        ]
        return _traffic(passages)

    def delivery(self, tensor: TensorShape, results: Sequence[Region], cores: Sequence[str], target: Layout) -> Traffic:
        """How the ``results`` made on ``cores`` get to where the tensor is to lie."""
        key = (tensor, target, tuple(results), ("from", *cores))
        if key not in self._known:
            self._known[key] = _traffic(
                [
                    self.passage(sender, (receiver,), common, tensor.bits(common), weights=False)
                    for sender, part in zip(cores, results, strict=True)
                    for receiver, held in zip(target.cores, target.regions(tensor), strict=True)
                    if sender != receiver and not (common := part.overlap(held)).empty
                ]
            )
        return self._known[key]

    def noted(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives, found again with the next network on this chip; everything is forgotten now and then."""
        if key not in self._notes:
            if len(self._notes) >= MAX_NOTES:
                self._notes.clear()
                self._weight_loads.clear()
            self._notes[key] = make()
        return cast(T, self._notes[key])

    def weight_loads(self, block: Block, cores: tuple[str, ...], *, shared: bool) -> tuple[Passage, ...]:
        """How the weights of a block get to the cores that use it: to all at once where all need the same."""
        key = (block, cores, shared)
        if key not in self._weight_loads:
            users = [x for x in zip(cores, block.weight_bits, block.units, strict=True) if x[1]]
            together = tuple(core for core, _, _ in users)
            offchip = self._chip.offchip.name
            self._weight_loads[key] = tuple(
                self.passage(offchip, together if shared else (core,), unit, bits, weights=True)
                for core, bits, unit in (users[:1] if shared else users)
            )
        return self._weight_loads[key]

    def passage(self, sender: str, receivers: tuple[str, ...], region: Region, bits: int, *, weights: bool) -> Passage:
        """One passage to all ``receivers`` at once, at the speed of the slowest link on the way."""
        media, width, link_pj = self._way(sender, receivers)
        rooms = self._chip.weight_rooms if weights else self._chip.rooms
        energies = [rooms[receiver].write_energy_pj(bits) for receiver in receivers]
        energies[0] += self._chip.rooms[sender].read_energy_pj(bits) + link_pj * bits
        duration = 0 if width is None else -(-bits // width)
        return Passage(region, sender, receivers, media, duration, bits, tuple(energies))

    def _way(self, sender: str, receivers: tuple[str, ...]) -> tuple[tuple[str, ...], int | None, float]:
        """Media, width and energy per bit of all links on the way, each link once."""
        key = (sender, receivers)
        if key not in self._ways:
            links = dict.fromkeys(x for receiver in receivers for x in self._chip.route(sender, receiver).links)
            media = dict.fromkeys(
                medium for receiver in receivers for medium in self._chip.route(sender, receiver).media
            )
            widths = [link.bandwidth_bits for link in links if link.bandwidth_bits is not None]
            # A shared medium is one wire: all receivers listen to the same passage.
            paid: dict[str, float] = {}
            for link in links:
                paid[link.shared or f"{link.sender}->{link.receiver}"] = link.energy_pj_per_bit
            self._ways[key] = (tuple(media), min(widths, default=None), sum(paid.values()))
        return self._ways[key]


def _traffic(passages: Sequence[Passage]) -> Traffic:
    load: dict[str, int] = {}
    for passage in passages:
        for medium in passage.media:
            load[medium] = load.get(medium, 0) + passage.duration
    return Traffic(tuple(passages), max(load.values(), default=0), sum(x.energy_pj for x in passages))
