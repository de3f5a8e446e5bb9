"""A layer in C: its constants, and the call."""

from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.targets.c.arena_plan import ArenaPlan
from offramp.deploy.targets.c.c_text import array_text
from offramp.deploy.targets.c.fast_rescaling import MIDDLE, FastRescaling, fast_addition, fast_rescaling
from offramp.deploy.targets.c.program import (
    Addition,
    AveragePool,
    Convolution,
    FeatureMap,
    Layer,
    MaxPool,
    Requantisation,
    Window,
    grid_of,
)
from offramp.deploy.targets.c.weight_rows import flash_weights, is_channelwise, places_of, row_length, stored_bits


@singledispatch
def layer_call(layer: Layer, label: str, plan: ArenaPlan) -> tuple[str, str]:
    """Write a layer.

    Args:
        layer: The layer.
        label: What the names of its constants end with.
        plan: Where maps lie.

    Returns:
        Definitions, and the call.

    Raises:
        TypeError: The layer is of an unknown type.
    """
    raise TypeError(type(layer).__name__)


@layer_call.register
def _(layer: Convolution, label: str, plan: ArenaPlan) -> tuple[str, str]:
    source = grid_of(layer.source)
    names = [f"weight_{label}", f"bias_{label}", "NULL", "NULL"]
    texts = [
        array_text("static const int8_t", names[0], flash_weights(layer)),
        array_text("static const int32_t", names[1], _stored_bias(layer)),
    ]
    fields: tuple[int, ...] = (0,) * 8
    if layer.scaling is not None:
        fast = fast_rescaling(layer.scaling, int(layer.largest_sums.max()), grid_of(layer.output))
        names[2:] = [f"scale_{label}", f"shift_{label}"]
        texts.append(array_text("static const int32_t", names[2], fast.scale))
        texts.append(array_text("static const uint8_t", names[3], fast.shift))
        fields = fast.fields
    values = [
        _window(layer.source, layer.output, layer.window),
        *(layer.groups, source.zero_point - MIDDLE, row_length(layer), stored_bits(layer), places_of(layer)),
        *names,
        _rescaling(fields),
    ]
    texts.append(f"static const convolution layer_{label} = {{{', '.join(map(str, values))}}};\n")
    start = f"&layer_{label}, {_place(layer.source, plan)}, columns"
    if layer.scaling is None:
        return "".join(texts), f"convolve_sums({start}, sums);"
    kernel = "convolve_depthwise" if is_channelwise(layer) else "convolve"
    return "".join(texts), f"{kernel}({start}, {_place(layer.output, plan)});"


def _stored_bias(layer: Convolution) -> NDArray[np.int64]:
    """Biases of sums over inputs as they are stored: less what the zero point adds."""
    rows = layer.weight.reshape(len(layer.weight), -1).astype(np.int64).sum(axis=1)
    result: NDArray[np.int64] = layer.bias - (grid_of(layer.source).zero_point - MIDDLE) * rows
    return result


@layer_call.register
def _(layer: Addition, label: str, plan: ArenaPlan) -> tuple[str, str]:
    first, second = (grid_of(item) for item in layer.sources)
    output, scaling = grid_of(layer.output), layer.scaling
    *scales, offset, fraction, mask, doubtful = fast_addition(scaling, (first, second), output)
    zeros = ", ".join(str(grid.zero_point - MIDDLE) for grid in (first, second))
    fields = (
        layer.output.size,
        f"{{{zeros}}}",
        f"{{{', '.join(str(int(value)) for value in scaling.multiplier)}}}",
        f"{int(scaling.shift[0])}u",
        f"{{{', '.join(map(str, scales))}}}",
        offset,
        *(f"{value}u" for value in (fraction, mask, doubtful)),
        output.zero_point - MIDDLE,
        output.top - MIDDLE,
    )
    text = f"static const addition layer_{label} = {{{', '.join(map(str, fields))}}};\n"
    places = ", ".join(_place(item, plan) for item in (*layer.sources, layer.output))
    return text, f"add(&layer_{label}, {places});"


@layer_call.register
def _(layer: AveragePool, label: str, plan: ArenaPlan) -> tuple[str, str]:
    text = f"static const window window_{label} = {_window(layer.source, layer.output, layer.window)};\n"
    count = layer.window.kernel[0] * layer.window.kernel[1]
    more, rest = _requantised(layer, label, count, plan)
    return text + more, f"pool_average(&window_{label}, {_place(layer.source, plan)}, {rest}"


@layer_call.register
def _(layer: MaxPool, label: str, plan: ArenaPlan) -> tuple[str, str]:
    text = f"static const window window_{label} = {_window(layer.source, layer.output, layer.window)};\n"
    return text, f"pool_max(&window_{label}, {_place(layer.source, plan)}, {_place(layer.output, plan)});"


@layer_call.register
def _(layer: Requantisation, label: str, plan: ArenaPlan) -> tuple[str, str]:
    text, rest = _requantised(layer, label, 1, plan)
    return text, f"change_grid({_place(layer.source, plan)}, {layer.output.size}, {rest}"


def _requantised(layer: AveragePool | Requantisation, label: str, count: int, plan: ArenaPlan) -> tuple[str, str]:
    """Constants, and the last arguments of a layer that requantises sums of ``count`` values with one factor."""
    source = grid_of(layer.source)
    largest = count * max(source.zero_point, source.top - source.zero_point)
    fast: FastRescaling = fast_rescaling(layer.scaling, largest, grid_of(layer.output))
    text = f"static const rescaling rescaling_{label} = {_rescaling(fast.fields)};\n"
    numbers = f"{source.zero_point - MIDDLE}, {int(fast.scale[0])}, {int(fast.shift[0])}u"
    return text, f"{numbers}, &rescaling_{label}, {_place(layer.output, plan)});"


def _rescaling(fields: tuple[int, ...]) -> str:
    lift, fraction, mask, doubtful, offset, zero, top, base = fields
    return f"{{{lift}u, {fraction}u, {mask}u, {doubtful}u, {offset}, {zero}, {top}, {base}u}}"


def _place(item: FeatureMap, plan: ArenaPlan) -> str:
    return f"arena + {plan.offsets[item]}"


def _window(source: FeatureMap, output: FeatureMap, window: Window) -> str:
    numbers = (
        *(source.height, source.width, source.channels, output.height, output.width, output.channels),
        *(*window.kernel, *window.stride, *window.dilation, *window.padding),
    )
    return f"{{{', '.join(map(str, numbers))}}}"
