"""Convolutions with some output channels on an analog in-memory core.

Such channels have ternary weights. Inputs lose their lowest bits on the way to the array. A converter of a few bits
reads the sums of each group of rows, with noise. The digital core adds the groups, scales and shifts them, and computes
all other channels as in `offramp.nn.quantization.matrix_layers`.

Source: KULeuven-MICAS/diana-quantlib, core/Operations.py (the operation, not its code); the split by channels: Risso et
al. 2023, ODiMO, arXiv 2306.05060.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from offramp.hardware.chip_formulas import InMemoryArray
from offramp.nn.analog.array_arithmetic import (
    TERNARY,
    Noise,
    per_channel_weight,
    read_sums,
    row_groups,
    signed_range,
)
from offramp.nn.quantization.activation_layers import QuantizedLayer, integers_of
from offramp.nn.quantization.fake_quantize import IntegerRange, fake_quantize, gradient_scale, quantize, step_size
from offramp.nn.quantization.matrix_layers import QuantizedMatrixLayer, per_channel

_SAMPLE = 2**14


@dataclass
class AnalogPart:
    """The first output channels of a convolution, computed on an analog array.

    The layer holds the learned values: ``adc_scale``, the step of the converter, and ``ternary_scale``, the step of
    each output channel's weights. ``channels`` may therefore change.

    Attributes:
        channels: Number of analog output channels.
        array: The array.
        noise: The noise of the network.
        observed: Samples of the sums, collected while the converter's step is chosen; otherwise None.
    """

    channels: int
    array: InMemoryArray
    noise: Noise
    observed: list[Tensor] | None = field(default=None, compare=False)

    @property
    def output_range(self) -> IntegerRange:
        """The integers that a converter can give."""
        return signed_range(self.array.converters.output_bits)

    @property
    def input_range(self) -> IntegerRange:
        """The integers that the array can read."""
        return signed_range(self.array.converters.input_bits)

    def dropped_bits(self, source: QuantizedLayer) -> int:
        """How many of their lowest bits inputs lose on the way to the array, so that all of them fit.

        Args:
            source: The layer that writes the inputs.

        Returns:
            Number of bits, >= 0.
        """
        dropped, limits, fitting = 0, source.limits, self.input_range
        while limits.upper >> dropped > fitting.upper or limits.lower >> dropped < fitting.lower:
            dropped += 1
        return dropped

    def rounding_offset(self, source: QuantizedLayer) -> float:
        """What is subtracted from an input before it is rounded, so that halves are rounded down.

        Args:
            source: The layer that writes the inputs.

        Returns:
            The offset in input steps of the array: half a step of the source, or 0 where inputs lose no bits.
        """
        dropped = self.dropped_bits(source)
        return 0.5 ** (dropped + 1) if dropped else 0.0

    def groups(self, layer: QuantizedMatrixLayer) -> list[slice]:
        """The groups of input channels whose sums are read together.

        Args:
            layer: The convolution.

        Returns:
            The input channels of each group; see `row_groups`.
        """
        return row_groups(layer.weight, self.array)

    def run(self, layer: QuantizedMatrixLayer, inputs: Tensor) -> Tensor:
        """See `AnalogChannels.run`."""

        def compute(values: Tensor) -> Tensor:
            return self._run_deployed(layer, values) if layer.computes_integers else self._run_training(layer, values)

        return analog_conv2d(inputs, layer.weight, layer.stride, layer.padding, layer.dilation, compute)

    def _run_training(self, layer: QuantizedMatrixLayer, inputs: Tensor) -> Tensor:
        (source,) = layer.known_sources()
        count = self.channels
        scale, weight = cast(Tensor, layer.ternary_scale)[:count], layer.weight[:count]
        step = step_size(scale)
        ternary = fake_quantize(weight, scale, TERNARY, gradient_scale(weight[0].numel(), TERNARY))
        step_in = self.input_step(source)
        entering = fake_quantize(inputs - self.rounding_offset(source) * step_in, step_in, self.input_range, 0.0)
        # Sums are those of the array (integers times ternary weights), times the input step.
        total = self._read(layer, entering, ternary / per_channel_weight(step, weight), step_in)
        analog = total * per_channel(step, total)
        if layer.bias is not None:
            analog = analog + per_channel(layer.bias[:count], analog)
        parts = [analog]
        if count < len(layer.weight):
            rest, limits = layer.weight[count:], cast(IntegerRange, layer.weight_limits)
            kept = cast(Tensor, layer.weight_scale)[count:]
            rest = fake_quantize(rest, kept, limits, gradient_scale(rest[0].numel(), limits))
            parts.append(layer.multiply(inputs, rest, None if layer.bias is None else layer.bias[count:]))
        return layer.finish_output(layer.normalized(torch.cat(parts, 1) if len(parts) > 1 else analog))

    def input_step(self, source: QuantizedLayer) -> Tensor:
        """The step of the integers that the array reads.

        Args:
            source: The layer that writes the inputs.

        Returns:
            One value: the source's step, doubled for each dropped bit.
        """
        return source.step * 2.0 ** self.dropped_bits(source)

    def _read(self, layer: QuantizedMatrixLayer, entering: Tensor, weight: Tensor, unit: Tensor) -> Tensor:
        """The sums that converters read, times ``unit``."""
        total: Tensor | None = None
        scale = cast(Tensor, layer.adc_scale) * unit
        for group in self.groups(layer):
            sums = layer.multiply(entering[:, group], weight[:, group], None)
            if self.observed is not None:
                flat = sums.detach().flatten().float() / unit
                self.observed.append(flat[:: max(1, flat.numel() // _SAMPLE) | 1])
            else:
                sums = read_sums(sums, scale, self.array, self.noise)
            total = sums if total is None else total + sums
        return cast(Tensor, total)

    def _run_deployed(self, layer: QuantizedMatrixLayer, inputs: Tensor) -> Tensor:
        """As the chip computes: integers enter and leave the array, then one product and one sum per channel."""
        (source,) = layer.known_sources()
        whole, count = self.constants(layer), self.channels
        with torch.autocast(inputs.device.type, enabled=False):
            entering = integers_of(inputs, source) / 2.0 ** self.dropped_bits(source)
            limits_in, limits_out = self.input_range, self.output_range
            entering = (entering - self.rounding_offset(source)).round().clamp(limits_in.lower, limits_in.upper)
            total: Tensor | None = None
            for group in self.groups(layer):
                sums = layer.multiply(entering[:, group], whole.weight[:, group], None).round()
                read = (sums / whole.adc_step).round().clamp(limits_out.lower, limits_out.upper)
                read = self.noise.read(read, self.array.converters.snr, limits_out, 1.0)
                total = read if total is None else total + read
        values = cast(Tensor, total) * per_channel(whole.factor, inputs) + per_channel(whole.offset, inputs)
        limits = layer.limits if layer.bits is not None else None
        if limits is not None:
            values = layer.on_grid(values.round().clamp(limits.lower, limits.upper))
        if count == len(layer.weight):
            return values
        return torch.cat([values, layer.run_integers(inputs, count)], 1)

    @torch.no_grad()
    def constants(self, layer: QuantizedMatrixLayer) -> "AnalogConstants":
        """The constants of the analog channels in a deployed network.

        Args:
            layer: The convolution.

        Returns:
            The constants, one per analog output channel where they differ.
        """
        (source,) = layer.known_sources()
        count = self.channels
        step = step_size(cast(Tensor, layer.ternary_scale)[:count].float())
        weight = quantize(layer.weight[:count].float(), per_channel_weight(step, layer.weight), TERNARY)
        fold, bias = layer.fold()
        adc = step_size(cast(Tensor, layer.adc_scale).float())
        unit = 1.0 if layer.bits is None else layer.step.double()
        factor = adc.double() * self.input_step(source).double() * step.double() * fold[:count] / unit
        return AnalogConstants(weight, adc, factor.float(), (bias[:count] / unit).float())


@dataclass(frozen=True)
class AnalogConstants:
    """Constants of the analog channels in a deployed network.

    An output is factor * result + offset, where result is the sum of the integers that the converter reads. Outputs
    are in steps of the layer's output; without an output grid they are the values themselves.

    Attributes:
        weight: Weights -1, 0 and 1 (channels, input channels, kernel height, kernel width).
        adc_step: Step of the converter: one result, in sums of inputs times weights.
        factor: One factor per channel.
        offset: One offset per channel.
    """

    weight: Tensor
    adc_step: Tensor
    factor: Tensor
    offset: Tensor


def analog_conv2d(
    inputs: Tensor,
    weight: Tensor,
    stride: tuple[int, ...],
    padding: Any,
    dilation: tuple[int, ...],
    compute: Callable[[Tensor], Tensor],
) -> Tensor:
    """Compute a convolution so that code which observes torch functions sees one function, not its parts.

    Args:
        inputs: Feature map (batch, channels, height, width).
        weight: All weights of the layer (output channels, input channels, kernel height, kernel width).
        stride: Stride: vertical, horizontal.
        padding: Padding, as in ``torch.nn.functional.conv2d``.
        dilation: Dilation: vertical, horizontal.
        compute: Computes the output from ``inputs``.

    Returns:
        The output of ``compute``.
    """
    if has_torch_function((inputs, weight)):
        result: Tensor = handle_torch_function(
            analog_conv2d, (inputs, weight), inputs, weight, stride, padding, dilation, compute
        )
        return result
    return compute(inputs)
