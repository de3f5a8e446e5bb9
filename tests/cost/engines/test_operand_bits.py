"""Costs follow the bits operand by operand, in both engines alike."""

from dataclasses import replace

import pytest

from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.engines.native.loop_nest import loop_nest
from offramp.cost.report import LayerCost, LayerEngine
from offramp.hardware.accelerator import CoreKind
from offramp.hardware.loader import load_accelerator
from offramp.workload.layer import LayerShape, Op

# Its memories move words of 64 bits and more, so that narrow elements take fewer of them.
CORE = load_accelerator("edge-tpu-quad").cores_of(CoreKind.COMPUTE)[0]
CONV = LayerShape(Op.CONV, k=4, c=8, oy=6, ox=6, fy=3, fx=3, iy=8, ix=8)
DENSE = LayerShape(Op.DENSE, k=8, c=64)
POOL = LayerShape(Op.MAX_POOL, g=8, oy=4, ox=4, fy=2, fx=2, iy=8, ix=8, stride_y=2, stride_x=2)
ADD = LayerShape(Op.ADD, g=8, oy=8, ox=8, iy=8, ix=8)


def energy(cost: LayerCost, operand: str) -> float:
    return sum(item.energy_pj for item in cost.memory_energy if item.operand == operand)


@pytest.mark.parametrize("shape", [CONV, DENSE], ids=lambda shape: str(shape.op))
def test_narrow_inputs_cost_less_and_outputs_the_same(shape: LayerShape) -> None:
    wide, narrow = NativeEngine().price([(shape, CORE), (replace(shape, input_bits=(4, 8)), CORE)])
    assert energy(narrow, "I") < energy(wide, "I")
    assert energy(narrow, "W") == energy(wide, "W")


def test_the_second_input_of_an_addition_has_its_own_bits() -> None:
    nest = loop_nest(replace(ADD, input_bits=(8, 4)))
    assert (nest.bits("I1"), nest.bits("I2")) == (8, 4)


def test_thirty_two_bits_are_priced_as_such() -> None:
    shape = replace(DENSE, weight_bits=32, activation_bits=32)
    nest = loop_nest(shape)
    assert (nest.bits("I1"), nest.bits("I2"), shape.partial_sum_bits) == (32, 32, 32)
    wide, narrow = NativeEngine().price([(shape, CORE), (DENSE, CORE)])
    assert energy(wide, "W") > 3 * energy(narrow, "W")
    assert wide.latency_cycles > 3 * narrow.latency_cycles


@pytest.mark.parametrize("shape", [CONV, DENSE, ADD], ids=lambda shape: str(shape.op))
def test_both_engines_agree_on_mixed_operands(shape: LayerShape) -> None:
    pytest.importorskip("zigzag")
    from offramp.cost.engines.zigzag.engine import ZigzagEngine

    mixed = replace(shape, activation_bits=8, input_bits=(2, 4))
    engines: list[LayerEngine] = [NativeEngine(), ZigzagEngine(num_workers=1)]
    ours, theirs = (engine.price([(mixed, CORE)])[0] for engine in engines)
    assert ours.latency_cycles == pytest.approx(theirs.latency_cycles)
    assert ours.energy_pj == pytest.approx(theirs.energy_pj)
