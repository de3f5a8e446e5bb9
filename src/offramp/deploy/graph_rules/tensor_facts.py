"""What is known of a tensor without computing it: its type, its shape for any number of samples, and small contents."""

import math
from dataclasses import dataclass

from offramp.deploy.graph_rules.graph_demand import MAX_TENSOR_VALUES

FLOAT, INT64, INT32, BOOL, DOUBLE, UINT32, UINT64 = 1, 7, 6, 9, 11, 12, 13
FLOATS = frozenset({FLOAT, DOUBLE})
SHAPE_TYPES = frozenset({INT32, INT64})

BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 11: 64, 12: 32, 13: 64, 21: 4, 22: 4, 25: 2, 26: 2}
"""Bits per value of the element types that offramp writes, by their number in ONNX: 32-bit and 64-bit floating point,
integers of 2 to 64 bits, and booleans."""

MAX_CONTENT = 64
"""The largest number of values of a tensor whose content is followed, such as a shape."""

_MAX_AXES = 8
_MAX_NUMBER = 2**40


class RefusedGraph(Exception):  # noqa: N818 - becomes a clause of a BundleError
    """The reason why a graph is refused."""


@dataclass(frozen=True)
class Batched:
    """A size that grows with the number of samples: ``times`` for each.

    Attributes:
        times: The size for one sample, >= 1.
    """

    times: int

    def __str__(self) -> str:
        """Return the size as a formula."""
        return "batch" if self.times == 1 else f"{self.times}*batch"


Size = int | Batched
Shape = tuple[Size, ...]


@dataclass(frozen=True)
class TensorFacts:
    """What is known of a tensor.

    Attributes:
        element: Number of its element type in ONNX.
        shape: Its shape; at most one size grows with the number of samples.
        content: Its values in order, where it is a small tensor of integers whose values are known.
        constant: Whether it follows from constants alone.
        numbers: Its values in order, where it is a small constant of floating-point numbers, such as scales.
    """

    element: int
    shape: Shape
    content: tuple[Size, ...] | None = None
    constant: bool = False
    numbers: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.element not in BITS:
            raise RefusedGraph(f"has the element type {self.element}, which no bundle has")
        if len(self.shape) > _MAX_AXES:
            raise RefusedGraph(f"must have at most {_MAX_AXES} axes, but it has {len(self.shape)}")
        if any(isinstance(size, int) and size < 0 for size in self.shape):
            raise RefusedGraph(f"has a negative size: {shown(self.shape)}")
        if sum(isinstance(size, Batched) for size in self.shape) > 1:
            raise RefusedGraph(f"has the shape {shown(self.shape)}, which grows faster than the number of samples")
        if self.count > MAX_TENSOR_VALUES:
            raise RefusedGraph(
                f"must have at most {MAX_TENSOR_VALUES} values for one sample, but it has the shape {shown(self.shape)}"
            )

    @property
    def count(self) -> int:
        """The number of values for one sample."""
        return math.prod(for_one(size) for size in self.shape)

    @property
    def size_bytes(self) -> int:
        """The size for one sample in memory, where no value is smaller than a byte."""
        return self.count * max(BITS[self.element], 8) // 8


def for_one(size: Size) -> int:
    """Take a size for one sample.

    Args:
        size: The size.

    Returns:
        Its value.
    """
    return size.times if isinstance(size, Batched) else size


def fixed(size: Size) -> int:
    """Take a size that must not depend on the number of samples.

    Args:
        size: The size.

    Returns:
        Its value.

    Raises:
        RefusedGraph: It grows with the number of samples.
    """
    if isinstance(size, Batched):
        raise RefusedGraph(f"needs a fixed size, got {size}")
    return size


def product(sizes: Shape) -> Size:
    """Multiply sizes.

    Args:
        sizes: The sizes.

    Returns:
        The product.

    Raises:
        RefusedGraph: The product grows faster than the number of samples.
    """
    if sum(isinstance(size, Batched) for size in sizes) > 1:
        raise RefusedGraph(f"multiplies {shown(sizes)}, which grows faster than the number of samples")
    result = math.prod(for_one(size) for size in sizes)
    if result > _MAX_NUMBER:
        raise RefusedGraph(f"must have at most {MAX_TENSOR_VALUES} values for one sample, but it has {shown(sizes)}")
    return Batched(result) if result and any(isinstance(size, Batched) for size in sizes) else result


def total(sizes: Shape) -> Size:
    """Add sizes that are all fixed, or all grow with the number of samples.

    Args:
        sizes: The sizes.

    Returns:
        The sum.

    Raises:
        RefusedGraph: Some of them grow with the number of samples and others do not.
    """
    kinds = {isinstance(size, Batched) for size in sizes}
    if len(kinds) > 1:
        raise RefusedGraph(f"joins sizes of which only some grow with the number of samples: {shown(sizes)}")
    result = sum(for_one(size) for size in sizes)
    return Batched(result) if kinds == {True} else result


def broadcast(*shapes: Shape) -> Shape:
    """Join shapes by the broadcasting rule of ONNX.

    Args:
        *shapes: The shapes.

    Returns:
        The shape of the result.

    Raises:
        RefusedGraph: They do not fit together.
    """
    rank = max(map(len, shapes))
    result: list[Size] = []
    for axis in range(rank):
        sizes = [shape[axis - rank] for shape in shapes if len(shape) >= rank - axis]
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            raise RefusedGraph(f"is not a graph whose shapes fit together: {', '.join(map(shown, shapes))}")
        result.append(wide.pop() if wide else 1)
    return tuple(result)


def shown(shape: Shape) -> str:
    """Write a shape for a message.

    Args:
        shape: The shape.

    Returns:
        The text.
    """
    return f"[{', '.join(map(str, shape[:16]))}]"
