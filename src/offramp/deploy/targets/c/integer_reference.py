"""The integer network in numpy: sums of integers, requantised by a product in float32.

This is how the trained network computes in evaluation (`offramp.nn.quantization.activation_layers`). The C code uses
multiplications and shifts instead; both give the same integers, and every export is compared with this.
"""

from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.targets.c.program import (
    Addition,
    AveragePool,
    Convolution,
    FeatureMap,
    Layer,
    MaxPool,
    Program,
    Requantisation,
    Scaling,
    Window,
    grid_of,
    sources_of,
)

Values = NDArray[np.int64]


def quantised_inputs(inputs: NDArray[np.float32], image: FeatureMap) -> NDArray[np.uint8]:
    """Quantise network inputs.

    Args:
        inputs: Normalised inputs, (samples, channels, height, width).
        image: The quantised network input.

    Returns:
        Integers in memory order, (samples, height, width, channels).
    """
    grid = grid_of(image)
    whole = np.rint(inputs.astype(np.float32) / grid.step) + np.float32(grid.zero_point)
    return np.ascontiguousarray(whole.clip(0, grid.top).astype(np.uint8).transpose(0, 2, 3, 1))


def integer_sums(program: Program, inputs: NDArray[np.uint8]) -> tuple[Values, ...]:
    """Run all stages.

    Args:
        program: The network.
        inputs: Quantised inputs, (samples, height, width, channels).

    Returns:
        The sums of every exit, (samples, classes).
    """
    maps: dict[FeatureMap, Values] = {program.image: inputs.astype(np.int64)}
    results = []
    for stage in program.stages:
        for layer in stage.layers:
            maps[layer.output] = _compute(layer, *(maps[source] for source in sources_of(layer)))
        results.append(maps[stage.logits.output].reshape(len(inputs), -1))
    return tuple(results)


def logits_of_sums(sums: Values, steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert the sums of an exit to logits.

    Args:
        sums: (samples, classes).
        steps: What a sum of 1 stands for, (classes,).

    Returns:
        Logits, (samples, classes).
    """
    result: NDArray[np.float32] = (sums.astype(np.float64) * steps.astype(np.float64)).astype(np.float32)
    return result


@singledispatch
def _compute(layer: Layer, *sources: Values) -> Values:
    raise TypeError(type(layer).__name__)


@_compute.register
def _(layer: Convolution, source: Values) -> Values:
    windows = _windows(source - grid_of(layer.source).zero_point, layer.window, layer.output, 0)
    groups, count = layer.groups, len(layer.weight)
    parts = windows.reshape(*windows.shape[:-1], groups, -1)
    weight = layer.weight.astype(np.float64).reshape(groups, count // groups, *layer.weight.shape[1:])
    # Exact: all sums are below 2**53.
    total = np.einsum("nyxijgc,goijc->nyxgo", parts.astype(np.float64), weight, optimize=True)
    sums = np.rint(total).astype(np.int64).reshape(*total.shape[:3], count) + layer.bias
    return sums if layer.scaling is None else _stored(sums, layer.scaling, layer.output)


@_compute.register
def _(layer: Addition, first: Values, second: Values) -> Values:
    factors = np.ldexp(layer.scaling.multiplier.astype(np.float64), -layer.scaling.shift)
    a, b = (
        (values - grid_of(source).zero_point) * factor
        for values, source, factor in zip((first, second), layer.sources, factors, strict=True)
    )
    return _limited(np.rint(a + b), layer.output)


@_compute.register
def _(layer: AveragePool, source: Values) -> Values:
    windows = _windows(source - grid_of(layer.source).zero_point, layer.window, layer.output, 0)
    return _stored(windows.sum(axis=(3, 4)), layer.scaling, layer.output)


@_compute.register
def _(layer: MaxPool, source: Values) -> Values:
    result: Values = _windows(source, layer.window, layer.output, -1).max(axis=(3, 4))
    return result


@_compute.register
def _(layer: Requantisation, source: Values) -> Values:
    return _stored(source - grid_of(layer.source).zero_point, layer.scaling, layer.output)


def _windows(values: Values, window: Window, output: FeatureMap, fill: int) -> Values:
    """The values of all windows, (samples, rows, columns, kernel height, kernel width, channels)."""
    top, left = window.padding
    reach = [
        (size - 1) * stride + (kernel - 1) * dilation + 1
        for size, stride, kernel, dilation in zip(
            (output.height, output.width), window.stride, window.kernel, window.dilation, strict=True
        )
    ]
    height, width = values.shape[1:3]
    bottom, right = max(0, reach[0] - top - height), max(0, reach[1] - left - width)
    padded = np.pad(values, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    y = np.arange(output.height)[:, None] * window.stride[0] + np.arange(window.kernel[0]) * window.dilation[0]
    x = np.arange(output.width)[:, None] * window.stride[1] + np.arange(window.kernel[1]) * window.dilation[1]
    result: Values = padded[:, y[:, None, :, None], x[None, :, None, :]]
    return result


def _stored(sums: Values, scaling: Scaling, output: FeatureMap) -> Values:
    factor = np.ldexp(scaling.multiplier.astype(np.float64), -scaling.shift).astype(np.float32)
    return _limited(np.rint(sums.astype(np.float32) * factor), output)


def _limited(integers: NDArray[np.floating], output: FeatureMap) -> Values:
    grid = grid_of(output)
    result: Values = (integers.astype(np.float64) + grid.zero_point).clip(0, grid.top).astype(np.int64)
    return result
