"""Tensor sizes under prefixes of a loop order, whole and fractional unrollings alike."""

import numpy as np
import pytest

from offramp.cost.engines.native.loop_mapping import OperandUnrolling, TemporalLoop, Unrolling, all_orderings
from offramp.cost.engines.native.loop_nest import loop_nest
from offramp.cost.engines.native.operand_sizes import TensorSizes
from offramp.workload.layer import LayerShape, Op

SHAPE = LayerShape(Op.CONV, k=4, c=6, oy=8, ox=8, fy=3, fx=3, iy=8, ix=8, padding=(1, 1, 1, 1))
LOOPS = (TemporalLoop("C", 3), TemporalLoop("FX", 3), TemporalLoop("OX", 4))


def sizes_of(operand: int, *levels: tuple[Unrolling, ...]) -> TensorSizes:
    return TensorSizes.of(loop_nest(SHAPE).operands[operand], OperandUnrolling(levels), all_orderings(LOOPS))


def column_of(*dims: str) -> int:
    orders = all_orderings(LOOPS)
    return next(c for c in range(orders.count) if tuple(loop.dim for loop in orders.describe(c)) == dims)


def test_inputs_grow_with_channels_and_windows() -> None:
    sizes = sizes_of(2, (Unrolling("OX", 2),), (), ())
    none = np.zeros(sizes.factors.shape[2], dtype=np.int64)
    found = sizes.prefixes(0, sizes.start(), none)
    # 2 columns; 3 channels of them; with 3 taps 4 columns each; 8 positions: 10 columns, 8 without padding.
    assert found[:, column_of("C", "FX", "OX")].tolist() == [2, 6, 12, 24]
    assert found[:, column_of("OX", "FX", "C")].tolist() == [2, 8, 8, 24]


@pytest.mark.parametrize(
    ("stride", "dilation", "columns"),
    [
        # Of the columns stride * x + dilation * tap, with four positions and three taps:
        (1, 1, {0, 1, 2, 3, 4, 5}),
        (1, 2, {0, 1, 2, 3, 4, 5, 6, 7}),
        (2, 2, {0, 2, 4, 6, 8, 10}),
        (2, 1, {0, 1, 2, 3, 4, 5, 6, 7, 8}),
        (3, 2, {0, 2, 4, 3, 5, 7, 6, 8, 10, 9, 11, 13}),
    ],
)
def test_columns_that_windows_share_count_once(stride: int, dilation: int, columns: set[int]) -> None:
    assert columns == {stride * x + dilation * tap for x in range(4) for tap in range(3)}
    shape = LayerShape(Op.CONV, ox=4, fx=3, ix=20, stride_x=stride, dilation_x=dilation)
    loops = (TemporalLoop("FX", 3), TemporalLoop("OX", 4))
    orders = all_orderings(loops)
    sizes = TensorSizes.of(loop_nest(shape).operands[2], OperandUnrolling(((), ())), orders)
    found = sizes.prefixes(0, sizes.start(), np.zeros(orders.count, dtype=np.int64))
    assert found[-1].tolist() == [len(columns)] * 2


def test_unrollings_of_higher_levels_count_from_their_level_on() -> None:
    sizes = sizes_of(1, (), (Unrolling("K", 4),), ())
    none = np.zeros(sizes.factors.shape[2], dtype=np.int64)
    assert sizes.prefixes(0, sizes.start(), none)[-1].tolist() == [9] * 6
    assert sizes.prefixes(1, sizes.start(), none)[-1].tolist() == [36] * 6


def test_fractional_unrollings_multiply_in_the_order_of_allocation() -> None:
    # 6 channels over 5 lanes: two rounds of 3; 7 over 3: 2.333.
    sizes = sizes_of(1, (Unrolling("C", 7 / 3),), (), ())
    assert not sizes.whole
    column = column_of("C", "FX", "OX")
    first = np.zeros(6, dtype=np.int64)
    held = sizes.start()
    assert sizes.prefixes(0, held, first)[:, column] == pytest.approx([7 / 3, 7, 21, 21])
    after_c = sizes.advance(held, first, first + 1)
    assert sizes.prefixes(0, after_c, first + 1)[1:, column] == pytest.approx([7, 21, 21])


def test_an_operand_without_dims_has_one_element() -> None:
    scalar = loop_nest(LayerShape(Op.DENSE, k=1, c=6)).operands[0]
    sizes = TensorSizes.of(scalar, OperandUnrolling(((), ())), all_orderings((TemporalLoop("C", 6),)))
    assert sizes.prefixes(0, sizes.start(), np.zeros(1, dtype=np.int64)).tolist() == [[1], [1]]
