"""Analog output channels within elastic convolutions, for the training of supernets.

The operation is that of `AnalogPart` in training, except that the layer learns the step of its input, because the layer
before may be in floating point. The steps of an extracted network are fitted anew when it is evaluated.
"""

from collections.abc import Callable
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from offramp.hardware.chip_formulas import InMemoryArray
from offramp.nn.analog.array_arithmetic import (
    TERNARY,
    Noise,
    best_step,
    per_channel_weight,
    read_sums,
    row_groups,
    signed_range,
)
from offramp.nn.quantization.fake_quantize import (
    IntegerRange,
    best_weight_steps,
    fake_quantize,
    gradient_scale,
    step_size,
)
from offramp.nn.quantization.matrix_layers import per_channel
from offramp.workload.layer import LayerShape

_SAMPLE = 2**14


class AnalogChannelRule(Protocol):
    """Says which output channels of a layer an analog core computes."""

    @property
    def array(self) -> InMemoryArray:
        """The in-memory array of the core."""
        ...

    def channels(self, shape: LayerShape, share: float) -> int:
        """Number of analog output channels of a layer; they are its first ones.

        Args:
            shape: sizes of the layer.
            share: requested share of the output channels, 0..1.

        Returns:
            The number of channels; 0 if the core cannot compute the layer.
        """
        ...


class ElasticAnalogChannels(nn.Module):
    """The analog channels of an elastic convolution, and their learned steps.

    The steps are fitted to the first batch and learned from then on.

    Attributes:
        share: requested share of the output channels that are analog, 0..1; 0 at first.
        input_scale: learned step of the array's inputs; a scalar.
        adc_scale: learned step of the converters that read the sums, relative to the step of the inputs; a scalar.
        ternary_scale: learned step of the ternary weights of each output channel.
        fitted: whether the steps have been fitted; a boolean scalar.
    """

    fitted: Tensor

    def __init__(self, rule: AnalogChannelRule, noise: Noise, out_channels: int) -> None:
        """Make steps for all output channels.

        Args:
            rule: says how many channels a share of a layer is.
            noise: read noise of the converters.
            out_channels: largest number of output channels of the convolution.
        """
        super().__init__()
        self.rule, self.noise = rule, noise
        self.share = 0.0
        self.input_scale = nn.Parameter(torch.ones(()))
        self.adc_scale = nn.Parameter(torch.ones(()))
        self.ternary_scale = nn.Parameter(torch.ones(out_channels))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def channels(self, shape: LayerShape) -> int:
        """Number of analog output channels at the current share.

        Args:
            shape: sizes of the layer.

        Returns:
            The number of channels; 0 if the core cannot compute the layer.
        """
        return self.rule.channels(shape, self.share)

    @property
    def inputs(self) -> IntegerRange:
        """Integers that the array takes as inputs."""
        return signed_range(self.rule.array.converters.input_bits)

    def forward(
        self, inputs: Tensor, active: Tensor, weight: Tensor, convolve: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Compute the analog output channels.

        Args:
            inputs: (batch, channels, height, width).
            active: weights of the analog channels (out, in, kernel height, kernel width), a part of ``weight``.
            weight: all weights of the convolution, on which the steps are fitted.
            convolve: convolution of inputs with weights.

        Returns:
            Outputs of the analog channels (batch, out, height, width).
        """
        if not bool(self.fitted):
            with torch.no_grad():
                self._fit(inputs.detach(), active.detach(), weight.detach(), convolve)
        limits, array = self.inputs, self.rule.array
        entering = fake_quantize(inputs, self.input_scale, limits, gradient_scale(inputs[0].numel(), limits))
        scale = self.ternary_scale[: len(active)]
        step = step_size(scale)
        ternary = fake_quantize(active, scale, TERNARY, gradient_scale(active[0].numel(), TERNARY))
        whole = ternary / per_channel_weight(step, active)
        adc_scale = self.adc_scale * step_size(self.input_scale.detach())
        total: Tensor | None = None
        for group in row_groups(active, array):
            read = read_sums(convolve(entering[:, group], whole[:, group]), adc_scale, array, self.noise)
            total = read if total is None else total + read
        result = cast(Tensor, total)
        return result * per_channel(step, result)

    def _fit(
        self, inputs: Tensor, active: Tensor, weight: Tensor, convolve: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        self.ternary_scale.copy_(best_weight_steps(weight, TERNARY))
        self.input_scale.fill_(best_step(_sample(inputs), self.inputs))
        step = per_channel_weight(self.ternary_scale[: len(active)], active)
        entering = fake_quantize(inputs, self.input_scale, self.inputs, 0.0)
        whole = fake_quantize(active, self.ternary_scale[: len(active)], TERNARY, 0.0) / step
        sums = [convolve(entering[:, group], whole[:, group]) for group in row_groups(active, self.rule.array)]
        results = signed_range(self.rule.array.converters.output_bits)
        self.adc_scale.fill_(best_step(torch.cat([_sample(x) for x in sums]) / self.input_scale, results))
        self.fitted.fill_(True)


def _sample(values: Tensor) -> Tensor:
    flat = values.flatten().float()
    # The stride is odd, because an even one may meet the same pixel of every map.
    return flat[:: max(1, flat.numel() // _SAMPLE) | 1]
