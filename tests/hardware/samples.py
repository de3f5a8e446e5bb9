"""Small accelerator descriptions for tests, as plain data that each test may change."""

from pathlib import Path
from typing import Any

import yaml

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "eenn" / "hardware"


def write(folder: Path, data: Any, name: str = "chip.yaml") -> Path:
    path = folder / name
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data, sort_keys=False))
    return path


def old_memory(operands: list[str], dimensions: list[str]) -> dict[str, Any]:
    """A memory with one read and one write port in the dialect of ZigZag 3.6."""
    uses = {
        "I1": {"fh": "w_port_1", "tl": "r_port_1"},
        "I2": {"fh": "w_port_1", "tl": "r_port_1"},
        "O": {"fh": "w_port_1", "tl": "r_port_1", "fl": "w_port_1", "th": "r_port_1"},
    }
    return {
        "size": 4096,
        "r_bw": 64,
        "w_bw": 32,
        "r_cost": 2.5,
        "w_cost": 3,
        "area": 0,
        "r_port": 1,
        "w_port": 1,
        "rw_port": 0,
        "latency": 1,
        "operands": operands,
        "ports": [dict(uses[operand]) for operand in operands],
        "served_dimensions": dimensions,
    }


def new_memory(operands: list[str], dimensions: list[str]) -> dict[str, Any]:
    """The memory of `old_memory` in the dialect of ZigZag 3.9."""
    reads = [f"{operand}, {move}" for operand in operands for move in (("tl", "th") if operand == "O" else ("tl",))]
    writes = [f"{operand}, {move}" for operand in operands for move in (("fh", "fl") if operand == "O" else ("fh",))]
    read = {"name": "r_port_1", "type": "read", "bandwidth_min": 64, "bandwidth_max": 64, "allocation": reads}
    write_port = {"name": "w_port_1", "type": "write", "bandwidth_min": 32, "bandwidth_max": 32, "allocation": writes}
    return {
        "size": 4096,
        "r_cost": 2.5,
        "w_cost": 3,
        "area": 0,
        "latency": 1,
        "operands": operands,
        "ports": [read, write_port],
        "served_dimensions": dimensions,
    }


def zigzag_core(dialect: str = "old") -> dict[str, Any]:
    """A ZigZag file of one core: a weight register under a memory for everything."""
    memory = old_memory if dialect == "old" else new_memory
    energy = {"multiplier_energy": 0.5} if dialect == "old" else {"unit_energy": 0.5, "unit_area": 1}
    return {
        "name": "tiny",
        "memories": {"reg": memory(["I2"], ["D1"]), "sram": memory(["I1", "I2", "O"], ["D1", "D2"])},
        "operational_array": {**energy, "dimensions": ["D1", "D2"], "sizes": [4, 2]},
    }


def imc_core(kind: str = "analog") -> dict[str, Any]:
    """A ZigZag file of one in-memory computing core."""
    data = zigzag_core("new")
    cells = new_memory(["I2"], [])
    cells["size"] = 8
    data["memories"] = {"cells": cells, "sram": data["memories"]["sram"]}
    data["operational_array"] = {
        "is_imc": True,
        "imc_type": kind,
        "input_precision": [8, 4],
        "bit_serial_precision": 2,
        "dimensions": ["D1", "D2"],
        "sizes": [4, 2],
    }
    if kind == "analog":
        data["operational_array"]["adc_resolution"] = 6
    return data


def chip() -> dict[str, Any]:
    """offramp's own format: two equal cores, a pooling core and an off-chip memory."""

    def body(kind: str, sizes: list[int]) -> dict[str, Any]:
        core = zigzag_core("new")
        del core["name"]
        core["operational_array"]["sizes"] = sizes
        return {"kind": kind, "source": f"datasheet, {kind} core", **core}

    return {
        "schema": 1,
        "name": "two-core",
        "sources": ["a datasheet"],
        "cores": {
            "mac": {**body("compute", [4, 2]), "copies": 2},
            "pool": body("pooling", [3, 3]),
            "dram": body("offchip", [0, 0]),
        },
        "links": [
            {"between": ["mac0", "mac1"], "bandwidth_bits": 32},
            {"between": ["mac", "pool"], "bandwidth_bits": "unlimited"},
            {"between": ["mac", "dram"], "bandwidth_bits": 64, "shared": "bus", "energy_pj_per_bit": 0.25},
        ],
    }
