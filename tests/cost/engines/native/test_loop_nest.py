"""Loop nests against the definition of each operator."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.cost.engines.native.loop_nest import SlidingWindow, loop_nest, sparse_nest
from offramp.cost.sparsity_gain import SparseGain
from offramp.workload.layer import LayerShape, Op


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
def test_a_window_covers_as_many_indices_as_it_touches(positions: int, taps: int, stride: int) -> None:
    touched = {stride * p + t for p, t in itertools.product(range(positions), range(taps))}
    assert SlidingWindow("OX", "FX", stride, 1, size=10**6).covered(positions, taps) == len(touched)


def test_a_window_covers_no_more_than_the_input_without_padding() -> None:
    assert SlidingWindow("OX", "FX", 1, 1, size=8).covered(8, 3) == 8
    assert SlidingWindow("OX", "FX", 1, 1, size=100).covered(8, 3) == 10


def test_convolution() -> None:
    shape = LayerShape(
        Op.CONV, b=2, g=3, k=4, c=5, oy=6, ox=7, fy=3, fx=1, iy=8, ix=7, weight_bits=4, activation_bits=8
    )
    nest = loop_nest(shape)
    assert nest.operations == shape.macs
    assert sorted(nest.search_order) == sorted(nest.dims)
    output, weights, inputs = nest.operands
    assert (output.name, output.memory_operand, output.bits, output.partial_bits) == ("O", "O", 8, 12)
    assert (weights.name, weights.memory_operand, weights.bits) == ("W", "I2", 4)
    assert (inputs.name, inputs.memory_operand, inputs.bits) == ("I", "I1", 8)
    assert output.is_output
    assert not weights.is_output
    # FX has size 1: it neither adds to an output nor changes a weight.
    assert output.irrelevant == {"C", "FY"}
    assert weights.irrelevant == {"B", "OX", "OY"}
    assert weights.relevant == ("G", "K", "C", "FY")
    assert inputs.irrelevant == {"K"}
    assert [(w.position, w.tap, w.size) for w in inputs.windows] == [("OX", "FX", 7), ("OY", "FY", 8)]


def test_pooling_slides_over_channels_and_has_no_weights() -> None:
    nest = loop_nest(LayerShape(Op.MAX_POOL, g=16, oy=4, ox=4, fy=2, fx=2, iy=8, ix=8, stride_y=2, stride_x=2))
    assert nest.size("K") == 16
    assert nest.size("C") == 1
    assert nest.operations == 16 * 4 * 4 * 2 * 2
    assert [operand.bits for operand in nest.operands] == [8, 0, 8]
    # The defect of the published figures: every channel loops over all channels.
    defect = loop_nest(LayerShape(Op.AVG_POOL, g=16, c=16, oy=4, ox=4, fy=2, fx=2, iy=8, ix=8))
    assert defect.operations == 16 * nest.operations
    assert "C" in defect.operands[0].irrelevant


@pytest.mark.parametrize("op", [Op.ADD, Op.MULTIPLY])
def test_element_wise_operators_read_two_tensors(op: Op) -> None:
    nest = loop_nest(LayerShape(op, b=2, g=8, oy=3, ox=5, iy=3, ix=5, weight_bits=2, activation_bits=8))
    assert dict(zip(nest.dims, nest.sizes, strict=True)) == {"B": 2, "H": 8, "D": 3, "K": 5}
    assert [operand.bits for operand in nest.operands] == [8, 8, 8]
    assert all(operand.irrelevant == frozenset() for operand in nest.operands)


def test_dense_layers_run_over_batch_outputs_and_inputs() -> None:
    nest = loop_nest(LayerShape(Op.DENSE, b=3, k=10, c=20))
    assert dict(zip(nest.dims, nest.sizes, strict=True)) == {"D": 3, "K": 10, "C": 20}
    assert nest.operations == 600
    # A dense layer in groups is a convolution of one pixel.
    assert loop_nest(LayerShape(Op.DENSE, g=2, k=10, c=20)).size("G") == 2
    assert nest.size("G") == 1


def test_stored_weights_have_the_width_of_what_is_stored_and_all_else_keeps_its_own() -> None:
    nest = loop_nest(LayerShape(Op.DENSE, k=4, c=4))
    gain = SparseGain(cycles=0.5, mac_energy=0.5, stored_bits=5.0, plain_bits=8)
    sparse = sparse_nest(nest, gain)
    widths = {item.memory_operand: (item.bits, item.partial_bits) for item in sparse.operands}
    plain = {item.memory_operand: (item.bits, item.partial_bits) for item in nest.operands}
    assert widths == plain | {"I2": (5.0, 5.0)}
    assert sparse.bits("I2") == 8
    assert sparse.sparsity == gain
    assert sparse_nest(nest, None) is nest


def test_dummies_count_as_no_operation() -> None:
    nest = loop_nest(LayerShape(Op.DENSE, k=4, c=5))
    longer = nest.padded({"C": 8})
    assert (longer.size("C"), longer.operations, longer.padded({"C": 9}).operations) == (8, 20, 20)
    assert nest.padded({"C": 5}) is nest
