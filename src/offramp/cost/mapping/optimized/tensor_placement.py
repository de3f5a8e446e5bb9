"""Where every tensor lies, and the room that this takes; tensors go off chip where there is no other way."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace

from offramp.cost.mapping.optimized.core_groups import Chip
from offramp.cost.mapping.optimized.memory_occupancy import FOREVER, RoomUse, Stay, WeightRing
from offramp.cost.mapping.optimized.shared_resources import Fabric
from offramp.cost.mapping.optimized.task_candidates import TaskBuilder
from offramp.cost.mapping.optimized.tensor_regions import Layout
from offramp.cost.mapping.optimized.transfers import Router
from offramp.cost.schedule import Holding, Region, TransferKind
from offramp.errors import UnsupportedLayerError


@dataclass(frozen=True)
class Part:
    """A region that is on a core from a cycle on."""

    core: str
    region: Region
    ready: float


@dataclass
class HeldTensor:
    """Where a tensor lies, complete since ``ready``; ``stays``: the room that it takes on each core of its layout."""

    layout: Layout
    ready: float
    uses: list[int]
    parts: list[Part] = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)
    last_use: float = 0.0


class Memories:
    """Rooms for activations, rings for weights, and the tensors in them."""

    def __init__(self, chip: Chip, builder: TaskBuilder, router: Router, fabric: Fabric) -> None:
        self._chip, self._builder, self._router, self._fabric = chip, builder, router, fabric
        self.rooms = {name: RoomUse(room.size_bits) for name, room in chip.rooms.items()}
        self.rings = {name: WeightRing(room.size_bits) for name, room in chip.weight_rooms.items()}
        self.weight_stays: list[tuple[str, Stay]] = []
        self.tensors: dict[str, HeldTensor] = {}
        self.warnings: list[str] = []

    def fork(self, fabric: Fabric) -> "Memories":
        """The same in a world of its own, where ``fabric`` carries what has to go off chip."""
        known: dict[int, Stay] = {}

        def twins(stay: Stay) -> Stay:
            if stay.end != FOREVER:
                return stay
            if id(stay) not in known:
                known[id(stay)] = copy(stay)
            return known[id(stay)]

        other = Memories(self._chip, self._builder, self._router, fabric)
        other.rooms = {name: room.fork(twins) for name, room in self.rooms.items()}
        other.rings = {name: ring.fork(twins) for name, ring in self.rings.items()}
        other.weight_stays = [(core, twins(stay)) for core, stay in self.weight_stays]
        other.tensors = {
            name: replace(held, parts=list(held.parts), stays=[twins(stay) for stay in held.stays])
            for name, held in self.tensors.items()
        }
        other.warnings = list(self.warnings)
        return other

    def forget_before(self, cycle: float) -> None:
        """Nothing that is planned from now on begins before ``cycle``."""
        for room in self.rooms.values():
            room.forget_before(cycle)

    def missing_bits(self, tensor: str, needs: Sequence[Region], cores: Sequence[str]) -> list[int]:
        """Per core, the bits of its need that do not lie there."""
        shape, layout = self._builder.tensors[tensor], self.tensors[tensor].layout
        here = dict(zip(layout.cores, layout.regions(shape), strict=True))
        sizes = []
        for core, need in zip(cores, needs, strict=True):
            common = here[core].overlap(need) if core in here else None
            sizes.append(shape.bits(need) - (shape.bits(common) if common is not None else 0))
        return sizes

    def make_room(self, index: int, cores: Sequence[str], bits: Sequence[int], ready: float) -> float:
        """First cycle from which all the room is there; tensors whose next use is farthest go off chip if need be."""
        start = ready
        for core, size in zip(cores, bits, strict=True):
            if not size:
                continue
            fits = self.rooms[core].fits_from(start, size)
            while fits == FOREVER:
                victim = self._victim(core, index)
                if victim is None:
                    raise UnsupportedLayerError(
                        f"A part of {size} bits must fit the memory of core {core!r} "
                        f"({self.rooms[core].size_bits} bits) beside what is in use. Use a larger memory."
                    )
                self.move_out(victim, self.tensors[victim], TransferKind.EVICTION)
                fits = self.rooms[core].fits_from(start, size)
            start = max(start, fits)
        return start

    def _victim(self, core: str, index: int) -> str | None:
        held = [name for name, tensor in self.tensors.items() if core in tensor.layout.cores and tensor.stays]
        usable = [name for name in held if any(stay.end == FOREVER for stay in self.tensors[name].stays)]

        def next_use(name: str) -> float:
            return min((use for use in self.tensors[name].uses if use >= index), default=FOREVER)

        return max(usable, key=next_use, default=None)

    def move_out(self, name: str, held: HeldTensor, kind: TransferKind) -> None:
        """A tensor to the off-chip memory; its room comes back."""
        shape, off = self._builder.tensors[name], self._builder.offchip
        done = held.ready
        for core, region, stay in zip(held.layout.cores, held.layout.regions(shape), held.stays, strict=True):
            bits = shape.bits(region)
            passage = self._router.passage(core, off.cores, region, bits, weights=False)
            end = self._fabric.send(passage, name, kind, name, held.ready)
            stay.end = max(end, held.last_use)
            done = max(done, end)
        if kind is TransferKind.EVICTION:
            self.warnings.append(f"{name!r} goes off chip for lack of room.")
        held.layout, held.ready, held.stays = off, done, []
        held.parts = [Part(self._chip.offchip.name, shape.whole, done)]

    def count_use(self, name: str, index: int, end: float) -> None:
        held = self.tensors[name]
        held.last_use = max(held.last_use, end)
        if not any(use > index for use in held.uses):
            for stay in held.stays:
                stay.end = held.last_use
            held.stays = held.stays if held.layout == self._builder.offchip else []

    def holdings(self) -> tuple[Holding, ...]:
        end = self._fabric.last_cycle
        found = []
        for core, use in self.rooms.items():
            memory = self._chip.rooms[core].memory
            found += [_holding(core, memory, stay, end) for stay in (*use.done, *use.stays)]
        found += [_holding(c, self._chip.weight_rooms[c].memory + " (weights)", s, end) for c, s in self.weight_stays]
        return tuple(found)


def _holding(core: str, memory: str, stay: Stay, last: float) -> Holding:
    end = last if stay.end == FOREVER else stay.end
    return Holding(core, memory, stay.tensor, stay.region, stay.bits, stay.start, end)
