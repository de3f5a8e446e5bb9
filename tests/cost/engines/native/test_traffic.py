"""Reuse and unit counts by hand."""

import numpy as np
import pytest

from offramp.cost.engines.native.loop_mapping import OperandUnrolling, TemporalLoop, Unrolling, all_orderings
from offramp.cost.engines.native.loop_nest import loop_nest
from offramp.cost.engines.native.operand_sizes import TensorSizes
from offramp.cost.engines.native.traffic import reuse_of, traffic_of, unit_counts
from offramp.workload.layer import LayerShape, Op

LOOPS = (TemporalLoop("K", 2), TemporalLoop("C", 3), TemporalLoop("D", 5))
NEST = loop_nest(LayerShape(Op.DENSE, b=5, k=2, c=3))


def column_of(*dims: str) -> int:
    orders = all_orderings(LOOPS)
    return next(c for c in range(orders.count) if tuple(loop.dim for loop in orders.describe(c)) == dims)


def prefix() -> np.ndarray:
    orders = all_orderings(LOOPS)
    sizes = np.array([loop.size for loop in orders.loops])[orders.index]
    return np.vstack([np.ones((1, orders.count)), np.cumprod(sizes, axis=0)]).astype(np.float64)


def bounds(*stops: int) -> np.ndarray:
    return np.repeat(np.array([[0], *([stop] for stop in stops)]), 6, axis=1)


def test_loops_that_reuse_what_a_level_holds_belong_to_it() -> None:
    weights = NEST.operands[2]
    reuse = reuse_of(weights, bounds(1, 3), all_orderings(LOOPS), prefix())
    # K | D C: the batch loop D does not change the weights, so it is moved below; C stays outside.
    column = column_of("K", "D", "C")
    assert reuse.bounds[:, column].tolist() == [0, 2, 3]
    assert reuse.cycles[:, column].tolist() == [1, 10, 30]
    assert reuse.top_irrelevant[:, column].tolist() == [1, 5, 1]
    assert reuse.top_relevant[:, column].tolist() == [1, 1, 3]
    # D first: what the array is given lasts 5 cycles.
    assert reuse.cycles[0, column_of("D", "K", "C")] == 5


def test_partial_sums_travel_while_a_loop_that_adds_is_further_out() -> None:
    output = NEST.operands[0]
    reuse = reuse_of(output, bounds(1, 3), all_orderings(LOOPS), prefix())
    sizes = TensorSizes.of(output, OperandUnrolling(((), (), ())), all_orderings(LOOPS))
    traffic = traffic_of(NEST, output, sizes, reuse)
    column = column_of("K", "D", "C")
    assert traffic.data[:, column].tolist() == [1, 2, 10]
    assert traffic.unfinished[:, column].tolist() == [True, True, False]
    assert traffic.bits[:, column].tolist() == [16, 16, 8]
    assert traffic.back_bits[:, column].tolist() == [16, 16, 0]
    # C innermost stays in the register: only finished outputs leave it.
    inner = column_of("C", "K", "D")
    assert traffic.unfinished[:, inner].tolist() == [True, False, False]
    assert traffic.link_bits[:, inner].tolist() == [16, 8, 8]


def test_lanes_that_add_to_one_output_leave_partial_sums_behind() -> None:
    output = NEST.operands[0]
    reuse = reuse_of(output, bounds(3, 3), all_orderings(LOOPS), prefix())
    spread = OperandUnrolling(((), (Unrolling("C", 2),), ()))
    traffic = traffic_of(NEST, output, TensorSizes.of(output, spread, all_orderings(LOOPS)), reuse)
    assert traffic.unfinished[0].all()
    assert not traffic.unfinished[1].any()
    assert traffic.units == (2, 2, 1)


def test_units_and_broadcast() -> None:
    conv = loop_nest(LayerShape(Op.CONV, k=8, c=4, oy=4, ox=4, fy=3, fx=3, iy=4, ix=4))
    below = (Unrolling("K", 8), Unrolling("C", 4))
    output, weights, inputs = (unit_counts(o, OperandUnrolling((below, ()))) for o in conv.operands)
    assert output.units == weights.units == inputs.units == (32, 1)
    # One memory feeds 32 different weights, 4 different inputs to 8 lanes each; 8 outputs come back.
    assert (output.boost, weights.boost, inputs.boost) == ((8,), (32,), (4,))


def test_overlapping_windows_are_fetched_once() -> None:
    inputs = loop_nest(LayerShape(Op.CONV, oy=1, ox=8, fy=1, fx=3, iy=1, ix=10)).operands[2]
    counts = unit_counts(inputs, OperandUnrolling(((Unrolling("OX", 4), Unrolling("FX", 3)), ())))
    assert counts.units == (12, 1)
    assert counts.boost == (6,)


@pytest.mark.parametrize("factor", [1.5, 2.5])
def test_fractional_units_are_rounded(factor: float) -> None:
    weights = NEST.operands[2]
    assert unit_counts(weights, OperandUnrolling(((), (Unrolling("K", factor),), ()))).units == (
        round(factor),
        round(factor),
        1,
    )
