"""Number of elements of an operand below each position of each loop order."""

import math
from dataclasses import dataclass

import numpy as np

from offramp.cost.engines.native.loop_mapping import FloatArray, IntArray, OperandUnrolling, Orderings, operand_dims
from offramp.cost.engines.native.loop_nest import Operand


@dataclass(frozen=True, eq=False)
class TensorSizes:
    """Sizes of one operand's tensor under growing prefixes of the loop orders.

    With integer unrollings all products are exact, so the order in which they are multiplied does not matter. Otherwise
    rounding would show, and they are multiplied in the order in which ZigZag does it.

    Attributes:
        operand: The operand.
        dims: The loops that change its element.
        unrolling: The unrolled loops by memory level.
        factors: Array (places x dims x orders): the loop size where the loop belongs to the dim, else 1.
        cumulative: Array (places + 1 x dims x orders): the running product of ``factors``.
        whole: Whether all unrollings are integers.
    """

    operand: Operand
    dims: tuple[str, ...]
    unrolling: OperandUnrolling
    factors: FloatArray
    cumulative: FloatArray
    whole: bool

    @classmethod
    def of(cls, operand: Operand, unrolling: OperandUnrolling, orderings: Orderings) -> "TensorSizes":
        """Lay out the loop sizes of an operand.

        Args:
            operand: The operand.
            unrolling: Its unrolled loops by memory level.
            orderings: The loop orders.

        Returns:
            The sizes.
        """
        dims = operand_dims(operand)
        table = np.array([[loop.size if loop.dim == dim else 1.0 for loop in orderings.loops] for dim in dims])
        table = table.reshape(len(dims), len(orderings.loops))
        factors = np.ascontiguousarray(table[:, orderings.index].swapaxes(0, 1))
        cumulative = np.ones((factors.shape[0] + 1, *factors.shape[1:]))
        np.multiply.accumulate(factors, axis=0, out=cumulative[1:])
        loops = [loop for level in unrolling.levels for loop in level if loop.dim in dims]
        whole = all(float(loop.factor).is_integer() for loop in loops)
        return cls(operand, dims, unrolling, factors, cumulative, whole)

    def unrolled(self, level: int) -> FloatArray:
        """Return the unroll factors of one level.

        Args:
            level: 0 is below memory level 0, the next one between memory levels 0 and 1.

        Returns:
            A column (dims x 1).
        """
        found = {loop.dim: loop.factor for loop in self.unrolling.levels[level]}
        return np.array([found.get(dim, 1.0) for dim in self.dims], dtype=np.float64)[:, None]

    def unrolled_up_to(self, level: int) -> FloatArray:
        """Return the product of the unroll factors up to a level; exact only for integers.

        Args:
            level: The last level that counts.

        Returns:
            A column (dims x 1).
        """
        result = self.unrolled(0)
        for upper in range(1, level + 1):
            result = result * self.unrolled(upper)
        return result

    def start(self) -> FloatArray:
        """Dim sizes before any temporal loop: the unrolling below memory level 0, per order."""
        return np.repeat(self.unrolled(0), self.factors.shape[2], axis=1)

    def prefixes(self, level: int, held: FloatArray, first: IntArray) -> FloatArray:
        """Return how many elements a memory holds if it takes all loops before each place.

        Args:
            level: The operand's memory level.
            held: Sizes (dims x orders) from the loops before ``first`` and the unrollings up to ``level``.
            first: Per order, the first place that is still free.

        Returns:
            Elements (places + 1 x orders); rows before ``first`` have no meaning.
        """
        if self.whole:
            return self.elements(self.cumulative * self.unrolled_up_to(level))
        sizes = np.empty_like(self.cumulative)
        sizes[0] = held
        for place in range(len(self.factors)):
            np.multiply(sizes[place], np.where(place >= first, self.factors[place], 1.0), out=sizes[place + 1])
        return self.elements(sizes)

    def advance(self, held: FloatArray, first: IntArray, last: IntArray) -> FloatArray:
        """Multiply sizes by the loops of some places.

        Args:
            held: Sizes (dims x orders).
            first: Per order, the first place that counts.
            last: Per order, the place after the last one that counts.

        Returns:
            Sizes (dims x orders).
        """
        result = held.copy()
        for place in range(len(self.factors)):
            inside = (place >= first) & (place < last)
            result *= np.where(inside, self.factors[place], 1.0)
        return result

    def elements(self, sizes: FloatArray) -> FloatArray:
        """Return the number of elements of the tensor.

        Args:
            sizes: Size per dim; dims are on the second last axis.

        Returns:
            Elements, without the axis of the dims.
        """
        count: FloatArray | None = None
        for row in range(len(self.operand.relevant)):
            factor = sizes[..., row, :]
            count = factor if count is None else count * factor
        row = len(self.operand.relevant)
        for window in self.operand.windows:
            positions, taps = np.floor(sizes[..., row, :]), np.floor(sizes[..., row + 1, :])
            row += 2
            common = math.gcd(window.stride, window.dilation)
            repeated = np.maximum(0.0, taps - window.stride // common) * (positions - window.dilation // common)
            covered = np.minimum(window.size, positions * taps - repeated)
            count = covered if count is None else count * covered
        return np.ones(sizes.shape[:-2] + sizes.shape[-1:]) if count is None else count
