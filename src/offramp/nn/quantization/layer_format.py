"""Quantisation format of a layer, and the quantiser for it."""

from dataclasses import dataclass

from torch import nn

from offramp.nn.quantization.activation_layers import QuantizedLayer
from offramp.nn.quantization.fake_quantize import IntegerRange, weight_range
from offramp.nn.quantization.matrix_layers import QuantizedMatrixLayer
from offramp.space.architecture import FLOAT_BITS, Precision


@dataclass(frozen=True)
class LayerFormat:
    """What a layer is quantised to; None = floating point."""

    weight_limits: IntegerRange | None
    activation_bits: int | None

    @classmethod
    def of(cls, precision: Precision) -> "LayerFormat":
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
    """The quantised form of a convolution or linear layer; ``bits`` are those it writes, None = floating point."""
    return QuantizedMatrixLayer(layer, norm, activation, form.weight_limits, bits, source)
