"""Layer shapes in few words, for tests and measurements of cost engines."""

from offramp.workload.layer import LayerShape
from offramp.workload.layer_constructors import FeatureMap, Window, convolution


def square_convolution(
    size: int, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> LayerShape:
    """A convolution of a square map that keeps its resolution but for the stride.

    Args:
        size: Rows and columns of the map.
        inputs: Input channels of all groups.
        outputs: Output channels of all groups.
        kernel: Rows and columns of the kernel.
        stride: Step in both directions.
        groups: Number of groups.

    Returns:
        The layer's loop sizes, with 8-bit weights and activations.
    """
    window = Window(kernel, kernel, stride, stride, padding=(kernel // 2,) * 4)
    result = FeatureMap(outputs, *window.output_size(size, size))
    return convolution(FeatureMap(inputs, size, size), result, window, groups)
