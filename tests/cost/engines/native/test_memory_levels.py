"""What the engine sees of a core."""

from dataclasses import replace

import pytest

from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.engines.native.memory_levels import Direction, Served, unserved_movement, view_core
from offramp.errors import UnsupportedLayerError
from offramp.hardware.accelerator import CoreKind
from offramp.hardware.loader import load_accelerator
from offramp.workload.layer import LayerShape, Op
from tests.cost.engines.native import native_toys


def test_levels_are_counted_per_operand() -> None:
    view = view_core(load_accelerator("edge-tpu-quad").cores_of(CoreKind.COMPUTE)[0])
    names = {
        link: [view.memory_of(link, level).name for level in range(len(levels))] for link, levels in view.levels.items()
    }
    assert names == {
        "I2": ["rf_W", "sram_32KB", "dram"],
        "O": ["rf_O", "sram_2MB", "dram"],
        "I1": ["sram_2MB", "dram"],
    }
    # The scratchpad is the innermost memory of I1, but outputs have a register below it.
    assert [use.level.name for use in view.memories if use.innermost] == ["rf_W", "rf_O"]


def test_bandwidths_follow_the_port_of_each_movement() -> None:
    view = view_core(load_accelerator("edge-tpu-quad").cores_of(CoreKind.POOLING)[0])
    level = view.levels["O"][0]
    assert level.bandwidth_bits[Direction.READ_TO_LOW] == 576
    assert level.bandwidth_bits[Direction.WRITE_FROM_LOW] == 512
    inputs = view.levels["I1"][0]
    assert inputs.bandwidth_bits[Direction.READ_TO_HIGH] == 0
    assert all(inputs.shared_by_inputs[way] for way in (Direction.READ_TO_LOW, Direction.WRITE_FROM_HIGH))


def test_a_port_lists_its_duties_and_idle_ports_are_left_out() -> None:
    buffer = native_toys.memory("buffer", "O")
    view = view_core(native_toys.core(buffer, native_toys.memory("ram", "I1 I2 O")))
    read, write = view.ports[0], view.ports[1]
    assert read.served == (Served("O", 0, Direction.READ_TO_LOW), Served("O", 0, Direction.READ_TO_HIGH))
    assert write.served == (Served("O", 0, Direction.WRITE_FROM_HIGH), Served("O", 0, Direction.WRITE_FROM_LOW))
    assert not read.shared_by_inputs
    assert view.ports[2].shared_by_inputs
    assert {item.level for item in view.ports[2].served if item.operand == "O"} == {1}
    idle = native_toys.memory("idle", "I1")
    one_way = type(idle)(**{**vars(idle), "operand_ports": (type(idle.operand_ports[0])("I1", None, "r_port_1"),)})
    assert len(view_core(native_toys.core(one_way)).ports) == 1


def test_a_movement_without_a_port_is_not_free() -> None:
    registers = native_toys.memory("rf", "I2")
    ports = (replace(registers.operand_ports[0], from_high=None),)
    core = native_toys.core(replace(registers, operand_ports=ports), native_toys.memory("ram", "I1 I2 O"))
    assert unserved_movement(view_core(native_toys.core())) == ""
    with pytest.raises(UnsupportedLayerError, match="the write from above of I2 in its memory 'rf' has no port"):
        NativeEngine().price([(LayerShape(Op.DENSE, k=2, c=2), core)])
