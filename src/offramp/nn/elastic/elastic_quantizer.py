"""Fake quantisation within elastic layers, with one set of learned steps per format.

The format may change at every training step. A compiled layer has one graph for all formats: limits, steps and the
index of the format are tensors, and floating point is one of the formats that the graph selects.
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
    """Learned steps of one operand for several formats.

    The steps of a format are fitted to the first values that are quantised to it, and learned from then on.

    Attributes:
        scales: learned steps of each format.
        fitted: whether the steps of each format have been fitted (formats,).
        zero_points: the integer that stands for 0 in each format (formats,).
        choice: index of the current format; the number of formats = floating point.
        index: index of the current format; None = floating point.
    """

    fitted: Tensor
    zero_points: Tensor
    choice: Tensor

    def __init__(self, num_formats: int, num_steps: int | None) -> None:
        """Make the steps; the current format is floating point.

        Args:
            num_formats: number of formats.
            num_steps: number of steps per format; None = one step, as a scalar.
        """
        super().__init__()
        shape = () if num_steps is None else (num_steps,)
        # One parameter per format: unused formats get no gradient, and weight decay, which is for matrices, skips them.
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(shape)) for _ in range(num_formats))
        self.register_buffer("fitted", torch.zeros(num_formats, dtype=torch.bool))
        self.register_buffer("zero_points", torch.zeros(num_formats, dtype=torch.int64))
        # The index after the last format stands for floating point.
        self.register_buffer("choice", torch.tensor(num_formats), persistent=False)
        self.index: int | None = None

    def choose(self, index: int | None) -> None:
        """Set the current format.

        Args:
            index: index of the format; None = floating point.
        """
        self.index = index
        self.choice.fill_(len(self.scales) if index is None else index)

    def limits(self, index: int) -> IntegerRange:
        """The integers of a format.

        Args:
            index: index of the format.

        Returns:
            The range, relative to the zero point.
        """
        raise NotImplementedError

    def fit_(self, index: int, values: Tensor) -> None:
        """Choose the steps of a format that suit some values.

        Args:
            index: index of the format.
            values: values of the operand.
        """
        raise NotImplementedError

    def _quantized(self, values: Tensor, num_values: int, *, used: int | None = None, all_values: Tensor) -> Tensor:
        """``values`` in the current format; ``num_values`` of them share a step, and the first ``used`` steps hold."""
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
            # A scalar tensor as index would be read as a number, and the graph would hold for this number alone.
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
    """Quantises weights to integer ranges, with one step per output channel."""

    def __init__(self, ranges: Sequence[IntegerRange], out_channels: int) -> None:
        """Make the steps.

        Args:
            ranges: the integers of each format.
            out_channels: largest number of output channels of the layer.
        """
        super().__init__(len(ranges), out_channels)
        self.ranges = tuple(ranges)

    def limits(self, index: int) -> IntegerRange:
        return self.ranges[index]

    def fit_(self, index: int, values: Tensor) -> None:
        self.scales[index].copy_(best_weight_steps(values, self.ranges[index]))

    def forward(self, active: Tensor, weight: Tensor) -> Tensor:
        """Quantise the active weights.

        Args:
            active: weights of the leading output channels, a part of ``weight``.
            weight: all weights of the layer, on which the steps are fitted.

        Returns:
            The active weights in the current format.
        """
        return self._quantized(active, active[0].numel(), used=len(active), all_values=weight)

    def steps(self, index: int, used: int) -> Tensor | None:
        """Copy the steps of a format.

        Args:
            index: index of the format.
            used: number of leading output channels.

        Returns:
            The steps of these channels (used,); None if the format has not been fitted.
        """
        return self.scales[index].detach()[:used].clone() if bool(self.fitted[index]) else None

    def _tensor_limits(self, like: Tensor, index: int) -> tuple[Tensor, Tensor]:
        limits = self.ranges[index]
        return like.new_tensor(float(limits.lower)), like.new_tensor(float(limits.upper))


class ActivationQuantizer(ElasticQuantizer):
    """Quantises activations to unsigned integers, with one step and one zero point per bit width."""

    def __init__(self, widths: Sequence[int]) -> None:
        """Make the steps.

        Args:
            widths: bit width of each format.
        """
        super().__init__(len(widths), None)
        self.widths = tuple(widths)

    def limits(self, index: int) -> IntegerRange:
        offset = int(self.zero_points[index])
        return IntegerRange(-offset, 2 ** self.widths[index] - 1 - offset)

    def fit_(self, index: int, values: Tensor) -> None:
        flat = values.flatten()
        # The stride is odd, because an even one may meet the same pixel of every map. The extremes set the range.
        sample = torch.cat([flat[:: flat.numel() // _SAMPLE | 1], flat.min()[None], flat.max()[None]])
        grid = best_activation_grid(sample, self.widths[index], unsigned=False)
        self.scales[index].fill_(grid.step)
        self.zero_points[index] = grid.zero_point

    def forward(self, values: Tensor) -> Tensor:
        """Quantise activations.

        Args:
            values: (batch, ...).

        Returns:
            The values in the current format.
        """
        return self._quantized(values, values[0].numel(), all_values=values)

    def _tensor_limits(self, like: Tensor, index: int) -> tuple[Tensor, Tensor]:
        offset = self.zero_points[index].to(like.dtype)
        return -offset, 2 ** self.widths[index] - 1 - offset


class QuantizerFormats:
    """The different formats of weights and of activations among some precisions, floating point left out.

    Attributes:
        weights: integer ranges of weights.
        activations: bit widths of activations.
    """

    def __init__(self, precisions: Sequence[Precision]) -> None:
        """Collect the formats.

        Args:
            precisions: the precisions from which an architecture may choose.
        """
        self.weights = tuple(dict.fromkeys(r for r in map(_range_of, precisions) if r is not None))
        self.activations = tuple(
            dict.fromkeys(p.activation_bits for p in precisions if p.activation_bits != FLOAT_BITS)
        )

    def for_weights(self, out_channels: int) -> WeightQuantizer | None:
        """Make a quantiser for the weights of a layer.

        Args:
            out_channels: largest number of output channels of the layer.

        Returns:
            The quantiser; None if all weights are in floating point.
        """
        return WeightQuantizer(self.weights, out_channels) if self.weights else None

    def for_activations(self) -> ActivationQuantizer | None:
        """A new quantiser for activations; None if all activations are in floating point."""
        return ActivationQuantizer(self.activations) if self.activations else None


def choose_weights(quantizer: WeightQuantizer | None, precision: Precision) -> None:
    """Set the format of a layer's weights.

    Args:
        quantizer: the quantiser of the weights; None = they stay in floating point.
        precision: the bit widths to use, one of those for which the quantiser was made.
    """
    if quantizer is not None:
        limits = _range_of(precision)
        quantizer.choose(None if limits is None else quantizer.ranges.index(limits))


def choose_activations(quantizer: ActivationQuantizer | None, bits: int) -> None:
    """Set the format of activations.

    Args:
        quantizer: the quantiser of the activations; None = they stay in floating point.
        bits: the bit width to use, one of those for which the quantiser was made; 32 = floating point.
    """
    if quantizer is not None:
        quantizer.choose(None if bits == FLOAT_BITS else quantizer.widths.index(bits))


def _range_of(precision: Precision) -> IntegerRange | None:
    if precision.weight_bits == FLOAT_BITS:
        return None
    return weight_range(precision.weight_bits, ternary=precision.ternary)
