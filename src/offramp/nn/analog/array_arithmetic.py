"""What an analog in-memory array computes: ternary weights, groups of rows that are read together, noisy converters.

Source: KULeuven-MICAS/diana-quantlib, core/Operations.py (the operation, not its code).
"""

from typing import Any, cast

import torch
from torch import Tensor

from offramp.hardware.chip_formulas import InMemoryArray
from offramp.nn.quantization.fake_quantize import (
    SMALLEST_STEP,
    IntegerRange,
    fake_quantize,
    gradient_scale,
    quantize,
    step_size,
)

TERNARY = IntegerRange(-1, 1)
"""The weights of an analog array."""

_FRACTIONS = 40


class Noise:
    """The noise of all analog layers of a network; a copy of it is without noise.

    Attributes:
        generator: Draws the noise; None: there is none.
        shared_by: How many images of a batch have the same noise. A batch that it does not divide has one noise per
            image.
    """

    def __init__(self) -> None:
        self.generator: torch.Generator | None = None
        # Drawing noise takes as long as a convolution. In training, images may therefore share it.
        self.shared_by = 1

    def __deepcopy__(self, memo: dict[int, Any]) -> "Noise":
        return Noise()

    def read(self, results: Tensor, snr: float, limits: IntegerRange, step: float) -> Tensor:
        """Add noise to what converters read: round(y + y / snr * N(0, 1)), within the limits; without gradient.

        Args:
            results: ``step`` times the integers y; shape (batch, ...).
            snr: Ratio of signal to noise; 0: there is no noise.
            limits: The integers that a converter can give.
            step: Value of one integer, > 0.

        Returns:
            ``step`` times the noisy integers; ``results`` itself where there is no noise.
        """
        if self.generator is None or not snr:
            return results
        shares = self.shared_by if len(results) % self.shared_by == 0 else 1
        groups = results.view(shares, -1, *results.shape[1:])
        drawn = torch.randn(groups.shape[1:], generator=self.generator, device=self.generator.device)
        drawn = drawn.mul_(1.0 / (snr * step)).to(results.device)
        # y is an integer: rounding the sum equals rounding the noise.
        read = torch.add(groups, (groups * drawn).round_(), alpha=step)
        return read.clamp_(limits.lower * step, limits.upper * step).flatten(0, 1)


class _Noisy(torch.autograd.Function):
    """Adds noise; gradients pass unchanged."""

    @staticmethod
    def forward(ctx: Any, read: Tensor, noise: Noise, snr: float, limits: IntegerRange, step: float) -> Tensor:
        return noise.read(read, snr, limits, step).to(read.dtype).view_as(read)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        return gradients[0], None, None, None, None


def signed_range(bits: int) -> IntegerRange:
    """The range of two's complement.

    Args:
        bits: Number of bits, >= 2.

    Returns:
        The range from -2^(bits - 1) to 2^(bits - 1) - 1.
    """
    return IntegerRange(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def row_groups(weight: Tensor, array: InMemoryArray) -> list[slice]:
    """Divide the input channels of a convolution into groups that fill the rows of an array.

    Args:
        weight: Weights (output channels, input channels, kernel height, kernel width).
        array: The array.

    Returns:
        The input channels of each group; a converter reads the sums of one group at a time.
    """
    _, inputs, height, width = weight.shape
    size = array.rows // (height * width)
    return [slice(start, min(start + size, inputs)) for start in range(0, inputs, size)]


def read_sums(sums: Tensor, scale: Tensor, array: InMemoryArray, noise: Noise) -> Tensor:
    """Sums as a converter with a learned step reads them, for training: with gradients to the sums and to the step.

    Args:
        sums: Sums of one group of rows; shape (batch, channels, height, width).
        scale: The learned step, one value in the unit of ``sums``.
        array: The array whose converter reads them.
        noise: The noise of the network.

    Returns:
        Multiples of the step, within the range of the converter; same shape as ``sums``.
    """
    limits = signed_range(array.converters.output_bits)
    read = fake_quantize(sums, scale, limits, gradient_scale(sums[0].numel(), limits))
    step = float(step_size(scale.detach()))
    return cast(Tensor, _Noisy.apply(read, noise, array.converters.snr, limits, step))  # type: ignore[no-untyped-call]


def best_step(values: Tensor, limits: IntegerRange) -> float:
    """The quantisation step with the smallest sum of squared errors, among 40 tried ones.

    Args:
        values: The values to quantise, of any shape.
        limits: The integers of the format.

    Returns:
        The step, > 0; the largest one tried just fits the largest absolute value.
    """
    largest = float(values.abs().max())
    best, best_loss = max(largest / limits.upper, SMALLEST_STEP), float("inf")
    for fraction in torch.linspace(0.05, 1.0, _FRACTIONS).tolist():
        step = max(largest * fraction / limits.upper, SMALLEST_STEP)
        loss = float((quantize(values, torch.tensor(step), limits) * step - values).square().sum())
        if loss < best_loss:
            best, best_loss = step, loss
    return best


def per_channel_weight(values: Tensor, weight: Tensor) -> Tensor:
    """Shape one value per output channel so that it broadcasts over weights.

    Args:
        values: One value per output channel.
        weight: Weights (output channels, ...).

    Returns:
        The values, with as many axes as ``weight``.
    """
    return values.view(-1, *[1] * (weight.dim() - 1))
