"""Memory levels and ports of a core, per operand, for the native engine."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from offramp.hardware.accelerator import Core, MemoryLevel, MemoryOperand


class Direction(IntEnum):
    """A movement of data at a memory: towards or from the level below (LOW) or above (HIGH)."""

    READ_TO_LOW = 0
    WRITE_FROM_LOW = 1
    READ_TO_HIGH = 2
    WRITE_FROM_HIGH = 3


LOW_DIRECTIONS = (Direction.READ_TO_LOW, Direction.WRITE_FROM_LOW)
HIGH_DIRECTIONS = (Direction.READ_TO_HIGH, Direction.WRITE_FROM_HIGH)


@dataclass(frozen=True)
class Served:
    """One duty of a port: a movement of an operand at one of its levels.

    Attributes:
        operand: What memories call the operand.
        level: The operand's memory level; 0 is next to the array.
        direction: The movement.
    """

    operand: MemoryOperand
    level: int
    direction: Direction


@dataclass(frozen=True)
class PortDuty:
    """A physical port and its duties.

    Attributes:
        bandwidth_bits: Most bits per cycle.
        min_bandwidth_bits: Fewest bits that an access takes.
        served: The duties, in the order in which ports are assigned.
        shared_by_inputs: Whether the port serves both inputs.
    """

    bandwidth_bits: int
    min_bandwidth_bits: int
    served: tuple[Served, ...]
    shared_by_inputs: bool


@dataclass(frozen=True)
class OperandLevel:
    """A memory seen by one operand. Tuples are indexed by `Direction`.

    Attributes:
        memory: Number of the memory in its core, from the array outwards.
        min_bandwidth_bits: Fewest bits that an access takes; 0 where no port serves the movement.
        bandwidth_bits: Most bits per cycle; 0 where no port serves the movement.
        shared_by_inputs: Whether the port serves both inputs.
    """

    memory: int
    min_bandwidth_bits: tuple[int, ...]
    bandwidth_bits: tuple[int, ...]
    shared_by_inputs: tuple[bool, ...]


@dataclass(frozen=True)
class MemoryUse:
    """A memory and the operands that it holds.

    Attributes:
        level: The memory.
        operand_levels: Each operand with the number of its level that this memory is.
        innermost: Whether no operand of this memory has a memory below it.
    """

    level: MemoryLevel
    operand_levels: tuple[tuple[MemoryOperand, int], ...]
    innermost: bool


@dataclass(frozen=True)
class CoreView:
    """Everything about a core that does not depend on the layer.

    Attributes:
        core: The core.
        memories: Its memories, from the array outwards.
        ports: The ports of all memories that have duties.
        levels: The memory levels of each operand, from the array outwards.
    """

    core: Core
    memories: tuple[MemoryUse, ...]
    ports: tuple[PortDuty, ...]
    levels: dict[MemoryOperand, tuple[OperandLevel, ...]]

    def memory_of(self, operand: MemoryOperand, level: int) -> MemoryLevel:
        """Return the memory of an operand's level.

        Args:
            operand: What memories call the operand.
            level: The operand's memory level; 0 is next to the array.

        Returns:
            The memory.
        """
        return self.memories[self.levels[operand][level].memory].level


def view_core(core: Core) -> CoreView:
    """Index the memories and ports of a core.

    Args:
        core: The core; its memories are given from the array outwards.

    Returns:
        The view.
    """
    depth: dict[MemoryOperand, int] = {}
    uses: list[MemoryUse] = []
    for memory in core.memories:
        held = tuple((operand, depth.get(operand, 0)) for operand in memory.operands)
        uses.append(MemoryUse(memory, held, all(level == 0 for _, level in held)))
        for operand, level in held:
            depth[operand] = level + 1
    ports: list[PortDuty] = []
    levels: dict[MemoryOperand, list[OperandLevel]] = {operand: [] for operand in depth}
    for index, use in enumerate(uses):
        duties = _ports_of(use)
        ports.extend(duties)
        for operand, _ in use.operand_levels:
            levels[operand].append(_operand_level(index, duties, operand))
    return CoreView(core, tuple(uses), tuple(ports), {operand: tuple(found) for operand, found in levels.items()})


def _ports_of(use: MemoryUse) -> tuple[PortDuty, ...]:
    level_of = dict(use.operand_levels)
    duties = []
    for port in use.level.ports:
        served = []
        for item in use.level.operand_ports:
            named = (
                (Direction.WRITE_FROM_HIGH, item.from_high),
                (Direction.READ_TO_LOW, item.to_low),
                (Direction.WRITE_FROM_LOW, item.from_low),
                (Direction.READ_TO_HIGH, item.to_high),
            )
            served += [Served(item.operand, level_of[item.operand], way) for way, name in named if name == port.name]
        inputs = {item.operand for item in served} & {"I1", "I2"}
        if served:
            duties.append(PortDuty(port.bandwidth_bits, port.min_bandwidth_bits, tuple(served), len(inputs) > 1))
    return tuple(duties)


def _operand_level(memory: int, duties: tuple[PortDuty, ...], operand: MemoryOperand) -> OperandLevel:
    smallest, widest, shared = [0] * 4, [0] * 4, [False] * 4
    for duty in duties:
        for item in duty.served:
            if item.operand == operand:
                smallest[item.direction] = duty.min_bandwidth_bits
                widest[item.direction] = duty.bandwidth_bits
                shared[item.direction] = duty.shared_by_inputs
    return OperandLevel(memory, tuple(smallest), tuple(widest), tuple(shared))


def partly_used(core: Core) -> Iterator[Core]:
    """Leave a part of the memories unused: all but the outermost of each operand are cut to the same size.

    Args:
        core: The core.

    Yields:
        The core with memories of at most a power of two of bits, the largest first, as long as a memory changes.
    """
    outermost = {core.outermost_memory(operand).name for memory in core.memories for operand in memory.operands}
    inner = [memory for memory in core.memories if memory.name not in outermost]
    size = max((memory.size_bits for memory in inner), default=0)
    limit = 1 << max(0, size - 1).bit_length() >> 1
    while limit:
        cut = tuple(
            memory if memory.name in outermost else replace(memory, size_bits=min(memory.size_bits, limit))
            for memory in core.memories
        )
        yield replace(core, memories=cut)
        limit >>= 1


_WORDS = {
    Direction.READ_TO_LOW: "the read towards below",
    Direction.WRITE_FROM_LOW: "the write from below",
    Direction.READ_TO_HIGH: "the read towards above",
    Direction.WRITE_FROM_HIGH: "the write from above",
}


def unserved_movement(view: CoreView) -> str:
    """Return a movement that layers need and no port serves.

    Args:
        view: The core.

    Returns:
        The first such movement, as a clause; empty where there is none.
    """
    for operand, levels in view.levels.items():
        for level, item in enumerate(levels):
            needed = [Direction.READ_TO_LOW]
            needed += [Direction.WRITE_FROM_LOW] if operand == "O" else []
            if level < len(levels) - 1:
                needed += [Direction.WRITE_FROM_HIGH] + ([Direction.READ_TO_HIGH] if operand == "O" else [])
            for way in needed:
                if not item.bandwidth_bits[way]:
                    return (
                        f"{_WORDS[way]} of {operand} in its memory '{view.memory_of(operand, level).name}' has no port"
                    )
    return ""
