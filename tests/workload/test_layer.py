"""Loop sizes to counts, by hand and against torch."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from offramp.workload.layer import LayerShape, Op, conv_output_size

# 3 -> 16 channels, 3x3, stride 2, 32x32 -> 16x16 with padding 1 at the top and left only as far as needed.
CONV = LayerShape(
    Op.CONV, k=16, c=3, oy=16, ox=16, fy=3, fx=3, iy=32, ix=32, stride_y=2, stride_x=2, padding=(1, 1, 0, 0)
)
DEPTHWISE = LayerShape(Op.CONV, g=32, oy=8, ox=8, fy=5, fx=5, iy=8, ix=8, padding=(2, 2, 2, 2))
POOL = LayerShape(Op.MAX_POOL, g=32, oy=4, ox=4, fy=2, fx=2, iy=8, ix=8, stride_y=2, stride_x=2)
DENSE = LayerShape(Op.DENSE, k=10, c=128)


def test_counts_of_a_convolution() -> None:
    assert CONV.macs == 16 * 3 * 9 * 16 * 16 == 110_592
    assert CONV.num_weights == 432
    assert CONV.num_outputs == 4096
    assert CONV.num_inputs == 3 * 1024
    assert CONV.num_padded_inputs == 3 * 33 * 33
    assert CONV.weight_size_bits == 432 * 8
    assert replace(CONV, activation_bits=4).output_size_bits == 4096 * 4


def test_counts_of_a_depthwise_convolution_and_a_dense_layer() -> None:
    assert DEPTHWISE.macs == 32 * 25 * 64
    assert DEPTHWISE.num_weights == 800
    assert DEPTHWISE.num_padded_inputs == 32 * 12 * 12
    assert DENSE.macs == DENSE.num_weights == 1280
    assert (DENSE.num_inputs, DENSE.num_outputs) == (128, 10)


def test_only_convolution_and_dense_layers_have_macs_and_weights() -> None:
    assert POOL.macs == POOL.num_weights == POOL.weight_size_bits == 0
    assert POOL.num_outputs == 512
    for op in Op:
        shape = LayerShape(op, g=4, oy=2, ox=2, iy=2, ix=2)
        assert (shape.macs > 0) == (op in (Op.CONV, Op.DENSE))


def test_a_batch_multiplies_work_but_not_weights() -> None:
    batch = replace(CONV, b=4)
    assert batch.macs == 4 * CONV.macs
    assert batch.num_inputs == 4 * CONV.num_inputs
    assert batch.num_weights == CONV.num_weights


@pytest.mark.parametrize(("weight", "activation", "sums"), [(8, 8, 16), (2, 4, 6), (32, 32, 32), (16, 17, 32)])
def test_partial_sums_are_as_wide_as_a_product_up_to_32_bits(weight: int, activation: int, sums: int) -> None:
    assert replace(CONV, weight_bits=weight, activation_bits=activation).partial_sum_bits == sums


@pytest.mark.parametrize("name", ["b", "g", "k", "c", "oy", "ox", "fy", "ix", "stride_x", "dilation_y", "weight_bits"])
def test_sizes_are_at_least_one(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be >= 1, got 0"):
        replace(CONV, **{name: 0})


def test_padding_is_not_negative() -> None:
    with pytest.raises(ValueError, match="`padding`"):
        replace(CONV, padding=(0, 0, -1, 0))


@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3))
def test_output_size_is_what_torch_makes(size: int, kernel: int, stride: int, side: int, dilation: int) -> None:
    expected = conv_output_size(size, kernel, stride, 2 * side, dilation)
    if expected < 1:
        return
    image = torch.zeros(1, 1, 1, size)
    weight = torch.zeros(1, 1, 1, kernel)
    made = torch.nn.functional.conv2d(image, weight, stride=stride, padding=(0, side), dilation=dilation)
    assert made.shape[-1] == expected


def test_inputs_may_be_wider_or_narrower_than_what_is_written() -> None:
    conv = LayerShape(Op.CONV, k=2, c=3, weight_bits=4, activation_bits=8, input_bits=(6,))
    assert (conv.bits_of_input(0), conv.partial_sum_bits) == (6, 10)
    addition = LayerShape(Op.ADD, g=3, activation_bits=8, input_bits=(8, 4))
    assert (addition.bits_of_input(0), addition.bits_of_input(1)) == (8, 4)
    # Equal widths are said in one way only, so that equal layers are equal.
    assert LayerShape(Op.ADD, g=3, activation_bits=8, input_bits=(8, 8)) == LayerShape(Op.ADD, g=3, activation_bits=8)
    assert LayerShape(Op.ADD, g=3, activation_bits=4).bits_of_input(1) == 4
    with pytest.raises(ValueError, match="`input_bits` must be >= 1"):
        LayerShape(Op.CONV, input_bits=(0,))
