"""Convolutions and linear layers for quantisation-aware training, with their batch norm."""

from dataclasses import dataclass
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.errors import UnsupportedLayerError
from offramp.nn.quantization.activation_layers import QuantizedLayer, integers_of
from offramp.nn.quantization.fake_quantize import (
    IntegerRange,
    best_weight_steps,
    fake_quantize,
    gradient_scale,
    quantize,
    step_size,
)
from offramp.nn.quantization.fixed_point import MAX_ACCUMULATOR, FixedPoint, fixed_point

# float32 adds integers below this without rounding, in any order.
_FLOAT32_EXACT = 2**24
_SMALLEST_FOLDED_STEP = 1e-20

Layer = nn.Conv2d | nn.Linear


class AnalogChannels(Protocol):
    """Computes a layer whose first output channels are analog.

    Attributes:
        channels: number of analog output channels; 0 = the layer is digital.
    """

    channels: int

    def run(self, layer: "QuantizedMatrixLayer", inputs: Tensor) -> Tensor:
        """Compute all output channels.

        Args:
            layer: the layer.
            inputs: (batch, channels, height, width).

        Returns:
            The output of the layer (batch, out channels, height, width).
        """
        ...


@dataclass(frozen=True)
class MatrixIntegers:
    """A convolution or linear layer as integers.

    Attributes:
        weight: int64, in the shape of the layer's weights.
        weight_step: step of the weights with batch norm folded in; float32 (out channels,).
        bias: bias in units of ``accumulator_step``; int64 (out channels,).
        accumulator_step: input step times ``weight_step``; float32 (out channels,).
        factor: factor from accumulators to the output (out channels,); None = the output is in floating point.
        largest: upper bound of the absolute values of accumulators.
    """

    weight: Tensor
    weight_step: Tensor
    bias: Tensor
    accumulator_step: Tensor
    factor: FixedPoint | None
    largest: int


class QuantizedMatrixLayer(QuantizedLayer):
    """Convolution or linear layer with one weight step per output channel, its batch norm and its activation function.

    Weights are quantised before the batch norm scales them. This equals scaling first, because each output channel has
    its own step: round(w * f / (s * f)) = round(w / s). The batch norm stays an ordinary one in training. In evaluation
    the running statistics are folded into steps and biases. Channels with a negative batch-norm weight are negated when
    the layer is made, because steps are positive.

    Attributes:
        weight: weights in floating point, in the shape of the float layer's.
        bias: bias (out channels,); None = none.
        has_norm: whether the layer has a batch norm.
        is_convolution: whether the layer is a convolution, else a linear layer.
        analog: computes the layer if some channels are analog; None = all channels are digital.
        weight_limits: integers of the weights; None = floating point.
        weight_scale: learned parameter of the weight steps (out channels,); None = floating point.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        layer: Layer,
        norm: nn.BatchNorm2d | None,
        activation: nn.Module | None,
        weight_limits: IntegerRange | None,
        bits: int | None,
        source: QuantizedLayer | None,
    ) -> None:
        """Take over the weights of the float layers, which are changed where a batch-norm weight is negative.

        Args:
            layer: the float layer.
            norm: the batch norm after it; None = none.
            activation: the activation function after it; None = none.
            weight_limits: integers of the weights; None = floating point.
            bits: bit width of the output; None = floating point.
            source: the layer that makes the input; None = the input is in floating point.
        """
        super().__init__(bits, activation, (source,))
        self.weight = layer.weight
        self.bias = layer.bias
        self.has_norm = norm is not None
        self.norm_weight: nn.Parameter | None = None
        self.norm_bias: nn.Parameter | None = None
        if isinstance(layer, nn.Conv2d):
            self.stride, self.padding, self.dilation, self.groups = (
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.groups,
            )
        self.is_convolution = isinstance(layer, nn.Conv2d)
        if norm is not None:
            self._take_norm(norm)
        self.analog: AnalogChannels | None = None
        self.weight_limits = weight_limits
        self.weight_scale: nn.Parameter | None = None
        if weight_limits is not None:
            self.weight_scale = nn.Parameter(best_weight_steps(self.weight, weight_limits))

    def _take_norm(self, norm: nn.BatchNorm2d) -> None:
        self.eps, self.momentum = norm.eps, 0.1 if norm.momentum is None else norm.momentum
        self.norm_weight, self.norm_bias = norm.weight, norm.bias
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, getattr(norm, name))
        with torch.no_grad():
            sign = torch.where(norm.weight < 0, -1.0, 1.0)
            self.weight.mul_(sign.view(-1, *[1] * (self.weight.dim() - 1)))
            if self.bias is not None:
                self.bias.mul_(sign)
            self.running_mean.mul_(sign)
            norm.weight.abs_()

    @property
    def is_exact(self) -> bool:
        return super().is_exact and self.weight_limits is not None

    def forward(self, inputs: Tensor) -> Tensor:
        if self.analog is not None and self.analog.channels:
            return self.analog.run(self, inputs)
        if self.computes_integers:
            return self.run_integers(inputs)
        weight: Tensor = self.weight
        if self.weight_limits is not None and self._sample is None:
            scale = gradient_scale(weight[0].numel(), self.weight_limits)
            weight = fake_quantize(weight, cast(Tensor, self.weight_scale), self.weight_limits, scale)
        return self.finish_output(self.normalized(self.multiply(inputs, weight, self.bias)))

    def multiply(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Compute the convolution or linear layer with given weights, without batch norm and quantisation.

        Args:
            inputs: (batch, channels, height, width), or (batch, features) for a linear layer.
            weight: weights; there may be fewer output channels than in the layer.
            bias: bias (out channels,); None = none.

        Returns:
            The results (batch, out channels, ...).
        """
        if not self.is_convolution:
            return F.linear(inputs, weight, bias)
        return F.conv2d(inputs, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def normalized(self, values: Tensor) -> Tensor:
        """Apply the batch norm.

        Args:
            values: (batch, out channels, ...).

        Returns:
            The normalised values; the same tensor if the layer has no batch norm.
        """
        if not self.has_norm:
            return values
        return F.batch_norm(
            values,
            self.running_mean,
            self.running_var,
            cast(Tensor, self.norm_weight).abs(),
            self.norm_bias,
            self.training,
            self.momentum,
            self.eps,
        )

    def run_integers(self, inputs: Tensor, first: int = 0) -> Tensor:
        """Compute the last output channels with integers.

        Args:
            inputs: values on the grid of the source (batch, channels, ...).
            first: the first output channel to compute.

        Returns:
            The channels from ``first`` on, on the grid of the output (batch, out channels - ``first``, ...).
        """
        (source,) = self.known_sources()
        layer = self.integers()
        dtype = torch.float32 if layer.largest <= _FLOAT32_EXACT else torch.float64
        with torch.autocast(inputs.device.type, enabled=False):
            whole = self.multiply(integers_of(inputs, source).to(dtype), layer.weight[first:].to(dtype), None)
        # Rounding removes the small errors of fast algorithms such as Winograd.
        total = whole.round().to(torch.float64) + per_channel(layer.bias[first:], whole)
        if layer.factor is None:
            return (total * per_channel(layer.accumulator_step[first:].to(torch.float64), whole)).to(torch.float32)
        multiplier, shift = layer.factor.multiplier[first:], layer.factor.shift[first:]
        return self._requantize(total, FixedPoint(per_channel(multiplier, whole), per_channel(shift, whole)))

    @torch.no_grad()
    def integers(self) -> MatrixIntegers:
        """The layer as integers, as it is deployed.

        Raises:
            UnsupportedLayerError: if its sums may reach 2**28.
        """
        (source,) = self.known_sources()
        limits = cast(IntegerRange, self.weight_limits)
        step = step_size(cast(Tensor, self.weight_scale).float())
        axes = (-1, *[1] * (self.weight.dim() - 1))
        weight = quantize(self.weight.float(), step.view(axes), limits)
        fold, bias = self.fold()
        # An accumulator of 28 bits must hold the bias, also in a channel whose weights are almost 0.
        smallest = bias.abs() / (source.step.double() * (MAX_ACCUMULATOR // 4))
        wanted = step.double() * fold
        folded = torch.maximum(wanted, smallest).clamp_min(_SMALLEST_FOLDED_STEP)
        weight = (weight * (wanted / folded).view(axes)).round().long()
        folded = folded.float()
        accumulator_step = source.step * folded
        whole_bias = (bias / accumulator_step.double()).round().long()
        largest_input = source.limits.largest
        largest = int((weight.abs().flatten(1).sum(1) * largest_input + whole_bias.abs()).max())
        if largest >= MAX_ACCUMULATOR:
            raise UnsupportedLayerError(
                f"A quantised layer's sums must stay below 2**28, but {self.weight[0].numel()} products of weights in "
                f"{limits.lower}..{limits.upper} with inputs up to {largest_input} may reach {largest}. Use fewer bits."
            )
        factor = None if self.bits is None else fixed_point(accumulator_step / self.step)
        return MatrixIntegers(weight, folded, whole_bias, accumulator_step, factor, largest)

    def fold(self) -> "tuple[Tensor, Tensor]":
        """Factor of each channel by batch norm, and the bias after it; both float64 (out channels,)."""
        bias = torch.zeros(len(self.weight), dtype=torch.float64, device=self.weight.device)
        if self.bias is not None:
            bias = self.bias.double()
        if not self.has_norm:
            return torch.ones_like(bias), bias
        fold = cast(Tensor, self.norm_weight).double().abs() / (self.running_var.double() + self.eps).sqrt()
        return fold, cast(Tensor, self.norm_bias).double() + (bias - self.running_mean.double()) * fold


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """Reshape values of channels so that they broadcast with maps.

    Args:
        values: (channels,).
        like: (batch, channels, ...).

    Returns:
        The values (channels, 1, ...), with one dimension less than ``like``.
    """
    return values.view(-1, *[1] * (like.dim() - 2))
