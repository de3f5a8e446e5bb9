"""Both dialects of a memory give the same values; what cannot work is named."""

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import PlainValidator

from offramp.hardware.accelerator import MemoryLevel, OperandPorts, Port, PortKind
from offramp.hardware.block import Block
from offramp.hardware.formats.faults import Faults, read_block
from offramp.hardware.formats.memory_block import memory_level, read_memory
from tests.hardware.samples import new_memory, old_memory

DIMENSIONS = ("D1", "D2")


@dataclass(frozen=True)
class Holder(Block):
    memory: Annotated[Any, PlainValidator(read_memory)]


def read(data: Any, *, strict: bool = True) -> tuple[MemoryLevel | None, list[str]]:
    faults = Faults()
    context = {"strict": strict, "dimensions": DIMENSIONS}
    block = read_block(Holder, {"memory": data}, "m", faults, context)
    return None if block is None else memory_level(block.memory, "sram"), faults.items


def built(data: Any, *, strict: bool = True) -> MemoryLevel:
    memory, faults = read(data, strict=strict)
    assert faults == []
    assert memory is not None
    return memory


def test_both_dialects_give_the_same_memory() -> None:
    old, old_faults = read(old_memory(["I1", "O"], ["D1"]))
    new, new_faults = read(new_memory(["I1", "O"], ["D1"]))
    assert old_faults == new_faults == []
    assert old == new
    assert old == MemoryLevel(
        name="sram",
        size_bits=4096,
        ports=(Port("r_port_1", PortKind.READ, 64, 64), Port("w_port_1", PortKind.WRITE, 32, 32)),
        operand_ports=(
            OperandPorts("I1", "w_port_1", "r_port_1"),
            OperandPorts("O", "w_port_1", "r_port_1", "w_port_1", "r_port_1"),
        ),
        read_energy_pj=2.5,
        write_energy_pj=3.0,
        served_dimensions=("D1",),
    )


def test_granularity_is_the_smallest_access() -> None:
    data = old_memory(["I2"], ["D1"]) | {"min_r_granularity": 8, "min_w_granularity": 16}
    memory = built(data)
    assert [(port.bandwidth_bits, port.min_bandwidth_bits) for port in memory.ports] == [(64, 8), (32, 16)]


def test_read_write_ports_serve_both_directions() -> None:
    data = old_memory(["I2"], []) | {"r_port": 0, "w_port": 0, "rw_port": 2, "w_bw": 64}
    data["ports"] = [{"fh": "rw_port_1", "tl": "rw_port_2"}]
    memory = built(data)
    assert [port.name for port in memory.ports] == ["rw_port_1", "rw_port_2"]
    assert {port.kind for port in memory.ports} == {PortKind.READ_WRITE}
    assert memory.operand_ports == (OperandPorts("I2", "rw_port_1", "rw_port_2"),)


@pytest.mark.parametrize("key", ["force_double_buffering", "double_buffering_support"])
def test_double_buffering_is_kept(key: str) -> None:
    assert not built(old_memory(["I2"], [])).double_buffering
    assert built(old_memory(["I2"], []) | {key: True}).double_buffering


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": 0}, "`size` must be >= 1, got 0"),
        ({"size": None}, "`size` is missing"),
        ({"r_cost": -1}, "`r_cost` must be a finite number >= 0, got -1"),
        ({"r_cost": None}, "`r_cost` is missing"),
        ({"r_bw": 0}, "`r_bw` must be >= 1"),
        ({"min_r_granularity": 128}, "`min_r_granularity` must be at most `r_bw` (64), got 128"),
        ({"auto_cost_extraction": True}, "would need CACTI"),
        ({"operands": ["I3"]}, "`operands` must be among I1, I2, O, got 'I3'"),
        ({"operands": []}, "`operands` must name at least one operand"),
        ({"served_dimensions": ["D7"]}, "`served_dimensions` names unknown array dimension 'D7'"),
        ({"served_dimensions": None}, "`served_dimensions` is missing"),
        ({"ports": []}, "`ports` must have one entry per operand (1), got 0"),
        ({"ports": [{"fh": "w_port_1"}]}, "the read towards below (tl) of I2 has no port"),
        ({"ports": [{"fh": "w_port_9", "tl": "r_port_1"}]}, "(fh) of I2 uses unknown port 'w_port_9'"),
        ({"ports": [{"fh": "r_port_1", "tl": "r_port_1"}]}, "(fh) of I2 uses read port 'r_port_1'"),
        ({"ports": [{"fh": "w_port_1", "tl": "w_port_1"}]}, "(tl) of I2 uses write port 'w_port_1'"),
        ({"ports": [{"fh": "w_port_1", "tl": "r_port_1", "up": "r_port_1"}]}, "unknown key `up`"),
        ({"ports": ["r_port_1"]}, "must be a mapping, got 'r_port_1'"),
        ({"r_port": 0, "w_port": 0}, "the memory has no port"),
        ({"r_port": 0, "w_port": 0, "rw_port": 1}, "needs the same bandwidth and granularity for reading and writing"),
        ({"sise": 4}, "unknown key `sise`, did you mean `size`?"),
    ],
)
def test_faults_of_the_old_dialect(change: dict[str, Any], says: str) -> None:
    faults = read(old_memory(["I2"], ["D1"]) | change)[1]
    assert any(says in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "left"}, "`name` must be like r_port_1, w_port_1 or rw_port_1, got 'left'"),
        ({"name": "w_port_1"}, "`name` 'w_port_1' is given twice"),
        ({"type": "wr"}, "`type` must be one of read, write, read_write, got 'wr'"),
        ({"type": "write"}, "(tl) of I2 uses write port 'r_port_1'"),
        ({"bandwidth_min": 65}, "`bandwidth_min` must be at most `bandwidth_max` (64), got 65"),
        ({"bandwidth_max": None}, "`bandwidth_max` is missing"),
        (
            {"allocation": ["I2, up"]},
            "`allocation` must hold entries such as 'I1, fh' (operands I1 I2 O), got 'I2, up'",
        ),
        ({"allocation": []}, "the read towards below (tl) of I2 has no port"),
        ({"allocation": ["I2, tl", "O, tl"]}, "a port serves operand O, which is not in `operands`"),
        ({"width": 3}, "unknown key `width`"),
    ],
)
def test_faults_of_the_new_dialect(change: dict[str, Any], says: str) -> None:
    data = new_memory(["I2"], ["D1"])
    data["ports"][0] |= change
    if change.get("name") == "w_port_1":
        data["ports"].reverse()
    faults = read(data)[1]
    assert any(says in fault for fault in faults), faults


def test_all_faults_of_a_memory_are_listed() -> None:
    data = old_memory(["I2"], ["D9"]) | {"size": -4, "w_cost": "cheap", "colour": "red"}
    assert len(read(data)[1]) == 4


def test_a_movement_on_two_ports_is_a_fault_of_ours_and_the_last_one_in_zigzag() -> None:
    data = new_memory(["I2"], ["D1"])
    data["ports"].append({**data["ports"][0], "name": "r_port_2"})
    assert any("gives 'I2, tl' to a second port" in fault for fault in read(data)[1])
    memory = built(data, strict=False)
    assert memory.operand_ports[0].to_low == "r_port_2"
