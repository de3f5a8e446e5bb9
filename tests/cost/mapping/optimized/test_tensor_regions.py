"""Parts of tensors: cuts without gaps, and the input rows that output rows need, counted one by one."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.cost.mapping.optimized.tensor_regions import (
    Axis,
    Layout,
    TensorShape,
    even_cuts,
    input_tensor,
    needed_region,
    needed_rows,
    output_tensor,
)
from offramp.cost.schedule import Region
from offramp.workload.layer import LayerShape, Op, conv_output_size
from tests.cost.mapping.optimized.networks import conv


def test_region_by_hand() -> None:
    region = Region(2, 6, 1, 4)
    assert (region.channels, region.rows, region.empty) == (4, 3, False)
    assert region.overlap(Region(4, 9, 0, 2)) == Region(4, 6, 1, 2)
    assert region.overlap(Region(6, 9, 0, 2)).empty
    assert Region(5, 3, 0, 1).channels == 0


def test_tensor_bits() -> None:
    tensor = TensorShape(6, 4, 32)
    assert tensor.size_bits == 6 * 4 * 32
    assert tensor.bits(Region(0, 2, 1, 3)) == 2 * 2 * 32
    assert output_tensor(conv(8, 3, 5)) == TensorShape(5, 8, 64)
    assert input_tensor(conv(8, 3, 5, stride=2)) == TensorShape(3, 8, 64)


@given(st.integers(1, 200), st.integers(1, 9))
def test_cuts_are_even_and_complete(size: int, count: int) -> None:
    cuts = even_cuts(size, count)
    parts = [b - a for a, b in itertools.pairwise(cuts)]
    assert sum(parts) == size
    assert len(parts) == count
    assert max(parts) - min(parts) <= 1


@given(st.sampled_from(list(Axis)), st.integers(1, 12), st.integers(1, 9), st.integers(1, 4), st.integers(1, 3))
def test_layouts_hold_every_cell_once(axis: Axis, groups: int, rows: int, count: int, step: int) -> None:
    tensor = TensorShape(groups * step, rows, 8)
    cores = tuple(f"core{i}" for i in range(1 if axis is Axis.WHOLE else count))
    regions = Layout(axis, cores, step).regions(tensor)
    assert len(regions) == len(cores)
    cells = [
        (c, y) for r in regions for c in range(r.first_channel, r.end_channel) for y in range(r.first_row, r.end_row)
    ]
    assert sorted(cells) == [(c, y) for c in range(groups * step) for y in range(rows)]
    assert all(r.first_channel % step == 0 for r in regions)


@given(
    rows=st.integers(3, 20),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.integers(0, 2),
    data=st.data(),
)
def test_needed_rows_hold_all_that_the_kernel_touches(
    rows: int, kernel: int, stride: int, dilation: int, padding: int, data: st.DataObject
) -> None:
    out = conv_output_size(rows, kernel, stride, 2 * padding, dilation)
    if out < 1:
        return
    shape = LayerShape(
        Op.CONV,
        oy=out,
        fy=kernel,
        iy=rows,
        stride_y=stride,
        dilation_y=dilation,
        padding=(padding, 0, padding, 0),
    )
    first = data.draw(st.integers(0, out - 1))
    end = data.draw(st.integers(first + 1, out))
    touched = {
        y * stride + f * dilation - padding
        for y in range(first, end)
        for f in range(kernel)
        if 0 <= y * stride + f * dilation - padding < rows
    }
    low, high = needed_rows(shape, first, end)
    assert 0 <= low < high <= rows
    assert touched <= set(range(low, high))
    if touched and dilation == 1 and stride <= kernel:
        assert (low, high) == (min(touched), max(touched) + 1)


@pytest.mark.parametrize(
    ("shape", "result", "needed"),
    [
        (conv(8, 4, 6, kernel=3), Region(0, 2, 2, 4), Region(0, 4, 1, 5)),
        (conv(8, 6, 6, kernel=3, groups=6), Region(1, 3, 0, 4), Region(1, 3, 0, 5)),
        (conv(8, 8, 4, groups=2), Region(2, 4, 0, 8), Region(4, 8, 0, 8)),
        (LayerShape(Op.DENSE, k=10, c=4 * 64), Region(0, 3, 0, 1), Region(0, 4, 0, 8)),
        (LayerShape(Op.ADD, g=4, oy=8, ox=8, iy=8, ix=8), Region(1, 2, 3, 5), Region(1, 2, 3, 5)),
        (conv(8, 4, 6), Region(3, 3, 0, 0), Region(0, 0, 0, 0)),
    ],
)
def test_needed_regions(shape: LayerShape, result: Region, needed: Region) -> None:
    channels = 4 if shape.op is Op.DENSE else shape.g * shape.c
    assert needed_region(shape, result, TensorShape(channels, 8, 64)) == needed
