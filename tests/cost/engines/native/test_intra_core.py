"""Whole mappings priced by hand on cores with few parts."""

import numpy as np
import pytest

from offramp.cost.engines.native.intra_core import MappingCosts, evaluate_orderings
from offramp.cost.engines.native.loop_mapping import (
    Orderings,
    TemporalLoop,
    all_orderings,
    plan_spatial,
    temporal_loops,
)
from offramp.cost.engines.native.loop_nest import loop_nest
from offramp.cost.engines.native.memory_levels import view_core
from offramp.hardware.accelerator import Core, SpatialLoop
from offramp.workload.layer import LayerShape, Op
from tests.cost.engines.native import native_toys

DENSE = LayerShape(Op.DENSE, k=4, c=3)
ON_LANES = (SpatialLoop("D1", "K", 2),)


def costs_of(
    shape: LayerShape, core: Core, mapping: tuple[SpatialLoop, ...], fill_early: bool = False
) -> tuple[MappingCosts, Orderings]:
    nest, view = loop_nest(shape), view_core(core)
    plan = plan_spatial(nest, view, mapping)
    orderings = all_orderings(temporal_loops(nest, plan, 6))
    return evaluate_orderings(nest, view, plan, orderings, fill_early=fill_early), orderings


def column_of(costs: MappingCosts, *loops: tuple[str, int]) -> int:
    wanted = tuple(TemporalLoop(dim, size) for dim, size in loops)
    found: int = next(c for c in range(costs.count) if costs.orderings.describe(c) == wanted)
    return found


def test_a_dense_layer_on_one_memory() -> None:
    """4 outputs of 3 inputs on two lanes, 8-bit operands, 16-bit partial sums, 8 bits a cycle each way."""
    costs, _ = costs_of(DENSE, native_toys.core(), ON_LANES)
    assert costs.count == 2
    assert costs.temporal_cycles == 6
    assert costs.mac_energy_pj == 12 * 100
    inner_c = column_of(costs, ("C", 3), ("K", 2))
    output, inputs, weights = (found[0, inner_c] for found in costs.memory_energy_pj)
    # Two 16-bit sums are written and read back in every cycle: 4 words each way.
    assert output == 6 * 4 * 10 + 6 * 4 * 1
    assert inputs == 6
    assert weights == 6 * 2
    # Reads take 1 + 2 + 4 cycles where there is one: each of 5 further cycles is (1-1) + (2-1) + (4-1) late, and the
    # three windows of 5 cycles stand in 6 cycles, 9 more than there are.
    assert costs.stall_cycles[inner_c] == 5 * 1 + 5 * 3 + (15 - 6)
    assert costs.onload_cycles[inner_c] == 0
    assert costs.latency_cycles[inner_c] == 6 + 29
    assert costs.energy_pj[inner_c] == 1200 + output + inputs + weights


def test_an_input_that_stays_is_read_once_per_use() -> None:
    costs, _ = costs_of(DENSE, native_toys.core(), ON_LANES)
    inner_k = column_of(costs, ("K", 2), ("C", 3))
    # With K inside, each input serves two cycles: 3 reads, each with a window of 2 cycles.
    assert costs.memory_energy_pj[1][0, inner_k] == 3
    # 20 late as before; the input is early by (1 - 2) x 2; windows 4 + 5 + 5 in 6 cycles.
    assert costs.stall_cycles[inner_k] == 20 + (-2 + 14 - 6)


def test_wider_ports_remove_the_stall() -> None:
    core = native_toys.core(native_toys.memory("ram", "I1 I2 O", bandwidth_bits=64))
    costs, _ = costs_of(DENSE, core, ON_LANES)
    # Three reads of one cycle each still share one port: windows 5 + 5 + 5 in 6 cycles.
    assert costs.stall_cycles[column_of(costs, ("C", 3), ("K", 2))] == 15 - 6
    # A word is paid in full even where 16 of its 64 bits are used.
    assert costs.memory_energy_pj[2][0].tolist() == [6, 6]


def test_loading_and_draining_through_two_levels() -> None:
    """A register of one weight per lane under the memory: loads and drains are counted before and after."""
    registers = native_toys.memory("rf", "I2", size_bits=8, served=())
    costs, _ = costs_of(DENSE, native_toys.core(registers, native_toys.memory("ram", "I1 I2 O")), ON_LANES)
    # 2 registers hold 1 weight each and are refilled every cycle; the memory reads 2 words a time.
    weights = costs.memory_energy_pj[2]
    assert weights[0].tolist() == [2 * 6 * (1 + 10)] * 2
    assert weights[1].tolist() == [6 * 2] * 2
    # First fill: the register's write takes 1 cycle, the memory's read 2; the longer counts.
    assert costs.onload_cycles.tolist() == [2, 2]
    assert costs.offload_cycles.tolist() == [0, 0]


def test_orders_that_do_not_fit_are_left_out() -> None:
    small = native_toys.memory("buffer", "I1", size_bits=8)
    tight = native_toys.core(small, native_toys.memory("ram", "I1 I2 O"))
    assert costs_of(DENSE, tight, ON_LANES)[0].count == 2
    # A pixel row of a convolution laid out over the lanes needs two inputs at once: 16 bits.
    conv = LayerShape(Op.CONV, oy=1, ox=4, iy=1, ix=4)
    assert costs_of(conv, tight, (SpatialLoop("D1", "OX", 2),))[0].count == 0
    assert costs_of(DENSE, native_toys.core(native_toys.memory("ram", "I1 I2 O", size_bits=100)), ())[0].count == 0


def test_nothing_fits_a_memory_that_must_hold_everything() -> None:
    # 3 inputs, 12 weights, 4 outputs of 8 bits: 152 bits. While C is still to come outputs are 16 bits wide: 184.
    assert costs_of(DENSE, native_toys.core(native_toys.memory("ram", "I1 I2 O", size_bits=184)), ())[0].count > 0
    assert costs_of(DENSE, native_toys.core(native_toys.memory("ram", "I1 I2 O", size_bits=183)), ())[0].count == 0


def test_systolic_dimensions_drain_a_cycle_per_unit() -> None:
    plain, _ = costs_of(DENSE, native_toys.core(), ON_LANES)
    systolic, _ = costs_of(DENSE, native_toys.core(systolic=("D1",)), ON_LANES)
    assert (systolic.offload_cycles - plain.offload_cycles).tolist() == [1, 1]


def test_loads_that_happen_once_hide_behind_computing() -> None:
    # A buffer for all 3 inputs is filled once: 3 words that the memory's port has time for while computing goes on.
    buffer = native_toys.memory("buffer", "I1", size_bits=24)
    wide = native_toys.memory("ram", "I1 I2 O", bandwidth_bits=64)
    core = native_toys.core(buffer, wide)
    before, _ = costs_of(DENSE, core, ON_LANES)
    beside, _ = costs_of(DENSE, core, ON_LANES, fill_early=True)
    assert (beside.onload_cycles <= before.onload_cycles).all()
    assert before.onload_cycles.tolist() == [3, 3]
    assert beside.onload_cycles.min() >= 1
    np.testing.assert_array_equal(beside.energy_pj, before.energy_pj)
    np.testing.assert_array_equal(beside.stall_cycles, before.stall_cycles)


def test_totals_are_the_sum_of_the_parts() -> None:
    shape = LayerShape(Op.CONV, k=6, c=5, oy=4, ox=4, fy=3, fx=3, iy=4, ix=4, padding=(1, 1, 1, 1))
    registers = native_toys.memory("rf", "I2 O", size_bits=64, served=())
    core = native_toys.core(registers, native_toys.memory("ram", "I1 I2 O", bandwidth_bits=32), lanes=4)
    costs, orderings = costs_of(shape, core, (SpatialLoop("D1", "K", 3),))
    assert 0 < costs.count <= orderings.count
    parts = costs.temporal_cycles + costs.stall_cycles + costs.onload_cycles + costs.offload_cycles
    np.testing.assert_allclose(costs.latency_cycles, parts)
    energy = sum(found.sum(axis=0) for found in costs.memory_energy_pj) + costs.mac_energy_pj
    np.testing.assert_allclose(costs.energy_pj, energy)
    assert (costs.stall_cycles >= 0).all()
    assert [found[-1].max() for found in costs.bounds] == [len(orderings.index)] * 3


@pytest.mark.parametrize("double_buffering", [False, True])
def test_double_buffering_halves_what_a_memory_keeps(double_buffering: bool) -> None:
    buffer = native_toys.memory("buffer", "I1", size_bits=24, double_buffering=double_buffering)
    core = native_toys.core(buffer, native_toys.memory("ram", "I1 I2 O"))
    shape = LayerShape(Op.DENSE, b=5, k=2, c=3)
    costs, _ = costs_of(shape, core, ON_LANES)
    column = column_of(costs, ("C", 3), ("D", 5))
    # One row of 3 inputs fills the 24 bits; doubled it does not fit, and only single inputs are kept.
    assert costs.bounds[1][0, column] == (0 if double_buffering else 1)
