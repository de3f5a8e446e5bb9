"""One memory of a core, in the two ways in which ZigZag writes its ports."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, PlainValidator, ValidationInfo

from offramp.hardware.accelerator import MemoryLevel, MemoryOperand, OperandPorts, Port, PortKind
from offramp.hardware.block import Block, Fault, context_of, near_name, raise_faults, read_as
from offramp.hardware.field_types import (
    DISTINCT,
    Count,
    Figure,
    Flag,
    Items,
    Name,
    Names,
    Text,
    WholeNumber,
    matches,
    must,
    whole,
)

MOVES = {
    "fh": "the write from above (fh)",
    "tl": "the read towards below (tl)",
    "fl": "the write from below (fl)",
    "th": "the read towards above (th)",
}
WRITES = ("fh", "fl")
_NO_CACTI = "would need CACTI; set it to false and state `r_cost` and `w_cost`"


@dataclass
class PortLayout:
    """The ports of one memory.

    Attributes:
        ports: All ports by name.
        moves: For each operand, the name of the port of each of its moves (``fh``, ``tl``, ``fl``, ``th``).
    """

    ports: dict[str, Port] = field(default_factory=dict)
    moves: dict[str, dict[str, str]] = field(default_factory=dict)

    def faults(self, operands: Sequence[str]) -> Iterator[Fault]:
        """What cannot work.

        Args:
            operands: The operands that the memory holds.

        Yields:
            One fault for each move without a port, and for each port that cannot do what it is asked to.
        """
        if not self.ports:
            yield Fault("the memory has no port")
        for operand, moves in self.moves.items():
            if operand not in operands:
                yield Fault(f"a port serves operand {operand}, which is not in `operands`")
            for move, name in moves.items():
                wrong = PortKind.READ if move in WRITES else PortKind.WRITE
                if name not in self.ports:
                    near = near_name(name, self.ports)
                    yield Fault(f"{MOVES[move]} of {operand} uses unknown port {name!r}{near}")
                elif self.ports[name].kind is wrong:
                    yield Fault(f"{MOVES[move]} of {operand} uses {wrong.value} port {name!r}")
        for operand in operands:
            for move in ("tl", "fl") if operand == "O" else ("tl",):
                if move not in self.moves.get(operand, {}):
                    yield Fault(f"{MOVES[move]} of {operand} has no port")


def _at_most(key: str) -> AfterValidator:
    def check(value: int, info: ValidationInfo) -> int:
        widest = info.data.get(key, value)
        if value > widest:
            raise ValueError(f"must be at most `{key}` ({widest}), got {value}")
        return value

    return AfterValidator(check)


def _known_dimensions(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    dimensions = context_of(info)["dimensions"]
    unknown = [name for name in value if dimensions and name not in dimensions]
    if unknown:
        raise ValueError(f"names unknown array dimension {', '.join(map(repr, unknown))}")
    return value


@dataclass(frozen=True, kw_only=True)
class MemoryBlock(Block):
    """What a memory has in either dialect. Sizes in bits, energies in pJ for an access of the full port width.

    Attributes:
        size: Bits of one instance.
        auto_cost_extraction: ZigZag's request to compute the energies; refused.
        r_cost: Energy of a read.
        w_cost: Energy of a write.
        area: mm^2.
        latency: Cycles; no price depends on it.
        force_double_buffering: Whether half of the memory is filled while the other half is used.
        double_buffering_support: An older name of the same.
        operands: The operands that it holds: I1, I2, O.
        served_dimensions: Array dimensions that share one instance.
        mem_type: Not used.
        source: Where the figures come from; not kept.
    """

    size: Count
    auto_cost_extraction: Annotated[Flag, must(lambda value: not value, _NO_CACTI)] = False
    r_cost: Figure
    w_cost: Figure
    area: Figure = 0.0
    latency: WholeNumber = 1
    force_double_buffering: Flag = False
    double_buffering_support: Flag = False
    operands: Annotated[Items[MemoryOperand], DISTINCT, must(bool, "must name at least one operand")]
    served_dimensions: Annotated[Names, AfterValidator(_known_dimensions)]
    mem_type: Any = None
    source: Any = None


_PortName = Annotated[Text, matches(r"r?w?_port_\d+", "must be like r_port_1, w_port_1 or rw_port_1")]
_Allocation = Annotated[
    Name,
    matches(r"\s*(I1|I2|O)\s*,\s*(fh|tl|fl|th)\s*", "must hold entries such as 'I1, fh' (operands I1 I2 O)"),
]


@dataclass(frozen=True)
class PortBlock(Block):
    """A port in the dialect of zigzag-dse 3.9.

    Attributes:
        name: ``r_port_1``, ``w_port_1`` or ``rw_port_1``.
        type: read, write or read_write.
        bandwidth_max: Bits per cycle.
        bandwidth_min: Bits that the smallest access moves.
        allocation: The moves that it serves, such as ``I1, fh``.
    """

    name: _PortName
    type: PortKind
    bandwidth_max: Count
    bandwidth_min: Annotated[Count, _at_most("bandwidth_max")]
    allocation: Annotated[Items[_Allocation], DISTINCT]


def _named_ports(data: Any, info: ValidationInfo) -> PortLayout:
    """The last port that serves a move counts, as in ZigZag; with the context's ``strict`` there is only one."""
    layout, faults = PortLayout(), []
    for index, port in enumerate(read_as(Items[PortBlock], data)):
        if port.name in layout.ports:
            faults.append(Fault(f"`name` {port.name!r} is given twice", ("ports", index)))
        layout.ports[port.name] = Port(port.name, port.type, port.bandwidth_max, port.bandwidth_min)
        for operand, move in (map(str.strip, entry.split(",")) for entry in port.allocation):
            moves = layout.moves.setdefault(operand, {})
            if move in moves and context_of(info).get("strict"):
                faults.append(Fault(f"`allocation` gives '{operand}, {move}' to a second port", ("ports", index)))
            moves[move] = port.name
    if "operands" in info.data:
        faults += layout.faults(info.data["operands"])
    raise_faults(faults)
    return layout


@dataclass(frozen=True, kw_only=True)
class PortsByName(MemoryBlock):
    """The dialect of zigzag-dse 3.9: every port states its bandwidths and what it moves.

    Attributes:
        ports: All ports.
    """

    ports: Annotated[PortLayout, PlainValidator(_named_ports)]


@dataclass(frozen=True)
class MovesBlock(Block):
    """The ports that serve one operand, in the dialect of ZigZag <= 3.6 and Stream; each may be left out.

    Attributes:
        fh: The port of the write from above.
        tl: The port of the read towards below.
        fl: The port of the write from below.
        th: The port of the read towards above.
    """

    fh: Text = ""
    tl: Text = ""
    fl: Text = ""
    th: Text = ""


_Ports = Annotated[int, whole(0, 64)]


def _counted_ports(data: Any, info: ValidationInfo) -> PortLayout:
    uses, fields, layout = read_as(Items[MovesBlock], data), info.data, PortLayout()
    operands = fields.get("operands", uses)
    if len(uses) != len(operands):
        raise_faults([Fault(f"`ports` must have one entry per operand ({len(operands)}), got {len(uses)}")])
    if not fields.keys() >= {"r_port", "w_port", "rw_port", "operands"}:
        return layout
    for prefix, kind in (("r", PortKind.READ), ("w", PortKind.WRITE), ("rw", PortKind.READ_WRITE)):
        for index in range(1, fields[f"{prefix}_port"] + 1):
            name = f"{prefix}_port_{index}"
            layout.ports[name] = Port(name, kind, *_bandwidths(fields, prefix[0]))
    for operand, use in zip(operands, uses, strict=True):
        layout.moves[operand] = {move: port for move, port in vars(use).items() if port}
    faults = list(layout.faults(operands))
    read, write = _bandwidths(fields, "r"), _bandwidths(fields, "w")
    if fields["rw_port"] and read != write and 0 not in read + write:
        faults.append(Fault("a read-write port needs the same bandwidth and granularity for reading and writing"))
    raise_faults(faults)
    return layout


def _bandwidths(fields: Mapping[str, Any], side: str) -> tuple[int, int]:
    """Bandwidth and smallest access of a direction (``r`` or ``w``), 0 for one with a fault."""
    bandwidth, granularity = fields.get(f"{side}_bw", 0), fields.get(f"min_{side}_granularity", 0)
    return bandwidth, bandwidth if granularity is None else granularity


@dataclass(frozen=True, kw_only=True)
class PortsByCount(MemoryBlock):
    """The dialect of ZigZag <= 3.6 and Stream: numbers of ports, and their moves for each operand.

    Attributes:
        r_bw: Bits per cycle of read ports and of read-write ports.
        w_bw: Bits per cycle of write ports.
        min_r_granularity: Bits that the smallest read moves; ``r_bw`` where left out.
        min_w_granularity: Bits that the smallest write moves; ``w_bw`` where left out.
        r_port: Number of read ports.
        w_port: Number of write ports.
        rw_port: Number of read-write ports.
        ports: One entry per operand, in their order.
    """

    r_bw: Count
    w_bw: Count
    min_r_granularity: Annotated[Count, _at_most("r_bw")] | None = None
    min_w_granularity: Annotated[Count, _at_most("w_bw")] | None = None
    r_port: _Ports
    w_port: _Ports
    rw_port: _Ports
    ports: Annotated[PortLayout, PlainValidator(_counted_ports)]


def read_memory(data: Any, info: ValidationInfo) -> PortsByName | PortsByCount:
    """Read a memory in either dialect, which its ports tell.

    Args:
        data: Plain data of the memory.
        info: Its context has ``dimensions`` of the array, and ``strict`` where no move may have two ports.

    Returns:
        The memory.
    """
    given = data if isinstance(data, dict) else {}
    ports = given.get("ports")
    named = isinstance(ports, list) and any(isinstance(port, dict) and "name" in port for port in ports)
    if named or (given.get("r_bw") is None and given.get("w_bw") is None):
        return PortsByName.read(data, info.context)
    return PortsByCount.read(data, info.context)


def memory_level(block: PortsByName | PortsByCount, name: str) -> MemoryLevel:
    """The memory as a value.

    Args:
        block: The memory as its file has it.
        name: The name of the memory within its core.

    Returns:
        The memory level.
    """
    moves = block.ports.moves
    return MemoryLevel(
        name=name,
        size_bits=block.size,
        ports=tuple(block.ports.ports.values()),
        operand_ports=tuple(OperandPorts(item, *map(moves.get(item, {}).get, MOVES)) for item in block.operands),
        read_energy_pj=block.r_cost,
        write_energy_pj=block.w_cost,
        served_dimensions=block.served_dimensions,
        double_buffering=block.force_double_buffering or block.double_buffering_support,
        area_mm2=block.area,
    )
