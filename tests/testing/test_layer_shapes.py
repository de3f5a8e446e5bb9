"""Worked out by hand."""

from offramp.testing.layer_shapes import square_convolution
from offramp.workload.layer import LayerShape, Op


def test_a_square_convolution() -> None:
    # 9 rows, one of padding on both sides, a kernel of 3 every 2: at 0, 2, 4, 6 and 8.
    wanted = LayerShape(Op.CONV, 1, 2, 3, 4, 5, 5, 3, 3, 9, 9, 2, 2, padding=(1, 1, 1, 1))
    assert square_convolution(9, 8, 6, kernel=3, stride=2, groups=2) == wanted
    assert square_convolution(9, 8, 6).macs == 81 * 48
