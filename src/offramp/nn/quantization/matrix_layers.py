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
    """What computes a layer some of whose channels are an analog core's."""

    channels: int

    def run(self, layer: "QuantizedMatrixLayer", inputs: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class MatrixIntegers:
    """A convolution or linear layer as integers; tensors have one value per output channel.

    ``weight`` int64; ``weight_step`` and ``accumulator_step`` (= input step times weight step) float32, batch norm
    folded in; ``bias`` int64 in units of the accumulator; ``factor`` from accumulator to output, None where the
    output stays as wide as the accumulator. ``largest`` bounds the accumulators.
    """

    weight: Tensor
    weight_step: Tensor
    bias: Tensor
    accumulator_step: Tensor
    factor: FixedPoint | None
    largest: int


class QuantizedMatrixLayer(QuantizedLayer):
    """Convolution or linear layer with per-channel weight steps, its batch norm and its activation.

    Weights are quantised before the batch norm scales them: with one step per output channel that equals scaling
    first, round(w * f / (s * f)) = round(w / s), and the batch norm stays the ordinary one in training. In evaluation
    the running statistics are folded into steps and biases. Channels with a negative batch-norm weight are negated
    once, since steps are positive. ``weight_limits=None`` leaves the weights in floating point.
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
        # Some channels may be an analog core's; see `analog`.
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
        return self.leave(self.normalized(self.multiply(inputs, weight, self.bias)))

    def multiply(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution or linear layer alone, with other weights."""
        if not self.is_convolution:
            return F.linear(inputs, weight, bias)
        return F.conv2d(inputs, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def normalized(self, values: Tensor) -> Tensor:
        """The batch norm alone."""
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
        """Output channels from ``first`` on, in integers; the others are left out."""
        (source,) = self.known_sources()
        layer = self.integers()
        dtype = torch.float32 if layer.largest <= _FLOAT32_EXACT else torch.float64
        with torch.autocast(inputs.device.type, enabled=False):
            whole = self.multiply(integers_of(inputs, source).to(dtype), layer.weight[first:].to(dtype), None)
        # Rounding changes nothing but what a fast algorithm (Winograd) may have left behind the point.
        total = whole.round().to(torch.float64) + per_channel(layer.bias[first:], whole)
        if layer.factor is None:
            return (total * per_channel(layer.accumulator_step[first:].to(torch.float64), whole)).to(torch.float32)
        multiplier, shift = layer.factor.multiplier[first:], layer.factor.shift[first:]
        return self._requantize(total, FixedPoint(per_channel(multiplier, whole), per_channel(shift, whole)))

    @torch.no_grad()
    def integers(self) -> MatrixIntegers:
        """The layer as deployed. Raises UnsupportedLayerError where its sums may exceed 28 bits."""
        (source,) = self.known_sources()
        limits = cast(IntegerRange, self.weight_limits)
        step = step_size(cast(Tensor, self.weight_scale).float())
        axes = (-1, *[1] * (self.weight.dim() - 1))
        weight = quantize(self.weight.float(), step.view(axes), limits)
        fold, bias = self.fold()
        # An accumulator of 28 bits must be able to hold the bias, also of a channel whose weights are next to nothing.
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
        """What batch norm multiplies each channel by, and the bias behind it, in float64."""
        bias = torch.zeros(len(self.weight), dtype=torch.float64, device=self.weight.device)
        if self.bias is not None:
            bias = self.bias.double()
        if not self.has_norm:
            return torch.ones_like(bias), bias
        fold = cast(Tensor, self.norm_weight).double().abs() / (self.running_var.double() + self.eps).sqrt()
        return fold, cast(Tensor, self.norm_bias).double() + (bias - self.running_mean.double()) * fold


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """One value per channel, shaped to be multiplied with maps (batch, channels, ...)."""
    return values.view(-1, *[1] * (like.dim() - 2))
