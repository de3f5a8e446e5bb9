"""Loop sizes worked out by hand."""

import pytest

from offramp.workload.layer import LayerShape, Op
from offramp.workload.layer_constructors import (
    BitWidths,
    FeatureMap,
    Window,
    convolution,
    dense,
    elementwise,
    global_pooling,
    matrix_product,
    normalization,
    pooling,
    stacked_product,
)


def test_a_window_with_uneven_padding_and_dilation() -> None:
    # y: rows 0 to 15 + 1 + 2 - 1, the kernel spans 5 rows, every 2nd: 14 / 2 + 1 = 7 (rounded down);
    # x: 20 + 0 + 3 columns, the kernel spans 5, every 3rd: 18 / 3 + 1 = 7.
    window = Window(3, 5, stride_y=2, stride_x=3, dilation_y=2, padding=(1, 0, 2, 3))
    assert window.output_size(15, 20) == (7, 7)


def test_a_grouped_convolution_has_channels_per_group() -> None:
    window = Window(3, 1, 2, 1, padding=(1, 0, 1, 0))
    shape = convolution(FeatureMap(6, 8, 4), FeatureMap(9, 4, 4), window, 3, BitWidths(2, 4, (8,)))
    assert shape == LayerShape(
        Op.CONV,
        g=3,
        k=3,
        c=2,
        oy=4,
        ox=4,
        fy=3,
        iy=8,
        ix=4,
        stride_y=2,
        padding=(1, 0, 1, 0),
        weight_bits=2,
        activation_bits=4,
        input_bits=(8,),
    )
    assert shape.macs == 3 * 3 * 2 * 16 * 3


def test_pooling_has_its_channels_as_groups() -> None:
    sliding = pooling(Op.MAX_POOL, FeatureMap(5, 6, 8), FeatureMap(5, 3, 4), Window(2, 2, 2, 2))
    assert sliding == LayerShape(Op.MAX_POOL, g=5, oy=3, ox=4, fy=2, fx=2, iy=6, ix=8, stride_y=2, stride_x=2)
    assert global_pooling(Op.AVG_POOL, FeatureMap(5, 6, 8)) == LayerShape(Op.AVG_POOL, g=5, fy=6, fx=8, iy=6, ix=8)


def test_a_product_of_computed_matrices_has_its_second_one_as_weights() -> None:
    # Two images of three heads: 7 rows of 4 times 4 rows of 5, for each of the six.
    shape = matrix_product((2, 3, 7, 4), (2, 3, 4, 5), activation_bits=6)
    assert (shape.op, shape.g, shape.oy, shape.ox, shape.iy, shape.ix) == (Op.CONV, 6, 7, 1, 7, 1)
    assert (shape.macs, shape.num_weights) == (6 * 7 * 4 * 5, 6 * 4 * 5)
    assert (shape.weight_bits, shape.activation_bits) == (6, 6)
    assert matrix_product((7, 4), (4, 5)).g == 1


def test_a_dense_layer_of_many_rows() -> None:
    shape = dense(9, 12, 4, BitWidths(2, 4))
    assert shape == LayerShape(Op.DENSE, b=9, k=4, c=12, weight_bits=2, activation_bits=4)


def test_what_treats_every_value_alike() -> None:
    values = FeatureMap.of_tokens((1, 2, 3, 5, 7))
    assert values == FeatureMap(7, 30)
    assert elementwise(Op.ADD, values) == LayerShape(Op.ADD, g=7, oy=30, iy=30)
    # Two reads and a write for each of the 210 values.
    assert normalization(values) == LayerShape(Op.MULTIPLY, g=7, oy=30, iy=30)


@pytest.mark.parametrize(
    ("left", "right", "groups", "rows", "macs"),
    [
        ((3, 4, 5), (3, 5, 6), 3, 4, 3 * 4 * 5 * 6),
        ((4, 5), (5, 6), 1, 4, 4 * 5 * 6),
        ((2, 3, 4, 5), (1, 1, 5, 6), 1, 24, 24 * 5 * 6),
        ((1, 4, 5), (7, 5, 6), 7, 4, 7 * 4 * 5 * 6),
        ((2, 1, 4, 5), (3, 5, 6), 6, 4, 6 * 4 * 5 * 6),
    ],
)
def test_stacks_of_matrices_are_groups_or_rows(
    left: tuple[int, ...], right: tuple[int, ...], groups: int, rows: int, macs: int
) -> None:
    shape = stacked_product(left, right)
    assert (shape.g, shape.oy, shape.macs) == (groups, rows, macs)


@pytest.mark.parametrize(("left", "right", "says"), [((3, 4, 5), (2, 5, 6), "leading axes"), ((5,), (5,), "no matri")])
def test_stacks_that_do_not_fit_are_refused(left: tuple[int, ...], right: tuple[int, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        stacked_product(left, right)


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="`g` must be >= 1, got 0"):
        elementwise(Op.ADD, FeatureMap(0))
