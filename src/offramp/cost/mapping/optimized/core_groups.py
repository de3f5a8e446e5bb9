"""Groups of equal cores around one shared DRAM: the accelerator as the optimized mapping uses it."""

from dataclasses import dataclass, field, replace

from offramp.cost.mapping.placement import ELEMENT_WISE_OPS, OPERANDS
from offramp.cost.mapping.topology import Route, Topology
from offramp.errors import AcceleratorError
from offramp.hardware.accelerator import (
    Accelerator,
    ArrayDimension,
    Core,
    CoreKind,
    Link,
    MemoryLevel,
    OperandPorts,
    Port,
    PortKind,
)
from offramp.workload.layer import POOL_OPS, Op

SHARED_WEIGHT_PART = 4
"""Where weights and activations share one memory, weights get one part in so many."""

NO_OFFCHIP = "given"
"""Name of what stands for the off-chip memory where there is none: weights and input are given on the cores."""

_UNLIMITED_BITS = 2**62


@dataclass(frozen=True)
class MemoryBudget:
    """A core's memory for one purpose, activations or weights.

    Attributes:
        memory: Name of the memory.
        size_bits: How much of it may be used.
        read_bits: Bits per read access.
        read_pj: Energy per read access.
        write_bits: Bits per write access.
        write_pj: Energy per write access.
    """

    memory: str
    size_bits: int
    read_bits: int
    read_pj: float
    write_bits: int
    write_pj: float

    def read_energy_pj(self, bits: int) -> float:
        """Energy of reading.

        Args:
            bits: How many.

        Returns:
            pJ of whole accesses.
        """
        return -(-bits // self.read_bits) * self.read_pj

    def write_energy_pj(self, bits: int) -> float:
        """Energy of writing.

        Args:
            bits: How many.

        Returns:
            pJ of whole accesses.
        """
        return -(-bits // self.write_bits) * self.write_pj


@dataclass(frozen=True, eq=False)
class CoreGroup:
    """Equal compute cores and what they share.

    Attributes:
        name: Name of the accelerator.
        compute_cores: The compute cores, without private DRAM.
        pooling: The pooling core, if there is one.
        simd: The core for element-wise operators, if there is one.
        offchip: The off-chip memory.
        activation_memories: Memory for activations, by core.
        weight_memories: Memory for weights, by core.
        topology: Routes between the cores.
    """

    name: str
    compute_cores: tuple[Core, ...]
    pooling: Core | None
    simd: Core | None
    offchip: Core
    activation_memories: dict[str, MemoryBudget]
    weight_memories: dict[str, MemoryBudget]
    topology: Topology
    _routes: dict[tuple[str, str], Route] = field(default_factory=dict)

    def core_for(self, op: Op) -> Core | None:
        """Find the only core that runs an operator.

        Args:
            op: The operator.

        Returns:
            The core; None = all compute cores.
        """
        if op in POOL_OPS:
            return self.pooling or self.compute_cores[0]
        if op in ELEMENT_WISE_OPS:
            return self.simd or self.compute_cores[0]
        return None

    def route(self, sender: str, receiver: str) -> Route:
        """Find the way from one core to another.

        Args:
            sender: Name of the core that sends.
            receiver: Name of the core that receives.

        Returns:
            The links on the way.

        Raises:
            AcceleratorError: There is no way.
        """
        key = (sender, receiver)
        if key not in self._routes:
            self._routes[key] = self.topology.route(sender, receiver)
        return self._routes[key]


def core_groups(accelerator: Accelerator) -> list[CoreGroup]:
    """Group the cores of an accelerator.

    Args:
        accelerator: The accelerator.

    Returns:
        One group per kind of compute core.

    Raises:
        AcceleratorError: There is no compute core.
    """
    accelerator = with_offchip(accelerator)
    (offchip, *_) = accelerator.cores_of(CoreKind.OFFCHIP)
    kinds: dict[Core, list[Core]] = {}
    for core in accelerator.cores_of(CoreKind.COMPUTE):
        kinds.setdefault(replace(core, name="", source=""), []).append(core)
    if not kinds:
        raise AcceleratorError(f"Accelerator {accelerator.name!r} must have a compute core, got none. Add one.")
    pooling = next(iter(accelerator.cores_of(CoreKind.POOLING)), None)
    simd = next(iter(accelerator.cores_of(CoreKind.SIMD)), None)
    topology = Topology(accelerator)
    return [
        _group(accelerator.name, compute_cores, pooling, simd, offchip, topology) for compute_cores in kinds.values()
    ]


def with_offchip(accelerator: Accelerator) -> Accelerator:
    """Give an accelerator without an off-chip memory one that costs nothing.

    Weights and input are then taken to be on the cores, as in the mapping layer by layer.

    Args:
        accelerator: Any accelerator.

    Returns:
        The same where it has an off-chip memory; otherwise one with a memory of unlimited size and speed more.
    """
    if accelerator.cores_of(CoreKind.OFFCHIP) or not accelerator.cores:
        return accelerator
    ports = tuple(OperandPorts(operand, "p", "p", "p", "p") for operand in OPERANDS)
    port = Port("p", PortKind.READ_WRITE, _UNLIMITED_BITS, 1)
    memory = MemoryLevel(NO_OFFCHIP, _UNLIMITED_BITS, (port,), ports, 0.0, 0.0, ("D1",))
    taken = {core.name for core in accelerator.cores}
    name = next(name for name in (NO_OFFCHIP, *(f"{NO_OFFCHIP}{n}" for n in range(len(taken)))) if name not in taken)
    source = Core(name, CoreKind.OFFCHIP, (ArrayDimension("D1", 0),), 0.0, (memory,))
    links = [Link(*ends, None) for core in accelerator.cores for ends in ((core.name, name), (name, core.name))]
    return replace(accelerator, cores=(*accelerator.cores, source), links=(*accelerator.links, *links))


def _group(
    name: str, compute_cores: list[Core], pooling: Core | None, simd: Core | None, offchip: Core, topology: Topology
) -> CoreGroup:
    compute = tuple(without_private_dram(core, offchip) for core in _neighbours_in_line(compute_cores, topology))
    other_cores = [without_private_dram(core, offchip) for core in (pooling, simd) if core is not None]
    activation_memories = {core.name: _activation_budget(core) for core in (*compute, *other_cores)}
    weight_memories = {core.name: _weight_budget(core) for core in (*compute, *other_cores)}
    dram = _budget(offchip, offchip.top_memory.name, offchip.top_memory.size_bits)
    activation_memories[offchip.name] = weight_memories[offchip.name] = dram
    by_name = {core.name: core for core in other_cores}
    return CoreGroup(
        name=name,
        compute_cores=compute,
        pooling=by_name[pooling.name] if pooling else None,
        simd=by_name[simd.name] if simd else None,
        offchip=offchip,
        activation_memories=activation_memories,
        weight_memories=weight_memories,
        topology=topology,
    )


def _neighbours_in_line(compute_cores: list[Core], topology: Topology) -> list[Core]:
    """The cores in an order in which each is as few links as possible from the one before: rows go to neighbours."""
    ordered, rest = [compute_cores[0]], compute_cores[1:]
    while rest:
        nearest = min(rest, key=lambda core: len(topology.route(ordered[-1].name, core.name).links))
        rest.remove(nearest)
        ordered.append(nearest)
    return ordered


def without_private_dram(core: Core, offchip: Core) -> Core:
    """Remove an outermost memory that stands for a DRAM of the core's own.

    Args:
        core: The core.
        offchip: The shared DRAM.

    Returns:
        The core without an outermost memory that is at least as large as the DRAM, if others hold its operands too.
    """
    top = core.top_memory
    rest = core.memories[:-1]
    covered = all(any(operand in memory.operands for memory in rest) for operand in top.operands)
    if top.size_bits < offchip.top_memory.size_bits or not covered:
        return core
    return replace(core, memories=rest)


def _budget(core: Core, memory_name: str, size_bits: int) -> MemoryBudget:
    memory = next(item for item in core.memories if item.name == memory_name)
    return MemoryBudget(
        memory_name,
        size_bits,
        memory.read_bandwidth_bits,
        memory.read_energy_pj,
        memory.write_bandwidth_bits,
        memory.write_energy_pj,
    )


def _activation_budget(core: Core) -> MemoryBudget:
    """The smaller of the outermost memories of input and output, less what is set apart for weights."""
    memory = min((core.outermost_memory(x) for x in OPERANDS if x != "I2"), key=lambda item: item.size_bits)
    size = memory.size_bits
    if core.kind is CoreKind.COMPUTE and core.outermost_memory("I2") == memory:
        size -= size // SHARED_WEIGHT_PART
    return _budget(core, memory.name, size)


def _weight_budget(core: Core) -> MemoryBudget:
    memory = core.outermost_memory("I2")
    shared = any(core.outermost_memory(x) == memory for x in OPERANDS if x != "I2")
    return _budget(core, memory.name, memory.size_bits // SHARED_WEIGHT_PART if shared else memory.size_bits)
