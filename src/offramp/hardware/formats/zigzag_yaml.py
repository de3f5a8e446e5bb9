"""One core in ZigZag's vocabulary, read from either dialect and written in that of zigzag-dse 3.9.1."""

import re
from dataclasses import dataclass
from typing import Any, cast

from offramp.hardware.accelerator import ArrayDimension, Core, CoreKind, ImcArray, MemoryLevel, SpatialLoop
from offramp.hardware.formats.in_memory_block import check_imc_memories, read_imc
from offramp.hardware.formats.memory_block import read_memory
from offramp.hardware.formats.yaml_fields import Section

BODY_KEYS = ("memories", "operational_array", "multipliers", "dataflows")
LOOPS = ("B", "G", "K", "C", "OY", "OX", "FY", "FX")


@dataclass(frozen=True)
class _Array:
    dimensions: tuple[ArrayDimension, ...]
    systolic: tuple[str, ...]
    mac_energy_pj: float
    imc: ImcArray | None


def read_core(body: Section, name: str, kind: CoreKind, source: str = "", *, strict: bool = False) -> Core:
    """A core from a mapping with `memories`, `operational_array` (or `multipliers`) and perhaps `dataflows`.

    Both dialects are understood, per memory: ZigZag <= 3.6 and Stream (`r_bw`, `r_port`, `ports` with fh/tl/fl/th)
    and ZigZag 3.9 (`ports` with name/type/bandwidth_min/bandwidth_max/allocation). Faults go to ``body.faults``.
    ``strict`` refuses what ZigZag puts up with: one movement given to two ports.
    """
    array = _read_array(body, kind)
    dimensions = tuple(item.name for item in array.dimensions)
    entries = body.section("memories")
    if not entries.data and "memories" in body:
        body.fault("`memories` must hold at least one memory")
    memories = tuple(
        read_memory(Section(value, f"{body.where} memory '{key}'".strip(), body.faults), key, dimensions, strict=strict)
        for key, value in entries.data.items()
    )
    _check_hierarchy(memories, body)
    if array.imc is not None:
        check_imc_memories(memories, array.imc, body)
    return Core(
        name=name,
        kind=kind,
        array=array.dimensions,
        mac_energy_pj=array.mac_energy_pj,
        memories=memories,
        dataflow=_read_dataflow(body, array.dimensions),
        imc=array.imc,
        source=source,
        systolic_dimensions=array.systolic,
    )


def _read_array(body: Section, kind: CoreKind) -> _Array:
    key = "multipliers" if "multipliers" in body and "operational_array" not in body else "operational_array"
    section = body.section(key)
    names = section.words("dimensions")
    for name in names:
        if not re.fullmatch(r"D\d", name):
            section.fault(f"`dimensions` must be D1, D2, ..., got {name!r}")
    smallest = 0 if kind is CoreKind.OFFCHIP else 1
    sizes = [section.checked_integer("sizes", value, smallest, 1) for value in section.values("sizes")]
    if len(names) != len(sizes) or not names:
        section.fault(f"`sizes` must have one value per dimension, got {len(sizes)} for {len(names)}")
    systolic = section.words("systolic_dimensions", required=False)
    for name in systolic:
        if name not in names:
            section.fault(f"`systolic_dimensions` names {name!r}, which is not in `dimensions`")
    imc, energy = None, 0.0
    if section.flag("is_imc"):
        imc = read_imc(section)
    else:
        energy = section.number("unit_energy" if "unit_energy" in section else "multiplier_energy")
    section.done(also=("unit_area", "multiplier_area", "input_precision"))
    dimensions = tuple(ArrayDimension(name, size) for name, size in zip(names, sizes, strict=False))
    return _Array(dimensions, tuple(systolic), energy, imc)


def _read_dataflow(body: Section, dimensions: tuple[ArrayDimension, ...]) -> tuple[SpatialLoop, ...]:
    if "dataflows" not in body:
        return ()
    section = body.section("dataflows")
    loops = []
    for dimension in dimensions:
        unrolled = 1
        for entry in section.words(dimension.name, required=False):
            match = re.fullmatch(r"\s*([A-Z]+)\s*,\s*(\d{1,18})\s*", entry)
            if match is None or match[1] not in LOOPS or int(match[2]) < 1:
                section.fault(
                    f"`{dimension.name}` must hold entries such as 'K, 8' (loops {' '.join(LOOPS)}), got {entry!r}"
                )
                continue
            loops.append(SpatialLoop(dimension.name, match[1], int(match[2])))
            unrolled *= int(match[2])
        if unrolled > dimension.size:
            section.fault(f"`{dimension.name}` unrolls {unrolled} over an array dimension of size {dimension.size}")
    section.done()
    return tuple(loops)


def _check_hierarchy(memories: tuple[MemoryLevel, ...], body: Section) -> None:
    """Every operand has memories up to the last one, and every memory below it is connected upwards."""
    if not memories:
        return
    for operand in ("I1", "I2", "O"):
        levels = [memory for memory in memories if operand in memory.operands]
        if not levels:
            body.fault(f"no memory holds operand {operand}")
        elif levels[-1] is not memories[-1]:
            body.fault(f"the last memory '{memories[-1].name}' must hold all operands, but not {operand}")
        for memory in levels[:-1]:
            ports = next(item for item in memory.operand_ports if item.operand == operand)
            if ports.from_high is None:
                body.fault(f"memory '{memory.name}': the write from above (fh) of {operand} has no port")
            if ports.to_high is None and operand == "O":
                body.fault(f"memory '{memory.name}': the read towards above (th) of {operand} has no port")


def core_to_zigzag(core: Core) -> dict[str, Any]:
    """The core as the mapping that zigzag-dse 3.9.1's accelerator parser accepts, ready to be written as YAML.

    The inverse of `read_core`: sizes, energies, bandwidths and port assignments are kept. What no price depends on and
    `Core` therefore does not hold is filled in: memory latency 1, multiplier area 0.
    """
    result: dict[str, Any] = {
        "name": core.name,
        "memories": {memory.name: _memory_to_zigzag(memory) for memory in core.memories},
        "operational_array": _array_to_zigzag(core),
    }
    if core.dataflow:
        # ZigZag wants D1 to be there even when nothing is unrolled over it.
        result["dataflows"] = {
            dimension.name: [f"{x.loop}, {x.size}" for x in core.dataflow if x.array_dimension == dimension.name]
            for dimension in core.array
        }
    return result


def _array_to_zigzag(core: Core) -> dict[str, Any]:
    array: dict[str, Any] = {}
    if core.imc is None:
        array |= {"unit_energy": core.mac_energy_pj, "unit_area": 0.0}
    else:
        array |= {
            "is_imc": True,
            "imc_type": core.imc.kind,
            "input_precision": [core.imc.activation_bits, core.imc.weight_bits],
            "bit_serial_precision": core.imc.bit_serial_bits,
            "adc_resolution": core.imc.adc_resolution_bits,
        }
    array["dimensions"] = [dimension.name for dimension in core.array]
    array["sizes"] = [dimension.size for dimension in core.array]
    array["systolic_dimensions"] = list(core.systolic_dimensions)
    return array


def _memory_to_zigzag(memory: MemoryLevel) -> dict[str, Any]:
    allocation: dict[str, list[str]] = {port.name: [] for port in memory.ports}
    for item in memory.operand_ports:
        for direction, port in (
            ("fh", item.from_high),
            ("tl", item.to_low),
            ("fl", item.from_low),
            ("th", item.to_high),
        ):
            if port is not None:
                allocation[port].append(f"{item.operand}, {direction}")
    return {
        "size": memory.size_bits,
        "r_cost": memory.read_energy_pj,
        "w_cost": memory.write_energy_pj,
        "area": memory.area_mm2,
        "latency": 1,
        "operands": [cast(str, operand) for operand in memory.operands],
        "ports": [
            {
                "name": port.name,
                "type": port.kind.value,
                "bandwidth_min": port.min_bandwidth_bits,
                "bandwidth_max": port.bandwidth_bits,
                "allocation": allocation[port.name],
            }
            for port in memory.ports
        ],
        "served_dimensions": list(memory.served_dimensions),
        "force_double_buffering": memory.double_buffering,
    }
