"""A layer as a loop nest: which loops each operand depends on, and how wide its elements are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import gcd, prod

from offramp.cost.sparsity_gain import SparseGain
from offramp.hardware.accelerator import MemoryOperand
from offramp.workload.layer import POOL_OPS, LayerShape, Op

ELEMENT_WISE_OPS = frozenset({Op.ADD, Op.MULTIPLY})


@dataclass(frozen=True)
class SlidingWindow:
    """An input axis that two loops walk over: index = ``stride`` * position + ``dilation`` * tap.

    Attributes:
        position: Name of the loop over output positions.
        tap: Name of the loop over the kernel.
        stride: Indices between two positions, >= 1.
        dilation: Indices between two taps, >= 1.
        size: Length of the axis without padding; no more indices than that are ever held.
    """

    position: str
    tap: str
    stride: int
    dilation: int
    size: int

    def covered(self, positions: int, taps: int) -> int:
        """Return how many different indices are touched.

        Args:
            positions: Number of consecutive positions.
            taps: Number of consecutive taps.

        Returns:
            Number of indices, at most ``size``.
        """
        common = gcd(self.stride, self.dilation)
        repeated = max(0, taps - self.stride // common) * (positions - self.dilation // common)
        return min(self.size, positions * taps - repeated)


@dataclass(frozen=True)
class Operand:
    """One tensor of a layer.

    Attributes:
        name: ``I`` for the input, ``W`` for weights or the second input, ``O`` for the output.
        memory_operand: What memories call it: ``I1``, ``I2`` or ``O``.
        relevant: Loops that change the element, without those of ``windows``.
        irrelevant: Loops that reuse the element.
        windows: Axes that two loops walk over; those loops change the element and reuse it.
        bits: Bits of an element; fractional for compressed weights.
        partial_bits: Bits of an unfinished sum; equal to ``bits`` for inputs.
    """

    name: str
    memory_operand: MemoryOperand
    relevant: tuple[str, ...]
    irrelevant: frozenset[str]
    windows: tuple[SlidingWindow, ...]
    bits: float
    partial_bits: float

    @property
    def is_output(self) -> bool:
        """Whether this is the layer's output."""
        return self.memory_operand == "O"


@dataclass(frozen=True)
class LoopNest:
    """The loops of a layer and its operands.

    Attributes:
        dims: Names of the loops, in the engine's order.
        sizes: Number of iterations of each loop.
        operands: The operands, output first.
        search_order: The order in which loops are offered to an array dimension. It decides between equally good
            spatial mappings.
        sparsity: What zero weights save; None where they save nothing.
        needed: Iterations that the layer needs of each loop, where the array computes dummies beside them; None where
            it computes no more than that.
    """

    dims: tuple[str, ...]
    sizes: tuple[int, ...]
    operands: tuple[Operand, ...]
    search_order: tuple[str, ...]
    sparsity: SparseGain | None = None
    needed: tuple[int, ...] | None = None

    def padded(self, sizes: Mapping[str, int]) -> "LoopNest":
        """Return the nest with longer loops, of which the iterations beyond the layer are dummies.

        Args:
            sizes: Number of iterations of the loops that change, not below what they were.

        Returns:
            The nest.
        """
        longer = tuple(sizes.get(dim, size) for dim, size in zip(self.dims, self.sizes, strict=True))
        return self if longer == self.sizes else replace(self, sizes=longer, needed=self.needed or self.sizes)

    def size(self, dim: str) -> int:
        """Return the number of iterations of a loop.

        Args:
            dim: Name of the loop.

        Returns:
            The number; 1 for loops that the layer does not have.
        """
        return self.sizes[self.dims.index(dim)] if dim in self.dims else 1

    def bits(self, operand: MemoryOperand) -> int:
        """Return the bits of an operand's elements as they are multiplied.

        Args:
            operand: What memories call the operand.

        Returns:
            The bits; 0 where the layer has no such operand.
        """
        if operand == "I2" and self.sparsity is not None:
            return self.sparsity.plain_bits
        return int(next((item.bits for item in self.operands if item.memory_operand == operand), 0))

    @property
    def operations(self) -> int:
        """Multiplications (or comparisons, or additions) of the layer: padding of its input included, dummies not."""
        return prod(self.needed or self.sizes)


@dataclass(frozen=True)
class _Tensor:
    name: str
    dims: str
    bits: int
    partial_bits: int
    windows: tuple[SlidingWindow, ...] = ()


_MEMORY_OPERANDS: dict[str, MemoryOperand] = {"O": "O", "I": "I1", "W": "I2"}


def sparse_nest(nest: LoopNest, gain: SparseGain | None) -> LoopNest:
    """Return a nest whose weights have the average width of stored weights.

    Args:
        nest: The nest of the dense layer.
        gain: What zero weights save; None leaves the nest as it is.

    Returns:
        The nest.
    """
    if gain is None:
        return nest
    operands = tuple(
        replace(item, bits=gain.stored_bits, partial_bits=gain.stored_bits) if item.memory_operand == "I2" else item
        for item in nest.operands
    )
    return replace(nest, operands=operands, sparsity=gain)


def loop_nest(shape: LayerShape) -> LoopNest:
    """Return the loop nest of a layer.

    Pooling is a depthwise convolution whose weights take no bits; its channels are the K loop, so that a dataflow
    that unrolls K fits it. Addition and multiplication read two tensors of the output's size through I and W; their
    loops are batch, channel, row and column, called B, H, D and K, so K unrolls over the width.

    Args:
        shape: The layer.

    Returns:
        The nest.
    """
    if shape.op in POOL_OPS:
        return _pool_nest(shape)
    if shape.op in ELEMENT_WISE_OPS:
        return _element_wise_nest(shape)
    if shape.op is Op.DENSE and shape.g == shape.oy == shape.ox == shape.fy == shape.fx == 1:
        return _dense_nest(shape)
    return _conv_nest(shape)


def _windows(shape: LayerShape) -> tuple[SlidingWindow, ...]:
    return (
        SlidingWindow("OX", "FX", shape.stride_x, shape.dilation_x, shape.ix),
        SlidingWindow("OY", "FY", shape.stride_y, shape.dilation_y, shape.iy),
    )


def _conv_nest(shape: LayerShape) -> LoopNest:
    dims = ("B", "K", "G", "OX", "OY", "C", "FX", "FY")
    sizes = (shape.b, shape.k, shape.g, shape.ox, shape.oy, shape.c, shape.fx, shape.fy)
    read = shape.bits_of_input(0)
    tensors = (
        _Tensor("O", "B G K OY OX", shape.activation_bits, shape.partial_sum_bits),
        _Tensor("W", "G K C FY FX", shape.weight_bits, shape.weight_bits),
        _Tensor("I", "B G C", read, read, _windows(shape)),
    )
    return _build(dims, sizes, tensors, ("FY", "FX", "B", "G", "OX", "C", "K", "OY"))


def _pool_nest(shape: LayerShape) -> LoopNest:
    dims = ("B", "K", "OX", "OY", "C", "FX", "FY")
    sizes = (shape.b, shape.g * shape.k, shape.ox, shape.oy, shape.c, shape.fx, shape.fy)
    read = shape.bits_of_input(0)
    tensors = (
        _Tensor("O", "B K OY OX", shape.activation_bits, shape.partial_sum_bits),
        _Tensor("W", "FY FX", 0, 0),
        _Tensor("I", "B K", read, read, _windows(shape)),
    )
    return _build(dims, sizes, tensors, ("FY", "FX", "B", "C", "OX", "K", "OY"))


def _element_wise_nest(shape: LayerShape) -> LoopNest:
    dims = ("B", "H", "D", "K")
    sizes = (shape.b, shape.g * shape.k, shape.oy, shape.ox)
    first, second = shape.bits_of_input(0), shape.bits_of_input(1)
    every = "B H D K"
    tensors = (
        _Tensor("O", every, shape.activation_bits, shape.partial_sum_bits),
        _Tensor("W", every, second, second),
        _Tensor("I", every, first, first),
    )
    return _build(dims, sizes, tensors, ("K", "B", "D", "H"))


def _dense_nest(shape: LayerShape) -> LoopNest:
    dims = ("D", "K", "C")
    sizes = (shape.b, shape.k, shape.c)
    tensors = (
        _Tensor("O", "D K", shape.activation_bits, shape.partial_sum_bits),
        _Tensor("I", "D C", shape.bits_of_input(0), shape.bits_of_input(0)),
        _Tensor("W", "C K", shape.weight_bits, shape.weight_bits),
    )
    return _build(dims, sizes, tensors, ("K", "D", "C"))


def _build(
    dims: tuple[str, ...], sizes: tuple[int, ...], tensors: tuple[_Tensor, ...], order: tuple[str, ...]
) -> LoopNest:
    size = dict(zip(dims, sizes, strict=True))
    operands = []
    for tensor in tensors:
        names = tensor.dims.split()
        sliding = {name for window in tensor.windows for name in (window.position, window.tap)}
        irrelevant = frozenset(dim for dim in dims if dim not in names and dim not in sliding and size[dim] > 1)
        # Loops of size 1 change nothing, but they keep the order of multiplication of a tensor with windows.
        relevant = tuple(dim for dim in names if size[dim] > 1 or tensor.windows)
        operands.append(
            Operand(
                name=tensor.name,
                memory_operand=_MEMORY_OPERANDS[tensor.name],
                relevant=relevant,
                irrelevant=irrelevant,
                windows=tensor.windows,
                bits=tensor.bits,
                partial_bits=tensor.partial_bits,
            )
        )
    return LoopNest(dims, sizes, tuple(operands), order)
