"""Where every tensor is, and the space that it takes; tensors go off chip where there is no other way."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from offramp.cost.mapping.optimized.candidates.task_builder import TaskBuilder
from offramp.cost.mapping.optimized.core_groups import CoreGroup
from offramp.cost.mapping.optimized.router import Router
from offramp.cost.mapping.optimized.simulation.memory_occupancy import FOREVER, MemoryOccupancy, Residency, WeightBuffer
from offramp.cost.mapping.optimized.simulation.shared_resources import SharedResources
from offramp.cost.mapping.optimized.tensor_regions import Layout
from offramp.cost.schedule import Holding, Region, TransferKind
from offramp.errors import UnsupportedLayerError


@dataclass(frozen=True)
class TensorPart:
    """A part of a tensor on a core.

    Attributes:
        core: Name of the core.
        region: The part.
        ready: Cycle from which it is there.
    """

    core: str
    region: Region
    ready: float


@dataclass
class PlacedTensor:
    """Where a tensor is.

    Attributes:
        layout: Cores that hold it.
        ready: Cycle from which all of it is there.
        uses: Positions of the tasks that read it.
        parts: What is where, and from when on.
        residencies: Space that it takes on each core of the layout.
        last_use: End of the last use that has been planned.
    """

    layout: Layout
    ready: float
    uses: list[int]
    parts: list[TensorPart] = field(default_factory=list)
    residencies: list[Residency] = field(default_factory=list)
    last_use: float = 0.0


class TensorPlacement:
    """Memories of all cores, and the tensors in them.

    Attributes:
        activation_memories: By core.
        weight_buffers: By core.
        weight_residencies: Space that weights have taken, with the core.
        tensors: Where every tensor is that has been computed.
        warnings: Sentences for the user.
    """

    def __init__(self, group: CoreGroup, builder: TaskBuilder, router: Router, resources: SharedResources) -> None:
        """Start with empty memories.

        Args:
            group: The cores.
            builder: What built the tasks; it knows the tensors of the network.
            router: Plans transfers between the cores.
            resources: Carries what has to go off chip.
        """
        self._group, self._builder, self._router, self._resources = group, builder, router, resources
        self.activation_memories = {
            name: MemoryOccupancy(memory.size_bits) for name, memory in group.activation_memories.items()
        }
        self.weight_buffers = {name: WeightBuffer(memory.size_bits) for name, memory in group.weight_memories.items()}
        self.weight_residencies: list[tuple[str, Residency]] = []
        self.tensors: dict[str, PlacedTensor] = {}
        self.warnings: list[str] = []

    def forget_before(self, cycle: float) -> None:
        """Set aside what no longer matters.

        Args:
            cycle: Nothing that is planned from now on begins earlier.
        """
        for memory in self.activation_memories.values():
            memory.forget_before(cycle)

    def missing_bits(self, tensor: str, needs: Sequence[Region], cores: Sequence[str]) -> list[int]:
        """Count what cores need of a tensor and do not hold.

        Args:
            tensor: Name of the tensor.
            needs: The part that each core needs.
            cores: Names of the cores.

        Returns:
            Bits per core.
        """
        shape, layout = self._builder.tensors[tensor], self.tensors[tensor].layout
        here = dict(zip(layout.cores, layout.regions(shape), strict=True))
        sizes = []
        for core, need in zip(cores, needs, strict=True):
            common = here[core].overlap(need) if core in here else None
            sizes.append(shape.bits(need) - (shape.bits(common) if common is not None else 0))
        return sizes

    def make_space(self, index: int, cores: Sequence[str], bits: Sequence[int], ready: float) -> float:
        """Find the first cycle from which there is space on all cores.

        Where there would never be any, tensors whose next use is farthest go off chip.

        Args:
            index: Position of the task that needs the space.
            cores: Names of the cores.
            bits: Bits that each of them needs.
            ready: The cycle must not be earlier.

        Returns:
            The cycle.

        Raises:
            UnsupportedLayerError: There is too little space, even with everything else off chip.
        """
        start = ready
        for core, size in zip(cores, bits, strict=True):
            if not size:
                continue
            fits = self.activation_memories[core].fits_from(start, size)
            while fits == FOREVER:
                victim = self._victim(core, index)
                if victim is None:
                    raise UnsupportedLayerError(
                        f"A part of {size} bits must fit the memory of core {core!r} "
                        f"({self.activation_memories[core].size_bits} bits) beside what is in use. Use a larger memory."
                    )
                self.move_off_chip(victim, self.tensors[victim], TransferKind.EVICTION)
                fits = self.activation_memories[core].fits_from(start, size)
            start = max(start, fits)
        return start

    def _victim(self, core: str, index: int) -> str | None:
        held = [name for name, tensor in self.tensors.items() if core in tensor.layout.cores and tensor.residencies]
        usable = [
            name for name in held if any(residency.end == FOREVER for residency in self.tensors[name].residencies)
        ]

        def next_use(name: str) -> float:
            return min((use for use in self.tensors[name].uses if use >= index), default=FOREVER)

        return max(usable, key=next_use, default=None)

    def move_off_chip(self, name: str, held: PlacedTensor, kind: TransferKind) -> None:
        """Send a tensor to the off-chip memory and free its space.

        Args:
            name: Name of the tensor.
            held: Where it is; changed in place.
            kind: Why it is sent.
        """
        shape, off = self._builder.tensors[name], self._builder.offchip
        done = held.ready
        for core, region, residency in zip(
            held.layout.cores, held.layout.regions(shape), held.residencies, strict=True
        ):
            bits = shape.bits(region)
            routed = self._router.route_transfer(core, off.cores, region, bits, weights=False)
            end = self._resources.send(routed, name, kind, name, held.ready)
            residency.end = max(end, held.last_use)
            done = max(done, end)
        if kind is TransferKind.EVICTION:
            self.warnings.append(f"{name!r} goes off chip for lack of room.")
        held.layout, held.ready, held.residencies = off, done, []
        held.parts = [TensorPart(self._group.offchip.name, shape.whole, done)]

    def clear(self, core: str) -> None:
        """Send everything off chip that lies on a core.

        Args:
            core: Name of the core.
        """
        for name, held in self.tensors.items():
            if core in held.layout.cores and any(residency.end == FOREVER for residency in held.residencies):
                self.move_off_chip(name, held, TransferKind.EVICTION)

    def empty_from(self, core: str) -> float:
        """Find the first cycle from which a core holds no activation.

        Args:
            core: Name of the core, which `clear` has been called for.

        Returns:
            The cycle.
        """
        return max((item.end for item in self.activation_memories[core].residencies), default=0.0)

    def occupy(self, core: str, residency: Residency) -> None:
        """Take all of a core's memories for activations and weights for some time.

        Args:
            core: Name of the core.
            residency: What takes them, and from when to when; its size is set.
        """
        residency.bits = self.activation_memories[core].size_bits
        self.activation_memories[core].take(residency)
        self.weight_buffers[core].wait_until(residency.end)

    def count_use(self, name: str, index: int, end: float) -> None:
        """Record a use of a tensor; after its last use its space is free.

        Args:
            name: Name of the tensor.
            index: Position of the task that used it.
            end: When the task was done.
        """
        held = self.tensors[name]
        held.last_use = max(held.last_use, end)
        if not any(use > index for use in held.uses):
            for residency in held.residencies:
                residency.end = held.last_use
            held.residencies = held.residencies if held.layout == self._builder.offchip else []

    def holdings(self) -> tuple[Holding, ...]:
        """What has taken space in which memory, and when."""
        end = self._resources.last_cycle
        found = []
        for core, use in self.activation_memories.items():
            memory = self._group.activation_memories[core].memory
            found += [_holding(core, memory, residency, end) for residency in (*use.done, *use.residencies)]
        found += [
            _holding(c, self._group.weight_memories[c].memory + " (weights)", s, end)
            for c, s in self.weight_residencies
        ]
        return tuple(found)


def _holding(core: str, memory: str, residency: Residency, last: float) -> Holding:
    end = last if residency.end == FOREVER else residency.end
    return Holding(core, memory, residency.tensor, residency.region, residency.bits, residency.start, end)
