"""Which transfers bring every core what it needs; a transfer has one or several receivers."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

from offramp.cost.mapping.optimized.candidates.layer_blocks import Block
from offramp.cost.mapping.optimized.core_groups import CoreGroup
from offramp.cost.mapping.optimized.tensor_regions import Layout, TensorShape
from offramp.cost.schedule import Region

T = TypeVar("T")

MAX_CACHED = 20_000
"""Most values that are kept, so that a long search does not fill the memory; then all are dropped."""


@dataclass(frozen=True)
class RoutedTransfer:
    """A part of a tensor on its way from one core to others.

    Attributes:
        region: The part.
        sender: Name of the core that sends.
        receivers: Names of the cores that receive.
        media: The links that are busy.
        duration: Cycles that they are busy.
        bits: Number of bits.
        energies_pj: Energy per receiver; the first is charged for reading and for the links.
    """

    region: Region
    sender: str
    receivers: tuple[str, ...]
    media: tuple[str, ...]
    duration: int
    bits: int
    energies_pj: tuple[float, ...]

    @cached_property
    def energy_pj(self) -> float:
        """Energy of all receivers."""
        return sum(self.energies_pj)


@dataclass(frozen=True)
class Traffic:
    """Transfers that serve one purpose.

    Attributes:
        transfers: The transfers.
        least_cycles: Time of the busiest link; no schedule of the transfers is shorter.
        energy_pj: Energy of all transfers.
    """

    transfers: tuple[RoutedTransfer, ...]
    least_cycles: int
    energy_pj: float


class Router:
    """Plans transfers between the cores of a group; equal questions are answered from a cache."""

    def __init__(self, group: CoreGroup) -> None:
        """Start with an empty cache.

        Args:
            group: The cores.
        """
        self._group = group
        self._known_traffic: dict[tuple[TensorShape, Layout, tuple[Region, ...], tuple[str, ...]], Traffic] = {}
        self._cache: dict[Hashable, Any] = {}
        self._weight_loads: dict[tuple[Block, tuple[str, ...], bool], tuple[RoutedTransfer, ...]] = {}
        self._paths: dict[tuple[str, tuple[str, ...]], tuple[tuple[str, ...], int | None, float]] = {}

    def traffic(self, tensor: TensorShape, source: Layout, needs: Sequence[Region], cores: Sequence[str]) -> Traffic:
        """Plan how cores get the parts of a tensor that they need.

        Args:
            tensor: The tensor.
            source: Where it is.
            needs: The part that each core needs.
            cores: Names of the cores.

        Returns:
            The transfers.
        """
        key = (tensor, source, tuple(needs), tuple(cores))
        if key not in self._known_traffic:
            self._known_traffic[key] = self._plan_traffic(tensor, source, needs, cores)
        return self._known_traffic[key]

    def _plan_traffic(
        self, tensor: TensorShape, source: Layout, needs: Sequence[Region], cores: Sequence[str]
    ) -> Traffic:
        wanted: dict[tuple[str, Region], list[str]] = {}
        for sender, held in zip(source.cores, source.regions(tensor), strict=True):
            for receiver, need in zip(cores, needs, strict=True):
                common = held.overlap(need)
                if receiver != sender and not common.empty:
                    wanted.setdefault((sender, common), []).append(receiver)
        transfers = [
            self.route_transfer(sender, tuple(receivers), region, tensor.bits(region), weights=False)
            for (sender, region), receivers in wanted.items()
        ]
        return _traffic(transfers)

    def delivery(self, tensor: TensorShape, results: Sequence[Region], cores: Sequence[str], target: Layout) -> Traffic:
        """Plan how a result gets from where it was computed to where it is kept.

        Args:
            tensor: The tensor.
            results: The part that each core computed.
            cores: Names of the cores.
            target: Where it is to be kept.

        Returns:
            The transfers.
        """
        key = (tensor, target, tuple(results), ("from", *cores))
        if key not in self._known_traffic:
            self._known_traffic[key] = _traffic(
                [
                    self.route_transfer(sender, (receiver,), common, tensor.bits(common), weights=False)
                    for sender, part in zip(cores, results, strict=True)
                    for receiver, held in zip(target.cores, target.regions(tensor), strict=True)
                    if sender != receiver and not (common := part.overlap(held)).empty
                ]
            )
        return self._known_traffic[key]

    def cached(self, key: Hashable, make: Callable[[], T]) -> T:
        """Keep a value for the next network on these cores; everything is dropped when `MAX_CACHED` is reached.

        Args:
            key: What identifies the value.
            make: Makes the value.

        Returns:
            The value.
        """
        if key not in self._cache:
            if len(self._cache) >= MAX_CACHED:
                self._cache.clear()
                self._weight_loads.clear()
            self._cache[key] = make()
        return cast(T, self._cache[key])

    def weight_loads(self, block: Block, cores: tuple[str, ...], *, shared: bool) -> tuple[RoutedTransfer, ...]:
        """Plan how the weights of a block get to the cores that use them.

        Args:
            block: The block.
            cores: Names of the cores.
            shared: Whether all need the same weights; then one transfer reaches all of them.

        Returns:
            The transfers.
        """
        key = (block, cores, shared)
        if key not in self._weight_loads:
            users = [x for x in zip(cores, block.weight_bits, block.units, strict=True) if x[1]]
            together = tuple(core for core, _, _ in users)
            offchip = self._group.offchip.name
            self._weight_loads[key] = tuple(
                self.route_transfer(offchip, together if shared else (core,), unit, bits, weights=True)
                for core, bits, unit in (users[:1] if shared else users)
            )
        return self._weight_loads[key]

    def route_transfer(
        self, sender: str, receivers: tuple[str, ...], region: Region, bits: int, *, weights: bool
    ) -> RoutedTransfer:
        """Plan one transfer to several cores at the same time, at the speed of the slowest link on the way.

        Args:
            sender: Name of the core that sends.
            receivers: Names of the cores that receive.
            region: The part of the tensor.
            bits: Number of bits.
            weights: Whether it goes to the weight memories.

        Returns:
            The transfer.
        """
        media, width, link_pj = self._path(sender, receivers)
        memories = self._group.weight_memories if weights else self._group.activation_memories
        energies = [memories[receiver].write_energy_pj(bits) for receiver in receivers]
        energies[0] += self._group.activation_memories[sender].read_energy_pj(bits) + link_pj * bits
        duration = 0 if width is None else -(-bits // width)
        return RoutedTransfer(region, sender, receivers, media, duration, bits, tuple(energies))

    def _path(self, sender: str, receivers: tuple[str, ...]) -> tuple[tuple[str, ...], int | None, float]:
        """Media, width and energy per bit of all links on the way, each link once."""
        key = (sender, receivers)
        if key not in self._paths:
            links = dict.fromkeys(x for receiver in receivers for x in self._group.route(sender, receiver).links)
            media = dict.fromkeys(
                medium for receiver in receivers for medium in self._group.route(sender, receiver).media
            )
            widths = [link.bandwidth_bits for link in links if link.bandwidth_bits is not None]
            # A shared medium is one wire: all receivers listen to the same transfer.
            paid: dict[str, float] = {}
            for link in links:
                paid[link.shared or f"{link.sender}->{link.receiver}"] = link.energy_pj_per_bit
            self._paths[key] = (tuple(media), min(widths, default=None), sum(paid.values()))
        return self._paths[key]


def _traffic(transfers: Sequence[RoutedTransfer]) -> Traffic:
    load: dict[str, int] = {}
    for routed in transfers:
        for medium in routed.media:
            load[medium] = load.get(medium, 0) + routed.duration
    return Traffic(tuple(transfers), max(load.values(), default=0), sum(x.energy_pj for x in transfers))
