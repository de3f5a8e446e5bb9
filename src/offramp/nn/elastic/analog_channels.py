"""Analog output channels within elastic convolutions, so that a supernet trains with them.

The same operation as `analog.AnalogPart` in training; only the input's step is the layer's own here, since the layer
before may be in floating point. A network that is extracted gets steps of its own when it is judged.
"""

from collections.abc import Callable
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from offramp.hardware.chip_formulas import InMemoryArray
from offramp.nn.analog_convolution import (
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


class AnalogRule(Protocol):
    """An analog core: its array, and which channels of a layer it computes."""

    @property
    def array(self) -> InMemoryArray: ...

    def channels(self, shape: LayerShape, share: float) -> int:
        """How many output channels, the first ones, a ``share`` of the layer's is; 0 where the core refuses it."""
        ...


class ElasticAnalog(nn.Module):
    """Steps of a convolution's analog channels: ``share`` of them, as ``rule`` says, with noise from ``noise``.

    Steps are fitted to the first values that come, and learned from then on.
    """

    fitted: Tensor

    def __init__(self, rule: AnalogRule, noise: Noise, out_channels: int) -> None:
        super().__init__()
        self.rule, self.noise = rule, noise
        self.share = 0.0
        self.input_scale = nn.Parameter(torch.ones(()))
        self.adc_scale = nn.Parameter(torch.ones(()))
        self.ternary_scale = nn.Parameter(torch.ones(out_channels))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def channels(self, shape: LayerShape) -> int:
        """How many of the layer's output channels are analog at present."""
        return self.rule.channels(shape, self.share)

    @property
    def inputs(self) -> IntegerRange:
        return signed_range(self.rule.array.converters.input_bits)

    def forward(
        self, inputs: Tensor, active: Tensor, weight: Tensor, convolve: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Output of the channels whose weights are ``active``, a part of ``weight``; ``convolve(inputs, weights)``."""
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
    # An odd stride: an even one may meet the same pixel of every map.
    return flat[:: max(1, flat.numel() // _SAMPLE) | 1]
