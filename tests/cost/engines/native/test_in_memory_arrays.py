"""In-memory computing against gate counts by hand and known figures of two macros."""

from dataclasses import replace
from pathlib import Path

import pytest

from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.engines.native.in_memory_arrays import (
    ADDER_PJ,
    BIT_LINE_PF,
    HALF_ADDER_PJ,
    MULTIPLIER_PJ,
    REGISTER_PJ,
    VDD_SQUARED,
    adder_tree_pj,
    operation_energy_pj,
    why_not,
)
from offramp.cost.engines.native.loop_nest import loop_nest
from offramp.errors import UnsupportedLayerError
from offramp.hardware.accelerator import ArrayDimension, Core, ImcArray, SpatialLoop
from offramp.hardware.loader import load_accelerator
from offramp.workload.layer import LayerShape, Op
from tests.cost.engines.native import native_toys


def imc_core(imc: ImcArray, columns: int = 4, rows: int = 4) -> Core:
    cells = native_toys.memory("cells", "I2", size_bits=8, served=())
    ram = native_toys.memory("ram", "I1 I2 O", bandwidth_bits=64, served=("D1", "D2"))
    core = native_toys.core(cells, ram)
    return replace(core, array=(ArrayDimension("D1", columns), ArrayDimension("D2", rows)), imc=imc, mac_energy_pj=0.0)


DIGITAL = ImcArray("digital", activation_bits=8, weight_bits=8, bit_serial_bits=1)
ANALOG = ImcArray("analog", activation_bits=8, weight_bits=8, bit_serial_bits=2, adc_resolution_bits=8)


def shipped(name: str) -> Core:
    zigzag = pytest.importorskip("zigzag")
    return load_accelerator(Path(zigzag.__file__).parent / "inputs" / "hardware" / f"{name}.yaml").cores[0]


def test_a_full_adder_tree_counts_its_adders() -> None:
    # Four 1-bit inputs: two 1-bit adders, then one of 2 bits.
    assert adder_tree_pj(1, 4, 4) == pytest.approx(4 * ADDER_PJ)
    assert adder_tree_pj(8, 0, 4) == 0
    # One input alone passes a 1-bit and a 2-bit adder half active.
    assert adder_tree_pj(1, 1, 4) == pytest.approx(3 * HALF_ADDER_PJ)
    # Two of four: one full 1-bit adder, whose 2 bits pass the next one.
    assert adder_tree_pj(1, 2, 4) == pytest.approx(ADDER_PJ + 2 * HALF_ADDER_PJ)
    # Three of four: a full 1-bit adder, the next of 2 bits full, the third input half active through 1 bit.
    assert adder_tree_pj(1, 3, 4) == pytest.approx(3 * ADDER_PJ + HALF_ADDER_PJ)


def test_a_digital_operation_by_hand() -> None:
    """Dense 4 to 4 on a full 4 x 4 array: one activation of 8 bit-serial cycles."""
    mapping = (SpatialLoop("D1", "K", 4), SpatialLoop("D2", "C", 4))
    energy = operation_energy_pj(loop_nest(LayerShape(Op.DENSE, k=4, c=4)), imc_core(DIGITAL), DIGITAL, mapping)
    tree = (4 * 9 - (8 + 2 + 1)) * ADDER_PJ
    accumulator = (8 + 2 + 8) * (ADDER_PJ + REGISTER_PJ)
    assert energy == pytest.approx(8 * (8 * 16 * MULTIPLIER_PJ + 4 * tree + 4 * accumulator))


def test_an_analog_operation_by_hand() -> None:
    """Dense 8 to 2 in the same array: 2 of 4 columns, all rows, two activations of 4 cycles each."""
    mapping = (SpatialLoop("D1", "K", 2), SpatialLoop("D2", "C", 4))
    energy = operation_energy_pj(loop_nest(LayerShape(Op.DENSE, k=2, c=8)), imc_core(ANALOG), ANALOG, mapping)
    adc = (100 * 8 + 0.001 * 4**8) * VDD_SQUARED / 1000
    dac = 0.05 * 2 * VDD_SQUARED
    per_cycle = (
        4 * dac
        + 2 * 8 * adc
        + 8 * 4 * 4 * MULTIPLIER_PJ
        + 2 * 8 * 4 * BIT_LINE_PF * VDD_SQUARED
        + 2 * ADDER_PJ * (8 * 7 + 8 * 2.5)
        + 2 * (8 + 8 + 8) * (ADDER_PJ + REGISTER_PJ)
    )
    assert energy == pytest.approx(2 * 4 * per_cycle)


def test_outputs_side_by_side_shift_the_kernel_along_the_rows() -> None:
    nest = loop_nest(LayerShape(Op.CONV, oy=1, ox=4, fy=1, fx=3, iy=1, ix=6))
    taps = SpatialLoop("D2", "FX", 3)
    alone = operation_energy_pj(nest, imc_core(ANALOG), ANALOG, (taps,))
    both = operation_energy_pj(nest, imc_core(ANALOG), ANALOG, (SpatialLoop("D1", "OX", 2), taps))
    # Half the activations, of 2 columns and 3 + 1 rows in place of 1 column and 3 rows.
    adder, accumulator = ADDER_PJ * (8 * 7 + 8 * 2.5), 24 * (ADDER_PJ + REGISTER_PJ)
    column = 8 * (100 * 8 + 0.001 * 4**8) * VDD_SQUARED / 1000 + 32 * BIT_LINE_PF * VDD_SQUARED + adder + accumulator
    row = 0.05 * 2 * VDD_SQUARED + 32 * MULTIPLIER_PJ
    assert alone == pytest.approx(4 * 4 * (column + 3 * row))
    assert both == pytest.approx(2 * 4 * (2 * column + 4 * row))


def test_a_convolution_on_the_analog_macro() -> None:
    """Figures noted from zigzag-dse 3.9.1 with 4 loop factors: 23,997 cycles, 16.15 uJ for 64 to 64 channels at 16."""
    shape = LayerShape(Op.CONV, k=64, c=64, oy=16, ox=16, fy=3, fx=3, iy=16, ix=16, padding=(1, 1, 1, 1))
    engine = NativeEngine(loma_lpf_limit=4, loads_overlap_computation=True)
    cost = engine.price([(shape, shipped("aimc"))])[0]
    assert cost.latency_cycles == 23_997
    assert cost.energy_pj == pytest.approx(16.15e6, rel=1e-3)


@pytest.mark.parametrize(("name", "cycles"), [("aimc", 2415), ("dimc", 2391)])
def test_loads_use_what_bit_serial_computing_leaves_free(name: str, cycles: int) -> None:
    """Figures of zigzag-dse 3.9.1. An operation takes several cycles, so the other movements want less in a cycle."""
    engine = NativeEngine(loma_lpf_limit=4, loads_overlap_computation=True)
    (cost,) = engine.price([(LayerShape(Op.DENSE, k=8, c=256, b=64), shipped(name))])
    assert cost.latency_cycles == cycles


def test_arrays_that_the_model_does_not_cover_are_refused() -> None:
    assert why_not(native_toys.core()) == ""
    assert why_not(imc_core(DIGITAL)) == ""
    assert "power of two" in why_not(imc_core(DIGITAL, rows=6))
    two_weights = replace(imc_core(DIGITAL), imc=replace(DIGITAL, weight_bits=4))
    with pytest.raises(UnsupportedLayerError, match="holds 8 bits, more than one 4-bit weight"):
        NativeEngine().price([(LayerShape(Op.DENSE, k=4, c=4), two_weights)])
