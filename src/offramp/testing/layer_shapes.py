"""Layer shapes in few words, for tests and measurements of cost engines."""

from offramp.workload.layer import LayerShape, Op, conv_output_size


def square_convolution(
    size: int, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> LayerShape:
    """A convolution of a square map that keeps its resolution but for the stride; channels are those of all groups."""
    out = conv_output_size(size, kernel, stride, 2 * (kernel // 2))
    return LayerShape(
        Op.CONV,
        g=groups,
        k=outputs // groups,
        c=inputs // groups,
        oy=out,
        ox=out,
        fy=kernel,
        fx=kernel,
        iy=size,
        ix=size,
        stride_y=stride,
        stride_x=stride,
        padding=(kernel // 2,) * 4,
    )
