"""One memory of a core, in the two ways in which ZigZag writes its ports."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from offramp.hardware.accelerator import MemoryLevel, MemoryOperand, OperandPorts, Port, PortKind
from offramp.hardware.formats.block import (
    DISTINCT,
    Block,
    Count,
    Fault,
    Figure,
    Names,
    Text,
    WholeNumber,
    near_name,
    raise_faults,
    whole,
)

MOVES = {
    "fh": "the write from above (fh)",
    "tl": "the read towards below (tl)",
    "fl": "the write from below (fl)",
    "th": "the read towards above (th)",
}
WRITES = ("fh", "fl")
MAX_PORTS = 64
_ALLOCATION = re.compile(r"\s*(I1|I2|O)\s*,\s*(fh|tl|fl|th)\s*")


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
                if name not in self.ports:
                    near = near_name(name, self.ports)
                    yield Fault(f"{MOVES[move]} of {operand} uses unknown port {name!r}{near}")
                    continue
                wrong = PortKind.READ if move in WRITES else PortKind.WRITE
                if self.ports[name].kind is wrong:
                    yield Fault(f"{MOVES[move]} of {operand} uses {wrong.value} port {name!r}")
        for operand in operands:
            for move in ("tl", "fl") if operand == "O" else ("tl",):
                if move not in self.moves.get(operand, {}):
                    yield Fault(f"{MOVES[move]} of {operand} has no port")


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
    auto_cost_extraction: bool = False
    r_cost: Figure
    w_cost: Figure
    area: Figure = 0.0
    latency: WholeNumber = 1
    force_double_buffering: bool = False
    double_buffering_support: bool = False
    operands: Annotated[list[MemoryOperand], DISTINCT]
    served_dimensions: Names
    mem_type: Any = None
    source: Any = None

    @field_validator("auto_cost_extraction")
    @classmethod
    def _energies_are_stated(cls, value: bool) -> bool:
        if value:
            raise ValueError("would need CACTI; set it to false and state `r_cost` and `w_cost`")
        return value

    @field_validator("operands")
    @classmethod
    def _some_operand(cls, value: list[MemoryOperand]) -> list[MemoryOperand]:
        if not value:
            raise ValueError("must name at least one operand")
        return value

    @field_validator("served_dimensions")
    @classmethod
    def _known_dimensions(cls, value: list[str], info: ValidationInfo) -> list[str]:
        dimensions = (info.context or {}).get("dimensions")
        unknown = [name for name in value if dimensions and name not in dimensions]
        if unknown:
            raise ValueError(f"names unknown array dimension {', '.join(map(repr, unknown))}")
        return value

    def layout(self) -> PortLayout:
        """The ports and the moves that they serve."""
        raise NotImplementedError

    def build(self, name: str) -> MemoryLevel:
        """The memory as a value.

        Args:
            name: The name of the memory within its core.

        Returns:
            The memory level.
        """
        layout = self.layout()
        return MemoryLevel(
            name=name,
            size_bits=self.size,
            ports=tuple(layout.ports.values()),
            operand_ports=tuple(
                OperandPorts(operand, *(layout.moves.get(operand, {}).get(move) for move in MOVES))
                for operand in self.operands
            ),
            read_energy_pj=self.r_cost,
            write_energy_pj=self.w_cost,
            served_dimensions=tuple(self.served_dimensions),
            double_buffering=self.force_double_buffering or self.double_buffering_support,
            area_mm2=self.area,
        )


def _port_name(value: str) -> str:
    if not re.fullmatch(r"r?w?_port_\d+", value):
        raise ValueError(f"must be like r_port_1, w_port_1 or rw_port_1, got {value!r}")
    return value


def _allocation(value: str) -> str:
    if not _ALLOCATION.fullmatch(value):
        raise ValueError(f"must hold entries such as 'I1, fh' (operands I1 I2 O), got {value!r}")
    return value


class PortBlock(Block):
    """A port in the dialect of zigzag-dse 3.9.

    Attributes:
        name: ``r_port_1``, ``w_port_1`` or ``rw_port_1``.
        type: read, write or read_write.
        bandwidth_max: Bits per cycle.
        bandwidth_min: Bits that the smallest access moves.
        allocation: The moves that it serves, such as ``I1, fh``.
    """

    name: Annotated[Text, AfterValidator(_port_name)]
    type: Annotated[PortKind, Field(strict=False)]
    bandwidth_max: Count
    bandwidth_min: Count
    allocation: Annotated[list[Annotated[str, AfterValidator(_allocation)]], DISTINCT]

    @field_validator("bandwidth_min")
    @classmethod
    def _not_above_the_widest(cls, value: int, info: ValidationInfo) -> int:
        widest = info.data.get("bandwidth_max", value)
        if value > widest:
            raise ValueError(f"must be at most `bandwidth_max` ({widest}), got {value}")
        return value


class PortsByName(MemoryBlock):
    """The dialect of zigzag-dse 3.9: every port states its bandwidths and what it moves.

    Attributes:
        ports: All ports.
    """

    ports: list[PortBlock]

    @field_validator("ports")
    @classmethod
    def _consistent(cls, value: list[PortBlock], info: ValidationInfo) -> list[PortBlock]:
        strict = bool((info.context or {}).get("strict"))
        faults = list(_repetitions(value, strict=strict))
        if "operands" in info.data:
            faults += _named_layout(value).faults(info.data["operands"])
        raise_faults(faults)
        return value

    def layout(self) -> PortLayout:
        """The ports and the moves that they serve; the last port that serves a move counts, as in ZigZag."""
        return _named_layout(self.ports)


def _named_layout(ports: Sequence[PortBlock]) -> PortLayout:
    result = PortLayout()
    for port in ports:
        result.ports[port.name] = Port(port.name, port.type, port.bandwidth_max, port.bandwidth_min)
        for operand, move in _moves(port):
            result.moves.setdefault(operand, {})[move] = port.name
    return result


def _moves(port: PortBlock) -> Iterator[tuple[str, str]]:
    for entry in port.allocation:
        operand, move = entry.split(",")
        yield operand.strip(), move.strip()


def _repetitions(ports: Sequence[PortBlock], *, strict: bool) -> Iterator[Fault]:
    names: set[str] = set()
    moves: set[tuple[str, str]] = set()
    for index, port in enumerate(ports):
        place = ("ports", index)
        if port.name in names:
            yield Fault(f"`name` {port.name!r} is given twice", place)
        names.add(port.name)
        for operand, move in _moves(port):
            if (operand, move) in moves and strict:
                yield Fault(f"`allocation` gives '{operand}, {move}' to a second port", place)
            moves.add((operand, move))


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
    min_r_granularity: Count | None = None
    min_w_granularity: Count | None = None
    r_port: Annotated[int, whole(0, MAX_PORTS)]
    w_port: Annotated[int, whole(0, MAX_PORTS)]
    rw_port: Annotated[int, whole(0, MAX_PORTS)]
    ports: list[MovesBlock]

    _ported: ClassVar[frozenset[str]] = frozenset(
        ("r_bw", "w_bw", "min_r_granularity", "min_w_granularity", "r_port", "w_port", "rw_port", "operands")
    )

    @field_validator("min_r_granularity", "min_w_granularity")
    @classmethod
    def _not_above_the_bandwidth(cls, value: int, info: ValidationInfo) -> int:
        key = "r_bw" if info.field_name == "min_r_granularity" else "w_bw"
        if value > info.data.get(key, value):
            raise ValueError(f"must be at most `{key}` ({info.data[key]}), got {value}")
        return value

    @field_validator("ports")
    @classmethod
    def _consistent(cls, value: list[MovesBlock], info: ValidationInfo) -> list[MovesBlock]:
        fields = info.data
        num_operands = len(fields.get("operands", value))
        if len(value) != num_operands:
            raise_faults([Fault(f"`ports` must have one entry per operand ({num_operands}), got {len(value)}")])
        if cls._ported <= fields.keys():
            raise_faults([*_equal_ways(fields), *_counted_layout(fields, value).faults(fields["operands"])])
        return value

    def layout(self) -> PortLayout:
        """The ports and the moves that they serve."""
        return _counted_layout(dict(self), self.ports)


def _way(fields: Mapping[str, Any], side: str) -> tuple[int, int]:
    """Bandwidth and smallest access of a direction (``r`` or ``w``)."""
    return fields[f"{side}_bw"], fields[f"min_{side}_granularity"] or fields[f"{side}_bw"]


def _equal_ways(fields: Mapping[str, Any]) -> Iterator[Fault]:
    if fields["rw_port"] and _way(fields, "r") != _way(fields, "w"):
        yield Fault("a read-write port needs the same bandwidth and granularity for reading and writing")


def _counted_layout(fields: Mapping[str, Any], uses: Sequence[MovesBlock]) -> PortLayout:
    result = PortLayout()
    for prefix, kind in (("r", PortKind.READ), ("w", PortKind.WRITE), ("rw", PortKind.READ_WRITE)):
        for index in range(1, fields[f"{prefix}_port"] + 1):
            name = f"{prefix}_port_{index}"
            result.ports[name] = Port(name, kind, *_way(fields, prefix[0]))
    for operand, use in zip(fields["operands"], uses, strict=True):
        result.moves[operand] = {move: port for move, port in dict(use).items() if port}
    return result


def memory_model(data: Any) -> type[MemoryBlock]:
    """The dialect of a memory, told by its ports.

    Args:
        data: Plain data of the memory.

    Returns:
        The model that reads it.
    """
    given = data if isinstance(data, dict) else {}
    ports = given.get("ports")
    if isinstance(ports, list) and any(isinstance(port, dict) and "name" in port for port in ports):
        return PortsByName
    return PortsByName if given.get("r_bw") is None and given.get("w_bw") is None else PortsByCount
