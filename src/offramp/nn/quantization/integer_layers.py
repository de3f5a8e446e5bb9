"""Layers in integer arithmetic: uint8 activations, int8 weights, int32 sums; multiplication and shift to requantise."""

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
    """A layer with uint8 inputs and outputs, which are integers relative to the zero point plus the zero point.

    Attributes:
        limits: integers of the output, relative to the zero point; None = the output is in floating point.
        source_zero_points: zero point of each input.
    """

    multiplier: Tensor
    shift: Tensor

    def __init__(self, layer: QuantizedLayer) -> None:
        """Take the sizes and the numbers of a quantised layer.

        Args:
            layer: the layer to convert.
        """
        super().__init__()
        self.limits = layer.limits if layer.bits is not None else None
        self.source_zero_points = tuple(-source.limits.lower for source in layer.known_sources())

    def _store_factor(self, factor: FixedPoint) -> None:
        self.register_buffer("multiplier", factor.multiplier.to(torch.int32))
        self.register_buffer("shift", factor.shift.to(torch.int8))

    def _centred(self, inputs: Tensor, index: int = 0) -> Tensor:
        return inputs.to(torch.int32) - self.source_zero_points[index]

    def _stored(self, integers: Tensor) -> Tensor:
        """Integers relative to the zero point, limited and converted to uint8."""
        assert self.limits is not None
        return (integers.clamp(self.limits.lower, self.limits.upper) - self.limits.lower).to(torch.uint8)

    def _factor(self) -> FixedPoint:
        return FixedPoint(self.multiplier.long(), self.shift.long())


class IntegerMatrixLayer(IntegerLayer):
    """Convolution or linear layer; if the output is in floating point, the sums are multiplied by their step."""

    weight: Tensor
    bias: Tensor
    accumulator_step: Tensor

    def __init__(self, layer: QuantizedMatrixLayer) -> None:
        """Take the sizes and the numbers of a quantised layer.

        Args:
            layer: the layer to convert.
        """
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
            self._store_factor(whole.factor)

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


class Quantize(IntegerLayer):
    """Quantises floats to uint8."""

    step: Tensor

    def __init__(self, layer: QuantizedIdentity) -> None:
        """Take the sizes and the numbers of a quantised layer.

        Args:
            layer: the layer to convert.
        """
        super().__init__(layer)
        self.register_buffer("step", layer.step)

    def forward(self, inputs: Tensor) -> Tensor:
        assert self.limits is not None
        return self._stored(quantize(inputs.float(), self.step, self.limits))


class IntegerIdentity(IntegerLayer):
    """Requantises values from one grid to another."""

    def __init__(self, layer: QuantizedIdentity) -> None:
        """Take the sizes and the numbers of a quantised layer.

        Args:
            layer: the layer to convert.
        """
        super().__init__(layer)
        (source,) = layer.known_sources()
        self._store_factor(fixed_point(source.step / layer.step))

    def forward(self, inputs: Tensor) -> Tensor:
        return self._stored(rescale(self._centred(inputs).long(), self._factor()))


class IntegerAdd(IntegerLayer):
    """Sum of two values, each on its own grid."""

    def __init__(self, layer: QuantizedAdd) -> None:
        """Take the sizes and the numbers of a quantised layer.

        Args:
            layer: the layer to convert.
        """
        super().__init__(layer)
        self._store_factor(layer.factors())

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        factor = self._factor()
        total = (
            self._centred(first, 0).long() * factor.multiplier[0]
            + self._centred(second, 1).long() * factor.multiplier[1]
        )
        return self._stored(shift_right(total, factor.shift[0]))


class IntegerAveragePool(IntegerLayer):
    """Average over windows: the requantised sum. The size of the input gives the number of values in a window."""

    source_step: Tensor
    step: Tensor

    def __init__(self, layer: QuantizedAveragePool) -> None:
        """Take the sizes and the numbers of a quantised layer.

        Args:
            layer: the layer to convert.
        """
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
    """Converts uint8 to floats, for a part in floating point."""

    step: Tensor

    def __init__(self, source: QuantizedLayer) -> None:
        """Take step and zero point.

        Args:
            source: the layer that makes the input.
        """
        super().__init__()
        self.zero_point = -source.limits.lower
        self.register_buffer("step", source.step)

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs.to(torch.int32) - self.zero_point).float() * self.step


@singledispatch
def to_integer(layer: nn.Module) -> nn.Module:
    """Convert a layer to integer arithmetic.

    Args:
        layer: a layer of a prepared network.

    Returns:
        The integer layer; the same layer if it needs no conversion.
    """
    return layer


@to_integer.register
def _(layer: GridToFloat) -> nn.Module:
    return Dequantize(layer.source)


to_integer.register(QuantizedMatrixLayer, IntegerMatrixLayer)
to_integer.register(QuantizedAdd, IntegerAdd)
to_integer.register(QuantizedAveragePool, IntegerAveragePool)


@to_integer.register
def _(layer: QuantizedIdentity) -> nn.Module:
    return IntegerIdentity(layer) if layer.known_sources() else Quantize(layer)


@to_integer.register
def _(layer: GridMaxPool) -> nn.Module:
    pool = cast(nn.MaxPool2d, layer)
    return nn.MaxPool2d(pool.kernel_size, pool.stride, pool.padding, pool.dilation, ceil_mode=pool.ceil_mode)
