"""LayerShape: loop sizes and bit widths of one layer, the only input of a cost engine."""

import math
from dataclasses import dataclass
from enum import StrEnum


class Op(StrEnum):
    """Operators of a workload."""

    CONV = "conv"
    DENSE = "dense"
    MAX_POOL = "max_pool"
    AVG_POOL = "avg_pool"
    ADD = "add"
    MULTIPLY = "multiply"
    CONCAT = "concat"
    ACTIVATION = "activation"


MATRIX_OPS = frozenset({Op.CONV, Op.DENSE})
POOL_OPS = frozenset({Op.MAX_POOL, Op.AVG_POOL})


@dataclass(frozen=True)
class LayerShape:
    """Loop sizes and bit widths of one layer; nothing depends on its place in a network.

    Depthwise convolutions, pooling and element-wise operators have one group per channel and ``k = c = 1``. Dense
    layers
    have ``oy = ox = 1``.

    Attributes:
        op: Operator.
        b: Batch size.
        g: Number of groups; for a concatenation, the channels of the result.
        k: Output channels per group.
        c: Input channels per group.
        oy: Rows of the output.
        ox: Columns of the output.
        fy: Rows of the kernel.
        fx: Columns of the kernel.
        iy: Rows of the input without padding.
        ix: Columns of the input without padding.
        stride_y: Vertical stride, in rows of the input.
        stride_x: Horizontal stride, in columns of the input.
        dilation_y: Distance of the rows under the kernel.
        dilation_x: Distance of the columns under the kernel.
        padding: Rows and columns added to the input: top, left, bottom, right.
        weight_bits: Bits of a weight.
        activation_bits: Bits of a written value.
        input_bits: Bits of the values of each input; empty if all equal `activation_bits`.
        weight_density: Share of nonzero weights, above 0 and at most 1. Only a core with a stated gain from zeros
            computes sparse layers at a lower cost.
    """

    op: Op
    b: int = 1
    g: int = 1
    k: int = 1
    c: int = 1
    oy: int = 1
    ox: int = 1
    fy: int = 1
    fx: int = 1
    iy: int = 1
    ix: int = 1
    stride_y: int = 1
    stride_x: int = 1
    dilation_y: int = 1
    dilation_x: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    weight_bits: int = 8
    activation_bits: int = 8
    input_bits: tuple[int, ...] = ()
    weight_density: float = 1.0

    def __post_init__(self) -> None:
        if all(bits == self.activation_bits for bits in self.input_bits):
            # One representation, so that equal layers compare equal.
            object.__setattr__(self, "input_bits", ())
        if min(self.input_bits, default=1) < 1:
            raise ValueError(f"`input_bits` must be >= 1, got {self.input_bits}.")
        sizes = "b g k c oy ox fy fx iy ix stride_y stride_x dilation_y dilation_x weight_bits activation_bits"
        for name in sizes.split():
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be >= 1, got {getattr(self, name)}.")
        if not 0 < self.weight_density <= 1:
            raise ValueError(f"`weight_density` must be above 0 and at most 1, got {self.weight_density}.")
        if self.weight_density < 1 and self.op not in MATRIX_OPS:
            raise ValueError(f"`weight_density` is for layers with weights, got {self.weight_density} for {self.op}.")
        if min(self.padding) < 0:
            raise ValueError(f"`padding` must be >= 0, got {self.padding}.")

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations; 0 unless the layer is a convolution or dense."""
        if self.op not in MATRIX_OPS:
            return 0
        return self.b * self.g * self.k * self.c * self.oy * self.ox * self.fy * self.fx

    @property
    def num_weights(self) -> int:
        """Number of weights; 0 unless the layer is a convolution or dense."""
        return self.g * self.k * self.c * self.fy * self.fx if self.op in MATRIX_OPS else 0

    @property
    def num_outputs(self) -> int:
        """Elements of the output tensor."""
        return self.b * self.g * self.k * self.oy * self.ox

    @property
    def num_inputs(self) -> int:
        """Elements of one input tensor without padding."""
        return self.b * self.g * self.c * self.iy * self.ix

    @property
    def num_padded_inputs(self) -> int:
        """Elements of one input tensor with its padding."""
        top, left, bottom, right = self.padding
        return self.b * self.g * self.c * (self.iy + top + bottom) * (self.ix + left + right)

    @property
    def weight_size_bits(self) -> int:
        """Bits of all weights."""
        return self.num_weights * self.weight_bits

    @property
    def output_size_bits(self) -> int:
        """Bits of the output tensor."""
        return self.num_outputs * self.activation_bits

    def bits_of_input(self, index: int) -> int:
        """Find the bit width of one input.

        Args:
            index: Index of the input, from 0.

        Returns:
            Bits of each of its values.
        """
        return self.input_bits[index] if index < len(self.input_bits) else self.activation_bits

    @property
    def partial_sum_bits(self) -> int:
        """Bits of a partial sum: those of a product, at most 32."""
        return min(32, self.weight_bits + self.bits_of_input(0))


def conv_output_size(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Compute the output length of a convolution or pooling along one axis.

    Args:
        size: Length of the input.
        kernel: Length of the kernel.
        stride: Stride.
        padding: Padding of both sides together.
        dilation: Distance of the kernel's elements.

    Returns:
        Number of positions of the kernel, rounded down.
    """
    return math.floor((size + padding - dilation * (kernel - 1) - 1) / stride) + 1
