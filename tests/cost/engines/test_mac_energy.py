"""Cheaper multiplications at fewer bits reach the prices of both engines, and nothing else changes."""

from dataclasses import replace

import pytest

from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.report import LayerEngine
from offramp.hardware.published_figures import MacEnergy, MacEnergyTable
from offramp.workload.layer import LayerShape, Op
from tests.cost.engines.native.native_toys import core, memory

TABLE = MacEnergyTable((MacEnergy(4, 4, 7.0), MacEnergy(8, 8, 50.0)), "invented")
PLAIN = core(memory("ram", "I1 I2 O", bandwidth_bits=64))
SCALED = replace(PLAIN, mac_energy_by_bits=TABLE)
DENSE = LayerShape(Op.DENSE, k=4, c=6)


def engines() -> list[LayerEngine]:
    from offramp.cost.engines.zigzag.engine import ZigzagEngine

    return [NativeEngine(), ZigzagEngine(num_workers=1)]


@pytest.mark.parametrize("engine", engines(), ids=lambda engine: engine.name)
def test_multiplications_cost_what_the_table_says(engine: LayerEngine) -> None:
    if engine.name == "zigzag":
        pytest.importorskip("zigzag")
    widths = ((8, 8), (4, 4), (2, 3), (4, 8), (16, 8))
    shapes = [replace(DENSE, weight_bits=w, activation_bits=a) for w, a in widths]
    plain = engine.price([(shape, PLAIN) for shape in shapes])
    scaled = engine.price([(shape, SCALED) for shape in shapes])
    assert [cost.mac_energy_pj for cost in plain] == [24 * 100.0] * 5
    assert [cost.mac_energy_pj for cost in scaled] == [24 * x for x in (50.0, 7.0, 7.0, 50.0, 100.0)]
    for a, b in zip(plain, scaled, strict=True):
        assert a.latency_cycles == b.latency_cycles
        assert a.memory_energy == b.memory_energy


def test_pooling_has_no_weights_and_additions_have_two_activations() -> None:
    pooling = LayerShape(
        Op.MAX_POOL, g=2, oy=2, ox=2, fy=2, fx=2, iy=4, ix=4, stride_y=2, stride_x=2, activation_bits=4
    )
    addition = LayerShape(Op.ADD, g=2, oy=3, ox=3, iy=3, ix=3, weight_bits=8, activation_bits=4)
    pool, add = NativeEngine().price([(pooling, SCALED), (addition, SCALED)])
    assert pool.mac_energy_pj == 2 * 4 * 4 * 100.0
    assert add.mac_energy_pj == 18 * 7.0
