"""Layers in integer arithmetic: uint8 between them, int8 weights, int32 sums, multiply and shift to requantise."""

from functools import singledispatch
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.nn.quantization.activation_layers import (
    GridMaxPool,
    GridToFloat,
    QuantizedAdd,
    QuantizedAveragePool,
    QuantizedIdentity,
    QuantizedLayer,
)
from offramp.nn.quantization.fake_quantize import quantize
from offramp.nn.quantization.fixed_point import FixedPoint, fixed_point, rescale, shift_right
from offramp.nn.quantization.matrix_layers import QuantizedMatrixLayer, per_channel


class IntegerLayer(nn.Module):
    """A layer that takes and gives uint8: the integers of a grid plus its zero point."""

    multiplier: Tensor
    shift: Tensor

    def __init__(self, layer: QuantizedLayer) -> None:
        super().__init__()
        self.limits = layer.limits if layer.bits is not None else None
        self.source_zero_points = tuple(-source.limits.lower for source in layer.known_sources())

    def _keep(self, factor: FixedPoint) -> None:
        self.register_buffer("multiplier", factor.multiplier.to(torch.int32))
        self.register_buffer("shift", factor.shift.to(torch.int8))

    def _centred(self, inputs: Tensor, index: int = 0) -> Tensor:
        return inputs.to(torch.int32) - self.source_zero_points[index]

    def _stored(self, integers: Tensor) -> Tensor:
        """Limit integers relative to the zero point, and give them as uint8."""
        assert self.limits is not None
        return (integers.clamp(self.limits.lower, self.limits.upper) - self.limits.lower).to(torch.uint8)

    def _factor(self) -> FixedPoint:
        return FixedPoint(self.multiplier.long(), self.shift.long())


class IntegerMatrixLayer(IntegerLayer):
    """Convolution or linear layer; the one that gives logits multiplies its sums by their step at the very end."""

    weight: Tensor
    bias: Tensor
    accumulator_step: Tensor

    def __init__(self, layer: QuantizedMatrixLayer) -> None:
        super().__init__(layer)
        whole = layer.integers()
        self.register_buffer("weight", whole.weight.to(torch.int8))
        self.register_buffer("bias", whole.bias.to(torch.int32))
        self.is_convolution = layer.is_convolution
        if layer.is_convolution:
            self.stride, self.padding, self.dilation = layer.stride, layer.padding, layer.dilation
            self.groups = layer.groups
        if whole.factor is None:
            self.register_buffer("accumulator_step", whole.accumulator_step)
        else:
            self._keep(whole.factor)

    def forward(self, inputs: Tensor) -> Tensor:
        centred, weight = self._centred(inputs), self.weight.to(torch.int32)
        if self.is_convolution:
            total = F.conv2d(centred, weight, None, self.stride, self.padding, self.dilation, self.groups)
        else:
            total = F.linear(centred, weight)
        total = total + per_channel(self.bias, total)
        if self.limits is None:
            return (total.double() * per_channel(self.accumulator_step.double(), total)).float()
        factor = FixedPoint(per_channel(self.multiplier.long(), total), per_channel(self.shift.long(), total))
        return self._stored(rescale(total.long(), factor))


class IntegerEntry(IntegerLayer):
    """From floats to uint8."""

    step: Tensor

    def __init__(self, layer: QuantizedIdentity) -> None:
        super().__init__(layer)
        self.register_buffer("step", layer.step)

    def forward(self, inputs: Tensor) -> Tensor:
        assert self.limits is not None
        return self._stored(quantize(inputs.float(), self.step, self.limits))


class IntegerIdentity(IntegerLayer):
    """From one grid to another."""

    def __init__(self, layer: QuantizedIdentity) -> None:
        super().__init__(layer)
        (source,) = layer.known_sources()
        self._keep(fixed_point(source.step / layer.step))

    def forward(self, inputs: Tensor) -> Tensor:
        return self._stored(rescale(self._centred(inputs).long(), self._factor()))


class IntegerAdd(IntegerLayer):
    """Sum of two values on grids of their own."""

    def __init__(self, layer: QuantizedAdd) -> None:
        super().__init__(layer)
        self._keep(layer.factors())

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        factor = self._factor()
        total = (
            self._centred(first, 0).long() * factor.multiplier[0]
            + self._centred(second, 1).long() * factor.multiplier[1]
        )
        return self._stored(shift_right(total, factor.shift[0]))


class IntegerAveragePool(IntegerLayer):
    """Sum over windows, rescaled; the number of values in a window is known when a map comes in."""

    source_step: Tensor
    step: Tensor

    def __init__(self, layer: QuantizedAveragePool) -> None:
        super().__init__(layer)
        (source,) = layer.known_sources()
        self.window = layer.window
        self.register_buffer("source_step", source.step)
        self.register_buffer("step", layer.step)

    def forward(self, inputs: Tensor) -> Tensor:
        window, (height, width) = self.window, inputs.shape[-2:]
        count = window.count(height, width)
        kernel, stride = window.kernel, window.stride
        if window.output_size is not None:
            rows, columns = window.output_size
            kernel = stride = (height // rows, width // columns)
        padded = F.pad(
            self._centred(inputs), (window.padding[1], window.padding[1], window.padding[0], window.padding[0])
        )
        windows = padded.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1])
        total = windows.sum((-2, -1), dtype=torch.int64)
        return self._stored(rescale(total, fixed_point(self.source_step / (count * self.step))))


class Dequantize(nn.Module):
    """From uint8 to floats, for a part that stays in floating point."""

    step: Tensor

    def __init__(self, source: QuantizedLayer) -> None:
        super().__init__()
        self.zero_point = -source.limits.lower
        self.register_buffer("step", source.step)

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs.to(torch.int32) - self.zero_point).float() * self.step


@singledispatch
def to_integer(layer: nn.Module) -> nn.Module:
    """The layer that does with integers what ``layer`` does; one that only moves values stays as it is."""
    return layer


@to_integer.register
def _(layer: GridToFloat) -> nn.Module:
    return Dequantize(layer.source)


to_integer.register(QuantizedMatrixLayer, IntegerMatrixLayer)
to_integer.register(QuantizedAdd, IntegerAdd)
to_integer.register(QuantizedAveragePool, IntegerAveragePool)


@to_integer.register
def _(layer: QuantizedIdentity) -> nn.Module:
    return IntegerIdentity(layer) if layer.known_sources() else IntegerEntry(layer)


@to_integer.register
def _(layer: GridMaxPool) -> nn.Module:
    pool = cast(nn.MaxPool2d, layer)
    return nn.MaxPool2d(pool.kernel_size, pool.stride, pool.padding, pool.dilation, ceil_mode=pool.ceil_mode)
