"""Allocation of loops to memory levels for every loop order, from the array outwards.

Source: the loop-order based allocation of LOMA (Symons et al., AICAS 2021) as zigzag-dse 3.9.1 does it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from offramp.cost.engines.native.loop_mapping import FloatArray, IntArray, Orderings, flags
from offramp.cost.engines.native.loop_nest import LoopNest, Operand
from offramp.cost.engines.native.memory_levels import CoreView, MemoryUse
from offramp.cost.engines.native.operand_sizes import TensorSizes

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Allocation:
    """Where the loops of each memory level begin.

    Attributes:
        bounds: One (levels + 1 x orders) array of places per operand.
        valid: Per order, whether it fits the memories.
    """

    bounds: tuple[IntArray, ...]
    valid: BoolArray


@dataclass(frozen=True, eq=False)
class _Choice:
    """What one operand may keep in the memory at hand, per place where it could stop.

    ``bits`` and ``accesses`` are (choices x orders), inf where it does not fit; ``stop`` the place after the last loop.
    """

    bits: FloatArray
    accesses: FloatArray
    first_bits: FloatArray
    stop: IntArray | None


class Allocator:
    """Allocates all orders at once; one use only."""

    def __init__(
        self, nest: LoopNest, view: CoreView, orderings: Orderings, sizes: tuple[TensorSizes, ...], prefix: FloatArray
    ) -> None:
        """Start at the array, with nothing allocated.

        Args:
            nest: The layer's loops.
            view: The core.
            orderings: The loop orders.
            sizes: Sizes of the tensors, per operand.
            prefix: Running product (places + 1 x orders) of the loop sizes.
        """
        self._view = view
        self._operands = {operand.memory_operand: (place, operand) for place, operand in enumerate(nest.operands)}
        self._sizes = sizes
        self._remaining = prefix[-1] / prefix
        self._columns = np.arange(orderings.count)
        self._places = orderings.index.shape[0]
        output = nest.operands[0]
        reuse = flags(orderings, output.irrelevant)
        # Whether a loop that adds to the same output lies at or behind each place.
        self._sums_behind = np.zeros((self._places + 1, orderings.count), dtype=bool)
        self._sums_behind[:-1] = np.logical_or.accumulate(reuse[::-1], axis=0)[::-1]
        self._reached = [np.zeros(orderings.count, dtype=np.int64) for _ in nest.operands]
        self._held = [item.start() for item in sizes]
        self._bounds = [[reached] for reached in self._reached]
        self._valid = np.ones(orderings.count, dtype=bool)

    def run(self) -> Allocation:
        """Allocate the loops to all memories, from the array outwards.

        Returns:
            The allocation.
        """
        for use in self._view.memories:
            self._allocate(use)
        return Allocation(tuple(np.stack(found) for found in self._bounds), self._valid)

    def _allocate(self, use: MemoryUse) -> None:
        held = [(self._operands[link], level) for link, level in use.operand_levels if link in self._operands]
        choices = [self._choice(use, place, operand, level) for (place, operand), level in held]
        stops = self._best(use, choices)
        for ((place, operand), level), stop in zip(held, stops, strict=True):
            sizes = self._sizes[place]
            if not sizes.whole:
                advanced = sizes.advance(self._held[place], self._reached[place], stop)
                self._held[place] = advanced * sizes.unrolled(level + 1)
            self._reached[place] = stop
            self._bounds[place].append(stop)
            if level == len(self._view.levels[operand.memory_operand]) - 1:
                self._valid &= stop == self._places

    def _bits_per_element(self, place: int, operand: Operand, level: int) -> FloatArray:
        """Width of what is stored; outputs stay wide while a loop that adds to them is still to come."""
        if not operand.is_output:
            return np.full(len(self._columns), float(operand.bits))
        levels = self._sizes[place].unrolling.levels[level + 1 :]
        if any(loop.dim in operand.irrelevant for found in levels for loop in found):
            return np.full(len(self._columns), float(operand.partial_bits))
        unfinished = self._sums_behind[self._reached[place], self._columns]
        return np.where(unfinished, float(operand.partial_bits), float(operand.bits))

    def _choice(self, use: MemoryUse, place: int, operand: Operand, level: int) -> _Choice:
        first = self._reached[place]
        bits = self._sizes[place].prefixes(level, self._held[place], first) * self._bits_per_element(
            place, operand, level
        )
        if use.level.double_buffering:
            bits = np.where(bits < bits[-1], 2 * bits, bits)
        ranks = np.arange(self._places + 1)[:, None]
        fits = (bits <= use.level.size_bits) | (ranks < first)
        fits = np.logical_and.accumulate(fits, axis=0) & (ranks >= first)
        first_bits = bits[first, self._columns]
        self._valid &= first_bits <= use.level.size_bits
        if level == len(self._view.levels[operand.memory_operand]) - 1:
            # The outermost memory of an operand takes whatever is left; nothing is fetched from further out.
            stop = first + np.maximum(fits.sum(axis=0) - 1, 0)
            last = bits[stop, self._columns]
            return _Choice(last[None], np.zeros((1, len(last))), last, stop)
        accesses = np.where(fits, self._remaining * bits, np.inf)
        return _Choice(bits, accesses, first_bits, None)

    def _best(self, use: MemoryUse, choices: list[_Choice]) -> list[IntArray]:
        """The place where each operand stops: fewest accesses to the level above; of equals the last combination."""
        bits, accesses = np.zeros((1, 1)), np.zeros((1, 1))
        smallest = np.zeros(len(self._columns))
        for choice in choices:
            bits = (bits[:, None] + choice.bits[None]).reshape(-1, len(self._columns))
            accesses = (accesses[:, None] + choice.accesses[None]).reshape(-1, len(self._columns))
            smallest = smallest + choice.first_bits
        self._valid &= smallest <= use.level.size_bits
        accesses = np.where(bits <= use.level.size_bits, accesses, np.inf)
        chosen = len(accesses) - 1 - np.argmin(accesses[::-1], axis=0)
        stops: list[IntArray] = []
        for choice in reversed(choices):
            chosen, row = np.divmod(chosen, len(choice.bits))
            stops.append(row if choice.stop is None else choice.stop)
        return stops[::-1]
