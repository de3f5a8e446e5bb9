"""Quantisation format of a layer, and the quantised layer for it."""

from dataclasses import dataclass

from torch import nn

from offramp.nn.quantization.activation_layers import QuantizedLayer
from offramp.nn.quantization.fake_quantize import IntegerRange, weight_range
from offramp.nn.quantization.matrix_layers import QuantizedMatrixLayer
from offramp.space.architecture import FLOAT_BITS, Precision


@dataclass(frozen=True)
class LayerFormat:
    """Number formats of a layer.

    Attributes:
        weight_limits: integers of the weights; None = floating point.
        activation_bits: bit width of the output; None = floating point.
    """

    weight_limits: IntegerRange | None
    activation_bits: int | None

    @classmethod
    def of(cls, precision: Precision) -> "LayerFormat":
        """The format for a precision.

        Args:
            precision: bit widths of weights and activations.

        Returns:
            The format.
        """
        weights, activations = precision.weight_bits, precision.activation_bits
        return cls(
            weight_limits=None if weights == FLOAT_BITS else weight_range(weights, ternary=precision.ternary),
            activation_bits=None if activations == FLOAT_BITS else activations,
        )


def build_matrix_layer(
    layer: nn.Conv2d | nn.Linear,
    norm: nn.BatchNorm2d | None,
    activation: nn.Module | None,
    form: LayerFormat,
    bits: int | None,
    source: QuantizedLayer | None,
) -> QuantizedMatrixLayer:
    """Build the quantised form of a convolution or linear layer.

    Args:
        layer: the layer, whose weights are shared.
        norm: the batch norm after it; None = none.
        activation: the activation function after it; None = none.
        form: format of the weights.
        bits: bit width of the output; None = floating point.
        source: the layer that makes the input; None = the input is in floating point.

    Returns:
        The quantised layer.
    """
    return QuantizedMatrixLayer(layer, norm, activation, form.weight_limits, bits, source)
