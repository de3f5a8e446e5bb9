"""Layers that are trained with fake quantisation and give the results of integer arithmetic in evaluation.

In training a layer computes with floats on the grid of its input. In evaluation it recovers the integers (a division,
made exact by rounding), multiplies and adds them (exactly, in floats that are wide enough), and requantises as in
`fixed_point`. The results equal those of the converted network bit for bit.
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

    Attributes:
        bits: bit width of the output; None = floating point.
        unsigned: whether no output can be negative, so that the zero point is 0.
        scale: learned parameter of the output's step; None = floating point.
        zero_point: the integer that stands for 0; an int64 scalar, absent for floating point.
    """

    zero_point: Tensor

    def __init__(
        self, bits: int | None, activation: nn.Module | None, sources: "tuple[QuantizedLayer | None, ...]"
    ) -> None:
        """Make the step, if the output is quantised.

        Args:
            bits: bit width of the output; None = floating point.
            activation: the activation function of the layer, with outputs >= 0; None = none.
            sources: the layer that makes each input; None = this input is in floating point.
        """
        super().__init__()
        self.bits = bits
        # Tuples keep these modules from being registered as submodules. The limits of the grid replace the activation,
        # and the sources are parts of the network already.
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
        """The layer that makes each input; None for an input in floating point."""
        return self._sources

    @property
    def activation(self) -> nn.Module | None:
        """The activation function, which is applied while the output is in floating point; None = none."""
        return self._activation[0]

    @property
    def limits(self) -> IntegerRange:
        """Integers of the output, relative to the zero point."""
        offset = int(self.zero_point)
        return IntegerRange(-offset, 2 ** cast(int, self.bits) - 1 - offset)

    @property
    def step(self) -> Tensor:
        """Step of the output; a float32 scalar without gradient."""
        return step_size(cast(Tensor, self.scale).detach().float())

    def known_sources(self) -> "tuple[QuantizedLayer, ...]":
        """The layers that make the quantised inputs."""
        return tuple(source for source in self._sources if source is not None)

    @property
    def is_exact(self) -> bool:
        """Whether all operands of the layer are quantised, so that integers can compute it."""
        return len(self.known_sources()) == len(self._sources)

    def observe_(self) -> None:
        """Collect a sample of the outputs from now on; they stay in floating point until ``fit_``."""
        self._sample = []

    def fit_(self) -> None:
        """Choose the grid that suits the collected sample, and end the collection."""
        if self.bits is not None and self._sample:
            self.set_grid_(best_activation_grid(torch.cat(self._sample), self.bits, unsigned=self.unsigned))
        self._sample = None

    def set_grid_(self, grid: ActivationGrid) -> None:
        """Set step and zero point of the output.

        Args:
            grid: the grid.
        """
        with torch.no_grad():
            cast(Tensor, self.scale).fill_(grid.step)
            self.zero_point.fill_(grid.zero_point)

    def finish_output(self, values: Tensor) -> Tensor:
        """Quantise the results in training; while a sample is collected, apply the activation function and collect.

        Args:
            values: results of the layer before the activation function (batch, ...).

        Returns:
            The output of the layer.
        """
        if self.bits is not None and self._sample is None:
            per_image = math.prod(values.shape[1:])
            limits = self.limits
            return fake_quantize(values, cast(Tensor, self.scale), limits, gradient_scale(per_image, limits))
        if self.activation is not None:
            values = self.activation(values)
        if self._sample is not None:
            flat = values.detach().flatten().float()
            # The stride is odd, because an even one may meet the same pixel of every map. The extremes set the range.
            self._sample += [flat[:: flat.numel() // _SAMPLE | 1], flat.min()[None], flat.max()[None]]
        return values

    def _requantize(self, integers: Tensor, factor: FixedPoint) -> Tensor:
        """Requantise exact integers (floats of any width) to this layer's grid, by a product in float32."""
        limits = self.limits
        products = integers.to(torch.float32) * factor.as_float.to(torch.float32)
        return self.on_grid(products.round().clamp(limits.lower, limits.upper))

    def on_grid(self, integers: Tensor) -> Tensor:
        """Convert integers to values on the grid of the output.

        Args:
            integers: integers relative to the zero point, in any number format.

        Returns:
            The integers times the step; float32.
        """
        return integers.to(torch.float32) * self.step

    @property
    def computes_integers(self) -> bool:
        """Whether the layer computes with integers: in evaluation mode, if it is exact and collects no sample."""
        return not self.training and self._sample is None and self.is_exact


def integers_of(values: Tensor, source: QuantizedLayer) -> Tensor:
    """Recover the integers of quantised values.

    Args:
        values: values on the grid of ``source``.
        source: the layer that made them.

    Returns:
        The integers relative to the zero point; float32.
    """
    return (values.to(torch.float32) / source.step).round()


class QuantizedIdentity(QuantizedLayer):
    """Quantises its input, which is in floating point or on another grid, after an optional activation function."""

    @property
    def is_exact(self) -> bool:
        """Always true, because this layer may quantise inputs in floating point, such as images."""
        return True

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.computes_integers:
            return self.finish_output(inputs)
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
        """Make the step, if the output is quantised.

        Args:
            bits: bit width of the output; None = floating point.
            activation: the activation function after the sum; None = none.
            sources: the layers that make the two summands; None = this summand is in floating point.
        """
        super().__init__(bits, activation, sources)
        self.unsigned = self.unsigned or all(source is not None and source.unsigned for source in sources)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        if not self.computes_integers:
            return self.finish_output(first + second)
        factors = self.factors().as_float
        a, b = (
            integers_of(values, source).to(torch.float64) * factor
            for values, source, factor in zip((first, second), self.known_sources(), factors, strict=True)
        )
        limits = self.limits
        return self.on_grid((a + b).round().clamp(limits.lower, limits.upper))

    def factors(self) -> FixedPoint:
        """Factors of the first and the second summand (2,), with the same shift."""
        return common_fixed_point(torch.stack([source.step for source in self.known_sources()]) / self.step)


@dataclass(frozen=True)
class PoolWindow:
    """Windows of an average pooling.

    Attributes:
        output_size: height and width of the output, for windows that divide the map evenly; None = the sizes below
            hold.
        kernel: height and width of a window.
        stride: vertical and horizontal distance of windows.
        padding: rows of zeros above and below, columns of zeros left and right.
    """

    output_size: tuple[int, int] | None = None
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    def count(self, height: int, width: int) -> int:
        """Number of values per window.

        Args:
            height: height of the input.
            width: width of the input.

        Returns:
            The number of values, those of the padding included.

        Raises:
            UnsupportedLayerError: if the windows would differ in size.
        """
        if self.output_size is None:
            return self.kernel[0] * self.kernel[1]
        rows, columns = self.output_size
        if height % rows or width % columns:
            raise UnsupportedLayerError(
                f"The windows of a quantised average must have one size, got {height}x{width} to {rows}x{columns}."
            )
        return height // rows * (width // columns)


class QuantizedAveragePool(QuantizedLayer):
    """Average over windows; padding counts as zeros."""

    def __init__(
        self, window: PoolWindow, bits: int | None, activation: nn.Module | None, source: QuantizedLayer
    ) -> None:
        """Make the step, if the output is quantised.

        Args:
            window: the windows.
            bits: bit width of the output; None = floating point.
            activation: the activation function after the average; None = none.
            source: the layer that makes the input.
        """
        super().__init__(bits, activation, (source,))
        self.window = window
        self.unsigned = self.unsigned or source.unsigned

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.computes_integers:
            return self.finish_output(self.average(inputs))
        (source,) = self.known_sources()
        count = self.window.count(*inputs.shape[-2:])
        total = (self.average(integers_of(inputs, source).to(torch.float64)) * count).round()
        return self._requantize(total, self.factor(count))

    def average(self, inputs: Tensor) -> Tensor:
        """Compute the averages, without quantisation.

        Args:
            inputs: (batch, channels, height, width).

        Returns:
            The averages (batch, channels, output height, output width).

        Raises:
            UnsupportedLayerError: if the windows would differ in size.
        """
        window = self.window
        window.count(*inputs.shape[-2:])
        if window.output_size is not None:
            return F.adaptive_avg_pool2d(inputs, window.output_size)
        return F.avg_pool2d(inputs, window.kernel, window.stride, window.padding)

    def factor(self, count: int) -> FixedPoint:
        """Factor that requantises the sum over a window.

        Args:
            count: number of values per window.

        Returns:
            The input step divided by ``count`` times the output step.
        """
        (source,) = self.known_sources()
        return fixed_point(source.step / (count * self.step))


class GridToFloat(nn.Module):
    """Marks where quantised values enter a part in floating point; it does not change them."""

    def __init__(self, source: QuantizedLayer) -> None:
        """Keep the source.

        Args:
            source: the layer that makes the input.
        """
        super().__init__()
        self._source = (source,)

    @property
    def source(self) -> QuantizedLayer:
        """The layer that makes the input."""
        return self._source[0]

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


class FloatAdd(nn.Module):
    """Sum of two values in floating point."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second


class GridMaxPool(nn.MaxPool2d):
    """Maximum over windows of quantised values, on the same grid."""

    def __init__(self, pool: nn.MaxPool2d, source: QuantizedLayer) -> None:
        """Take the windows of a pooling layer.

        Args:
            pool: the pooling layer.
            source: the layer that makes the input.
        """
        super().__init__(pool.kernel_size, pool.stride, pool.padding, pool.dilation, ceil_mode=pool.ceil_mode)
        self._source = (source,)

    @property
    def source(self) -> QuantizedLayer:
        """The layer that makes the input."""
        return self._source[0]
