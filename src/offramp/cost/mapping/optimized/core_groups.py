"""The accelerator as the mapper sees it: teams of equal cores around one DRAM that all of them share."""

from dataclasses import dataclass, field, replace

from offramp.cost.mapping.placement import ELEMENT_WISE_OPS, OPERANDS
from offramp.cost.mapping.topology import Route, Topology, top_memory
from offramp.errors import AcceleratorError
from offramp.hardware.accelerator import Accelerator, Core, CoreKind
from offramp.workload.layer import POOL_OPS, Op

SHARED_WEIGHT_PART = 4
"""Where weights and activations share one memory, weights get one part in so many."""


@dataclass(frozen=True)
class Room:
    """A core's memory for one purpose. ``size_bits`` is what may be used of it."""

    memory: str
    size_bits: int
    read_bits: int
    read_pj: float
    write_bits: int
    write_pj: float

    def read_energy_pj(self, bits: int) -> float:
        return -(-bits // self.read_bits) * self.read_pj

    def write_energy_pj(self, bits: int) -> float:
        return -(-bits // self.write_bits) * self.write_pj


@dataclass(frozen=True, eq=False)
class Chip:
    """``team``: equal compute cores without private DRAM. ``rooms`` and ``weight_rooms`` by core name."""

    name: str
    team: tuple[Core, ...]
    pooling: Core | None
    simd: Core | None
    offchip: Core
    rooms: dict[str, Room]
    weight_rooms: dict[str, Room]
    topology: Topology
    _routes: dict[tuple[str, str], Route] = field(default_factory=dict)

    def core_for(self, op: Op) -> Core | None:
        """The core that alone is there for ``op``; None = the team."""
        if op in POOL_OPS:
            return self.pooling or self.team[0]
        if op in ELEMENT_WISE_OPS:
            return self.simd or self.team[0]
        return None

    def route(self, sender: str, receiver: str) -> Route:
        key = (sender, receiver)
        if key not in self._routes:
            self._routes[key] = self.topology.route(sender, receiver)
        return self._routes[key]


def chips(accelerator: Accelerator) -> list[Chip]:
    """One view per kind of compute core; AcceleratorError without compute cores or without an off-chip memory."""
    offchip = next(iter(accelerator.cores_of(CoreKind.OFFCHIP)), None)
    if offchip is None:
        raise AcceleratorError(
            f"Accelerator {accelerator.name!r} must have a core of kind 'offchip' (its DRAM) for the optimized "
            "mapping, got none. Add one, or use the mapping layer_by_layer."
        )
    teams: dict[Core, list[Core]] = {}
    for core in accelerator.cores_of(CoreKind.COMPUTE):
        teams.setdefault(replace(core, name="", source=""), []).append(core)
    if not teams:
        raise AcceleratorError(f"Accelerator {accelerator.name!r} must have a compute core, got none. Add one.")
    pooling = next(iter(accelerator.cores_of(CoreKind.POOLING)), None)
    simd = next(iter(accelerator.cores_of(CoreKind.SIMD)), None)
    topology = Topology(accelerator)
    return [_chip(accelerator.name, team, pooling, simd, offchip, topology) for team in teams.values()]


def _chip(
    name: str, team: list[Core], pooling: Core | None, simd: Core | None, offchip: Core, topology: Topology
) -> Chip:
    bare = tuple(without_private_dram(core, offchip) for core in _neighbours_in_line(team, topology))
    fixed = [without_private_dram(core, offchip) for core in (pooling, simd) if core is not None]
    rooms = {core.name: _activation_room(core) for core in (*bare, *fixed)}
    weight_rooms = {core.name: _weight_room(core) for core in (*bare, *fixed)}
    off = _room(offchip, offchip.top_memory.name, offchip.top_memory.size_bits)
    rooms[offchip.name] = weight_rooms[offchip.name] = off
    by_name = {core.name: core for core in fixed}
    return Chip(
        name=name,
        team=bare,
        pooling=by_name[pooling.name] if pooling else None,
        simd=by_name[simd.name] if simd else None,
        offchip=offchip,
        rooms=rooms,
        weight_rooms=weight_rooms,
        topology=topology,
    )


def _neighbours_in_line(team: list[Core], topology: Topology) -> list[Core]:
    """The cores in an order in which each is as few links as possible from the one before: rows go to neighbours."""
    line, rest = [team[0]], team[1:]
    while rest:
        nearest = min(rest, key=lambda core: len(topology.route(line[-1].name, core.name).links))
        rest.remove(nearest)
        line.append(nearest)
    return line


def without_private_dram(core: Core, offchip: Core) -> Core:
    """``core`` without an outermost memory that is as large as the shared DRAM, if others lie beneath it."""
    top = core.top_memory
    rest = core.memories[:-1]
    covered = all(any(operand in memory.operands for memory in rest) for operand in top.operands)
    if top.size_bits < offchip.top_memory.size_bits or not covered:
        return core
    return replace(core, memories=rest)


def _room(core: Core, memory_name: str, size_bits: int) -> Room:
    memory = next(item for item in core.memories if item.name == memory_name)
    return Room(
        memory_name,
        size_bits,
        memory.read_bandwidth_bits,
        memory.read_energy_pj,
        memory.write_bandwidth_bits,
        memory.write_energy_pj,
    )


def _activation_room(core: Core) -> Room:
    """The smaller of the outermost memories of input and output, less what is set apart for weights."""
    memory = min((top_memory(core, x) for x in OPERANDS if x != "I2"), key=lambda item: item.size_bits)
    size = memory.size_bits
    if core.kind is CoreKind.COMPUTE and top_memory(core, "I2") == memory:
        size -= size // SHARED_WEIGHT_PART
    return _room(core, memory.name, size)


def _weight_room(core: Core) -> Room:
    memory = top_memory(core, "I2")
    shared = any(top_memory(core, x) == memory for x in OPERANDS if x != "I2")
    return _room(core, memory.name, memory.size_bits // SHARED_WEIGHT_PART if shared else memory.size_bits)
