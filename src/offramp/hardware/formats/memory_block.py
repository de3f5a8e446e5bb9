"""One memory of a core, in the two ways that ZigZag has of writing its ports."""

import re
from dataclasses import dataclass, field
from typing import cast

from offramp.hardware.accelerator import MemoryLevel, MemoryOperand, OperandPorts, Port, PortKind
from offramp.hardware.formats.yaml_fields import Section

OPERANDS = ("I1", "I2", "O")
DIRECTIONS = ("fh", "tl", "fl", "th")
WRITES = ("fh", "fl")
DIRECTION_WORDS = {
    "fh": "the write from above (fh)",
    "tl": "the read towards below (tl)",
    "fl": "the write from below (fl)",
    "th": "the read towards above (th)",
}


@dataclass
class _Ports:
    """Ports by name and, per operand, the port of each direction."""

    ports: dict[str, Port] = field(default_factory=dict)
    assigned: dict[str, dict[str, str]] = field(default_factory=dict)


def read_memory(section: Section, name: str, array_dimensions: tuple[str, ...], *, strict: bool) -> MemoryLevel:
    """A memory in either dialect; which one is told by its ports.

    A movement given to two ports is a fault when ``strict``, else the last one serves it, as in ZigZag.
    """
    size = section.integer("size", minimum=1)
    if section.flag("auto_cost_extraction"):
        section.fault("`auto_cost_extraction` would need CACTI; set it to false and state `r_cost` and `w_cost`")
        read_energy, write_energy = section.number("r_cost", default=0.0), section.number("w_cost", default=0.0)
    else:
        read_energy, write_energy = section.number("r_cost"), section.number("w_cost")
    area = section.number("area", default=0.0)
    section.integer("latency", minimum=0, default=1)
    double = section.flag("force_double_buffering") | section.flag("double_buffering_support")
    operands = _operands(section)
    served = section.words("served_dimensions")
    for dimension in served:
        if array_dimensions and dimension not in array_dimensions:
            section.fault(f"`served_dimensions` names unknown array dimension {dimension!r}")
    ports = _explicit_ports(section, strict) if _is_explicit(section) else _counted_ports(section, operands)
    _check_assignment(section, ports, operands)
    section.done(also=("mem_type", "source"))
    return MemoryLevel(
        name=name,
        size_bits=size,
        ports=tuple(ports.ports.values()),
        operand_ports=tuple(_operand_ports(operand, ports.assigned.get(operand, {})) for operand in operands),
        read_energy_pj=read_energy,
        write_energy_pj=write_energy,
        served_dimensions=tuple(served),
        double_buffering=double,
        area_mm2=area,
    )


def _operand_ports(operand: str, assigned: dict[str, str]) -> OperandPorts:
    return OperandPorts(
        operand=cast(MemoryOperand, operand),
        from_high=assigned.get("fh"),
        to_low=assigned.get("tl"),
        from_low=assigned.get("fl"),
        to_high=assigned.get("th"),
    )


def _operands(section: Section) -> list[str]:
    operands = section.words("operands")
    for operand in operands:
        if operand not in OPERANDS:
            section.fault(f"`operands` must be among {', '.join(OPERANDS)}, got {operand!r}")
    if not operands and "operands" in section:
        section.fault("`operands` must name at least one operand")
    return [operand for operand in operands if operand in OPERANDS]


def _is_explicit(section: Section) -> bool:
    ports = section.data.get("ports")
    if isinstance(ports, list) and any(isinstance(port, dict) and "name" in port for port in ports):
        return True
    return "r_bw" not in section and "w_bw" not in section


def _explicit_ports(section: Section, strict: bool) -> _Ports:
    """The dialect of zigzag-dse 3.9: every port says its bandwidths and what it moves."""
    result = _Ports()
    for index, value in enumerate(section.values("ports"), start=1):
        port = Section(value, f"{section.where} port {index}", section.faults)
        name = port.text("name")
        if name and not re.fullmatch(r"r?w?_port_\d+", name):
            port.fault(f"`name` must be like r_port_1, w_port_1 or rw_port_1, got {name!r}")
        if name in result.ports:
            port.fault(f"`name` {name!r} is given twice")
        kind = PortKind(port.choice("type", [kind.value for kind in PortKind]))
        widest = port.integer("bandwidth_max", minimum=1)
        narrowest = port.integer("bandwidth_min", minimum=1)
        if narrowest > widest and "bandwidth_max" in port:
            port.fault(f"`bandwidth_min` must be at most `bandwidth_max` ({widest}), got {narrowest}")
        result.ports[name] = Port(name, kind, widest, narrowest)
        for entry in port.words("allocation"):
            match = re.fullmatch(r"\s*(I1|I2|O)\s*,\s*(fh|tl|fl|th)\s*", entry)
            if match is None:
                port.fault(f"`allocation` must hold entries such as 'I1, fh' (operands I1 I2 O), got {entry!r}")
                continue
            taken = result.assigned.setdefault(match[1], {})
            if match[2] in taken and strict:
                port.fault(f"`allocation` gives {entry!r} to a second port")
            taken[match[2]] = name
        port.done()
    return result


def _counted_ports(section: Section, operands: list[str]) -> _Ports:
    """The dialect of ZigZag <= 3.6 and Stream: bandwidths and numbers of ports, and a list of uses per operand."""
    result = _Ports()
    bandwidth = {"r": section.integer("r_bw", minimum=1), "w": section.integer("w_bw", minimum=1)}
    granularity = {
        side: section.integer(f"min_{side}_granularity", minimum=1, default=bandwidth[side]) for side in ("r", "w")
    }
    for side in ("r", "w"):
        if granularity[side] > bandwidth[side]:
            section.fault(
                f"`min_{side}_granularity` must be at most `{side}_bw` ({bandwidth[side]}), got {granularity[side]}"
            )
    for prefix, kind in (("r", PortKind.READ), ("w", PortKind.WRITE), ("rw", PortKind.READ_WRITE)):
        count = min(section.integer(f"{prefix}_port", minimum=0), 64)
        side = "w" if prefix == "w" else "r"
        for number in range(1, count + 1):
            name = f"{prefix}_port_{number}"
            result.ports[name] = Port(name, kind, bandwidth[side], granularity[side])
        if prefix == "rw" and count and (bandwidth["r"], granularity["r"]) != (bandwidth["w"], granularity["w"]):
            section.fault("a read-write port needs the same bandwidth and granularity for reading and writing")
    uses = section.values("ports")
    if len(uses) != len(operands):
        section.fault(f"`ports` must have one entry per operand ({len(operands)}), got {len(uses)}")
    for operand, value in zip(operands, uses, strict=False):
        use = Section(value, f"{section.where} ports of {operand}", section.faults)
        assigned = {key: use.text(key, default="") for key in DIRECTIONS}
        result.assigned[operand] = {key: port for key, port in assigned.items() if port}
        use.done()
    return result


def _check_assignment(section: Section, ports: _Ports, operands: list[str]) -> None:
    """Every movement an operand needs has a port, and each port can do what it is asked to."""
    if not ports.ports:
        section.fault("the memory has no port")
    for operand, assigned in ports.assigned.items():
        if operand not in operands:
            section.fault(f"a port serves operand {operand}, which is not in `operands`")
        for direction, name in assigned.items():
            if name not in ports.ports:
                section.fault(f"{DIRECTION_WORDS[direction]} of {operand} uses unknown port {name!r}")
                continue
            wrong = PortKind.READ if direction in WRITES else PortKind.WRITE
            if ports.ports[name].kind is wrong:
                section.fault(f"{DIRECTION_WORDS[direction]} of {operand} uses {wrong.value} port {name!r}")
    for operand in operands:
        for direction in ("tl", "fl") if operand == "O" else ("tl",):
            if direction not in ports.assigned.get(operand, {}):
                section.fault(f"{DIRECTION_WORDS[direction]} of {operand} has no port")
