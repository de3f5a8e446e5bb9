"""Fake quantisation within elastic layers: one set of learned steps per bit width, chosen as sizes are.

Bit widths may change at every step of training. Compiled, a layer is one graph for all of them: limits, steps and the
choice are tensors then, and what stays in floating point is selected, not skipped.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from offramp.nn.quantization.fake_quantize import (
    IntegerRange,
    best_activation_grid,
    best_weight_steps,
    fake_quantize,
    fake_quantize_composed,
    gradient_scale,
    weight_range,
)
from offramp.space.architecture import FLOAT_BITS, Precision

_SAMPLE = 4096


class ElasticQuantizer(nn.Module):
    """Steps of one operand for several formats; ``choose`` says which one holds, None = floating point.

    A format's steps are fitted to the first values it meets, and learned from then on.
    """

    fitted: Tensor
    zero_points: Tensor
    choice: Tensor

    def __init__(self, num_formats: int, num_steps: int | None) -> None:
        super().__init__()
        shape = () if num_steps is None else (num_steps,)
        # One parameter each: only what was used gets a gradient, and none is a matrix, which weight decay would shrink.
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(shape)) for _ in range(num_formats))
        self.register_buffer("fitted", torch.zeros(num_formats, dtype=torch.bool))
        self.register_buffer("zero_points", torch.zeros(num_formats, dtype=torch.int64))
        # Behind the last format stands floating point.
        self.register_buffer("choice", torch.tensor(num_formats), persistent=False)
        self.index: int | None = None

    def choose(self, index: int | None) -> None:
        self.index = index
        self.choice.fill_(len(self.scales) if index is None else index)

    def limits(self, index: int) -> IntegerRange:
        raise NotImplementedError

    def fit_(self, index: int, values: Tensor) -> None:
        raise NotImplementedError

    def _quantized(self, values: Tensor, num_values: int, *, used: int | None = None, all_values: Tensor) -> Tensor:
        """``values`` on the chosen grid, ``num_values`` of them sharing a step; ``used`` leading steps are."""
        if torch.compiler.is_compiling():
            return self._selected(values, num_values, used)
        index = self.index
        if index is None:
            return values
        if not bool(self.fitted[index]):
            with torch.no_grad():
                self.fit_(index, all_values.detach())
            self.fitted[index] = True
        limits = self.limits(index)
        scale = self.scales[index]
        return fake_quantize(values, scale[:used] if used else scale, limits, gradient_scale(num_values, limits))

    def _selected(self, values: Tensor, num_values: int, used: int | None) -> Tensor:
        row = self.choice.clamp_max(len(self.scales) - 1).view(1)

        def chosen(rows: Sequence[Tensor]) -> Tensor:
            # An index by a tensor of no dimension would be read out, and the graph be one for that number alone.
            return torch.stack(list(rows)).index_select(0, row).squeeze(0)

        limits = [self._tensor_limits(values, index) for index in range(len(self.scales))]
        lower, upper = (chosen(ends) for ends in zip(*limits, strict=True))
        scale = chosen(list(self.scales))
        slope = (num_values * upper).rsqrt()
        result = fake_quantize_composed(values, scale[:used] if used else scale, lower, upper, slope)
        return torch.where(self.choice == len(self.scales), values, result)

    def _tensor_limits(self, like: Tensor, index: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class WeightQuantizer(ElasticQuantizer):
    """Weights with a step per output channel; formats are integer ranges."""

    def __init__(self, ranges: Sequence[IntegerRange], out_channels: int) -> None:
        super().__init__(len(ranges), out_channels)
        self.ranges = tuple(ranges)

    def limits(self, index: int) -> IntegerRange:
        return self.ranges[index]

    def fit_(self, index: int, values: Tensor) -> None:
        self.scales[index].copy_(best_weight_steps(values, self.ranges[index]))

    def forward(self, active: Tensor, weight: Tensor) -> Tensor:
        """``active`` is the part of ``weight`` in use: its leading output channels."""
        return self._quantized(active, active[0].numel(), used=len(active), all_values=weight)

    def steps(self, index: int, used: int) -> Tensor | None:
        """Of the leading channels; None where they were never fitted."""
        return self.scales[index].detach()[:used].clone() if bool(self.fitted[index]) else None

    def _tensor_limits(self, like: Tensor, index: int) -> tuple[Tensor, Tensor]:
        limits = self.ranges[index]
        return like.new_tensor(float(limits.lower)), like.new_tensor(float(limits.upper))


class ActivationQuantizer(ElasticQuantizer):
    """Activations with one step and a zero point, unsigned; formats are bit widths."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__(len(widths), None)
        self.widths = tuple(widths)

    def limits(self, index: int) -> IntegerRange:
        offset = int(self.zero_points[index])
        return IntegerRange(-offset, 2 ** self.widths[index] - 1 - offset)

    def fit_(self, index: int, values: Tensor) -> None:
        flat = values.flatten()
        # An odd stride: an even one may meet the same pixel of every map. Both ends, since they set the range.
        sample = torch.cat([flat[:: flat.numel() // _SAMPLE | 1], flat.min()[None], flat.max()[None]])
        grid = best_activation_grid(sample, self.widths[index], unsigned=False)
        self.scales[index].fill_(grid.step)
        self.zero_points[index] = grid.zero_point

    def forward(self, values: Tensor) -> Tensor:
        return self._quantized(values, values[0].numel(), all_values=values)

    def _tensor_limits(self, like: Tensor, index: int) -> tuple[Tensor, Tensor]:
        offset = self.zero_points[index].to(like.dtype)
        return -offset, 2 ** self.widths[index] - 1 - offset


class QuantizerFormats:
    """The formats that a choice among precisions amounts to, for weights and for activations."""

    def __init__(self, precisions: Sequence[Precision]) -> None:
        self.weights = tuple(dict.fromkeys(r for r in map(_range_of, precisions) if r is not None))
        self.activations = tuple(
            dict.fromkeys(p.activation_bits for p in precisions if p.activation_bits != FLOAT_BITS)
        )

    def for_weights(self, out_channels: int) -> WeightQuantizer | None:
        return WeightQuantizer(self.weights, out_channels) if self.weights else None

    def for_activations(self) -> ActivationQuantizer | None:
        return ActivationQuantizer(self.activations) if self.activations else None


def choose_weights(quantizer: WeightQuantizer | None, precision: Precision) -> None:
    """Make a layer's weights what ``precision`` says; without a quantiser they stay in floating point."""
    if quantizer is not None:
        limits = _range_of(precision)
        quantizer.choose(None if limits is None else quantizer.ranges.index(limits))


def choose_activations(quantizer: ActivationQuantizer | None, bits: int) -> None:
    """Make activations ``bits`` wide; without a quantiser they stay in floating point."""
    if quantizer is not None:
        quantizer.choose(None if bits == FLOAT_BITS else quantizer.widths.index(bits))


def _range_of(precision: Precision) -> IntegerRange | None:
    if precision.weight_bits == FLOAT_BITS:
        return None
    return weight_range(precision.weight_bits, ternary=precision.ternary)
