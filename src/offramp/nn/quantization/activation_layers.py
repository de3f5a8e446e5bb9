"""Layers that are trained with fake quantisation and, in evaluation, compute what integers would compute.

In training a layer works on floats that lie on the grid of its input. In evaluation it recovers the integers behind
them (a division that rounding makes exact), multiplies and adds those (exactly, in floats wide enough), and
requantises as `fixed_point` says: the result is that of the converted network, bit for bit.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.errors import UnsupportedLayerError
from offramp.nn.quantization.fake_quantize import (
    ActivationGrid,
    IntegerRange,
    best_activation_grid,
    fake_quantize,
    gradient_scale,
    quantize,
    step_size,
)
from offramp.nn.quantization.fixed_point import FixedPoint, common_fixed_point, fixed_point

_SAMPLE = 4096


class QuantizedLayer(nn.Module):
    """A layer whose output lies on a learned grid: ``step`` times the integers in ``limits``.

    ``bits=None`` leaves the output in floating point. ``sources`` are the layers that made the inputs, None for an
    input in floating point. The grid is unsigned (zero point 0) where no output can be negative.
    """

    zero_point: Tensor

    def __init__(
        self, bits: int | None, activation: nn.Module | None, sources: "tuple[QuantizedLayer | None, ...]"
    ) -> None:
        super().__init__()
        self.bits = bits
        # In tuples, because neither may become a part of this module: the one runs no code of its own once there is
        # a grid (its limits are the activation's), the others are parts of the network already.
        self._activation = (activation,)
        self._sources = sources
        self._sample: list[Tensor] | None = None
        self.unsigned = activation is not None
        self.scale: nn.Parameter | None = None
        if bits is not None:
            self.scale = nn.Parameter(torch.ones(()))
            self.register_buffer("zero_point", torch.zeros((), dtype=torch.int64))

    @property
    def sources(self) -> "tuple[QuantizedLayer | None, ...]":
        return self._sources

    @property
    def activation(self) -> nn.Module | None:
        """What stands between the layer and its output as long as that is in floating point."""
        return self._activation[0]

    @property
    def limits(self) -> IntegerRange:
        """Of the integers relative to the zero point."""
        offset = int(self.zero_point)
        return IntegerRange(-offset, 2 ** cast(int, self.bits) - 1 - offset)

    @property
    def step(self) -> Tensor:
        """Of the output, float32, without gradient."""
        return step_size(cast(Tensor, self.scale).detach().float())

    def known_sources(self) -> "tuple[QuantizedLayer, ...]":
        return tuple(source for source in self._sources if source is not None)

    @property
    def is_exact(self) -> bool:
        """Whether everything the layer computes with is quantised, so that integers can compute it."""
        return len(self.known_sources()) == len(self._sources)

    def observe_(self) -> None:
        """Keep a sample of the outputs of the next forward passes, which stay in floating point."""
        self._sample = []

    def fit_(self) -> None:
        """Choose the grid from what was observed; inputs to it must have been seen before."""
        if self.bits is not None and self._sample:
            self.set_grid_(best_activation_grid(torch.cat(self._sample), self.bits, unsigned=self.unsigned))
        self._sample = None

    def set_grid_(self, grid: ActivationGrid) -> None:
        with torch.no_grad():
            cast(Tensor, self.scale).fill_(grid.step)
            self.zero_point.fill_(grid.zero_point)

    def leave(self, values: Tensor) -> Tensor:
        """The end of the float path: observed, activated or put on the grid, whose limits are the activation's."""
        if self.bits is not None and self._sample is None:
            per_image = math.prod(values.shape[1:])
            limits = self.limits
            return fake_quantize(values, cast(Tensor, self.scale), limits, gradient_scale(per_image, limits))
        if self.activation is not None:
            values = self.activation(values)
        if self._sample is not None:
            flat = values.detach().flatten().float()
            # An odd stride: an even one may meet the same pixel of every map. Both ends, since they set the range.
            self._sample += [flat[:: flat.numel() // _SAMPLE | 1], flat.min()[None], flat.max()[None]]
        return values

    def _requantize(self, integers: Tensor, factor: FixedPoint) -> Tensor:
        """Exact integers (floats of any width) to values on this layer's grid, by a product in float32."""
        limits = self.limits
        products = integers.to(torch.float32) * factor.as_float.to(torch.float32)
        return self.on_grid(products.round().clamp(limits.lower, limits.upper))

    def on_grid(self, integers: Tensor) -> Tensor:
        return integers.to(torch.float32) * self.step

    @property
    def computes_integers(self) -> bool:
        return not self.training and self._sample is None and self.is_exact


def integers_of(values: Tensor, source: QuantizedLayer) -> Tensor:
    """The integers, relative to the zero point, behind values on the grid of ``source``; float32."""
    return (values.to(torch.float32) / source.step).round()


class QuantizedIdentity(QuantizedLayer):
    """Puts its input, of another grid or in floating point, on a grid of its own, perhaps behind an activation."""

    @property
    def is_exact(self) -> bool:
        """Always: reading floats, of an image for example, is what this layer is there for."""
        return True

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.computes_integers:
            return self.leave(inputs)
        (source,) = self.sources
        if source is None:
            return self.on_grid(quantize(inputs.to(torch.float32), self.step, self.limits))
        return self._requantize(integers_of(inputs, source).to(torch.float64), fixed_point(source.step / self.step))


class QuantizedAdd(QuantizedLayer):
    """Sum of two values, each on its own grid."""

    def __init__(
        self,
        bits: int | None,
        activation: nn.Module | None,
        sources: "tuple[QuantizedLayer | None, QuantizedLayer | None]",
    ) -> None:
        super().__init__(bits, activation, sources)
        self.unsigned = self.unsigned or all(source is not None and source.unsigned for source in sources)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        if not self.computes_integers:
            return self.leave(first + second)
        factors = self.factors().as_float
        a, b = (
            integers_of(values, source).to(torch.float64) * factor
            for values, source, factor in zip((first, second), self.known_sources(), factors, strict=True)
        )
        limits = self.limits
        return self.on_grid((a + b).round().clamp(limits.lower, limits.upper))

    def factors(self) -> FixedPoint:
        """For the first and the second summand, with one shift."""
        return common_fixed_point(torch.stack([source.step for source in self.known_sources()]) / self.step)


@dataclass(frozen=True)
class PoolWindow:
    """Where averages or maxima are taken: ``output_size`` for windows that share the map evenly, else the window."""

    output_size: tuple[int, int] | None = None
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    def count(self, height: int, width: int) -> int:
        """Values per window; raises UnsupportedLayerError where windows would differ in size."""
        if self.output_size is None:
            return self.kernel[0] * self.kernel[1]
        rows, columns = self.output_size
        if height % rows or width % columns:
            raise UnsupportedLayerError(
                f"A quantised average must be over windows of one size, got {height}x{width} to {rows}x{columns}."
            )
        return height // rows * (width // columns)


class QuantizedAveragePool(QuantizedLayer):
    """Average over windows; padding counts as zeros."""

    def __init__(
        self, window: PoolWindow, bits: int | None, activation: nn.Module | None, source: QuantizedLayer
    ) -> None:
        super().__init__(bits, activation, (source,))
        self.window = window
        self.unsigned = self.unsigned or source.unsigned

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.computes_integers:
            return self.leave(self.average(inputs))
        (source,) = self.known_sources()
        count = self.window.count(*inputs.shape[-2:])
        total = (self.average(integers_of(inputs, source).to(torch.float64)) * count).round()
        return self._requantize(total, self.factor(count))

    def average(self, inputs: Tensor) -> Tensor:
        """The average alone; raises UnsupportedLayerError where windows would differ in size."""
        window = self.window
        window.count(*inputs.shape[-2:])
        if window.output_size is not None:
            return F.adaptive_avg_pool2d(inputs, window.output_size)
        return F.avg_pool2d(inputs, window.kernel, window.stride, window.padding)

    def factor(self, count: int) -> FixedPoint:
        """From the sum over ``count`` values to the output."""
        (source,) = self.known_sources()
        return fixed_point(source.step / (count * self.step))


class GridToFloat(nn.Module):
    """Where values leave their grid, for layers in floating point; the values stay what they are."""

    def __init__(self, source: QuantizedLayer) -> None:
        super().__init__()
        self._source = (source,)

    @property
    def source(self) -> QuantizedLayer:
        return self._source[0]

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


class FloatAdd(nn.Module):
    """Sum of two values in floating point."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second


class GridMaxPool(nn.MaxPool2d):
    """Maximum of values on a grid: they stay on it."""

    def __init__(self, pool: nn.MaxPool2d, source: QuantizedLayer) -> None:
        super().__init__(pool.kernel_size, pool.stride, pool.padding, pool.dilation, ceil_mode=pool.ceil_mode)
        self._source = (source,)

    @property
    def source(self) -> QuantizedLayer:
        return self._source[0]
