"""ZigZag's YAML: one core in a file, read in either dialect and written in that of zigzag-dse 3.9.1."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from offramp.hardware.accelerator import Accelerator, Core, CoreKind, MemoryLevel
from offramp.hardware.field_types import Text
from offramp.hardware.formats.faults import Faults, read_block
from offramp.hardware.formats.memory_block import MOVES
from offramp.hardware.formats.stream_core import StreamCore, stated_kind


@dataclass(frozen=True, kw_only=True)
class ZigzagFile(StreamCore):
    """A file of one core, perhaps one of Stream's core files.

    Attributes:
        name: What the core is called.
    """

    name: Text


def read_zigzag(data: Mapping[str, Any], label: str) -> Accelerator:
    """An accelerator of one compute core.

    Args:
        data: The content of the file.
        label: The file's name, for sources and faults.

    Returns:
        The accelerator.

    Raises:
        AcceleratorError: The file has faults; the message lists all of them.
    """
    faults = Faults()
    kind = stated_kind(data)
    if kind is not CoreKind.COMPUTE:
        what = f"it describes a core of kind {kind.value}" if isinstance(kind, CoreKind) else kind
        faults.add(
            "", f"a file of one core must describe a compute core, but {what}; give the file that names its cores"
        )
        faults.raise_if_any(label)
    file = read_block(ZigzagFile, data, "", faults)
    faults.raise_if_any(label)
    assert file is not None  # a block without faults
    return Accelerator(
        name=file.name,
        cores=(file.build(file.name, CoreKind.COMPUTE, source=label),),
        links=(),
        description=f"Read from ZigZag's {label}.",
        sources=(f"Figures as given in {label}.",),
    )


def core_to_zigzag(core: Core) -> dict[str, Any]:
    """The core as the mapping that zigzag-dse 3.9.1's accelerator parser accepts, ready to be written as YAML.

    Sizes, energies, bandwidths and port assignments are kept. `Core` does not hold what no price depends on: the memory
    latency is written as 1 and the multiplier area as 0.

    Args:
        core: Any core, in-memory computing arrays included.

    Returns:
        Plain data; `read_zigzag` makes an equal core of it.
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
    figures: dict[str, Any] = {"unit_energy": core.mac_energy_pj, "unit_area": 0.0}
    if core.imc is not None:
        figures = {
            "is_imc": True,
            "imc_type": core.imc.kind,
            "input_precision": [core.imc.activation_bits, core.imc.weight_bits],
            "bit_serial_precision": core.imc.bit_serial_bits,
            "adc_resolution": core.imc.adc_resolution_bits,
        }
    return figures | {
        "dimensions": [dimension.name for dimension in core.array],
        "sizes": [dimension.size for dimension in core.array],
        "systolic_dimensions": list(core.systolic_dimensions),
    }


def _memory_to_zigzag(memory: MemoryLevel) -> dict[str, Any]:
    allocation: dict[str, list[str]] = {port.name: [] for port in memory.ports}
    for item in memory.operand_ports:
        for move, port in zip(MOVES, (item.from_high, item.to_low, item.from_low, item.to_high), strict=True):
            if port is not None:
                allocation[port].append(f"{item.operand}, {move}")
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
