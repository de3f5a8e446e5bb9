"""Mappings of one layer on one core: spatially unrolled loops, and the possible orders of the others."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from offramp.cost.engines.native.loop_nest import LoopNest, Operand
from offramp.cost.engines.native.memory_levels import CoreView
from offramp.hardware.accelerator import MemoryOperand, SpatialLoop

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Unrolling:
    """A loop that is unrolled in space.

    Attributes:
        dim: Name of the loop.
        factor: How many of its iterations run at once; fractional where the unrolling does not divide the loop.
    """

    dim: str
    factor: float


@dataclass(frozen=True)
class OperandUnrolling:
    """The unrollings of one operand by memory level.

    Attributes:
        levels: Unrollings below memory level 0, then between two memory levels each, then above the last one.
    """

    levels: tuple[tuple[Unrolling, ...], ...]


@dataclass(frozen=True)
class SpatialPlan:
    """A spatial mapping spread over the memory levels of each operand.

    Attributes:
        mapping: The unrolled loops.
        exact: Unrollings per operand that share the work evenly (a loop of 10 on 8 lanes takes 2 rounds of 5); for
            energy.
        whole: Unrollings per operand cut to integers; for latency.
    """

    mapping: tuple[SpatialLoop, ...]
    exact: tuple[OperandUnrolling, ...]
    whole: tuple[OperandUnrolling, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the exact unrollings are integers."""
        return self.exact == self.whole


@dataclass(frozen=True)
class TemporalLoop:
    """A loop that runs in time.

    Attributes:
        dim: Name of the loop.
        size: Number of iterations, >= 1.
    """

    dim: str
    size: int


@dataclass(frozen=True, eq=False)
class Orderings:
    """Orders of the temporal loops, one per column, inner loop first.

    Attributes:
        loops: The distinct loops.
        index: Array (places x orders) of positions in ``loops``.
    """

    loops: tuple[TemporalLoop, ...]
    index: IntArray

    @property
    def count(self) -> int:
        """Number of orders."""
        return int(self.index.shape[1])

    @property
    def total_cycles(self) -> int:
        """Iterations of all loops together, the same for all orders."""
        return math.prod(self.loops[place].size for place in self.index[:, 0])

    def blocks(self, size: int) -> Iterator["Orderings"]:
        """Split the orders into blocks.

        Args:
            size: Most orders of a block, >= 1.

        Yields:
            The blocks, in order.
        """
        for start in range(0, self.count, size):
            yield Orderings(self.loops, self.index[:, start : start + size])

    def describe(self, column: int) -> tuple[TemporalLoop, ...]:
        """Return the loops of one order.

        Args:
            column: Number of the order.

        Returns:
            The loops, inner loop first.
        """
        return tuple(self.loops[place] for place in self.index[:, column])


def plan_spatial(nest: LoopNest, view: CoreView, mapping: tuple[SpatialLoop, ...]) -> SpatialPlan:
    """Spread a spatial mapping over the memory levels, once with fractional and once with integer factors.

    Args:
        nest: The layer's loops.
        view: The core.
        mapping: The unrolled loops.

    Returns:
        The plan.
    """
    exact, whole = _adjust(nest, view, mapping)
    links: tuple[MemoryOperand, ...] = tuple(operand.memory_operand for operand in nest.operands)
    return SpatialPlan(
        mapping,
        tuple(_per_level(view, link, exact) for link in links),
        tuple(_per_level(view, link, whole) for link in links),
    )


@dataclass(frozen=True)
class _Adjusted:
    array_dimension: str
    dim: str
    factor: float


def _adjust(
    nest: LoopNest, view: CoreView, mapping: tuple[SpatialLoop, ...]
) -> tuple[tuple[_Adjusted, ...], tuple[_Adjusted, ...]]:
    """Even out loops that their unrolling does not divide, on the array dimension that unrolls them most."""
    array = {item.name: item.size for item in view.core.array}
    exact: list[_Adjusted] = []
    whole: list[_Adjusted] = []
    for loop in mapping:
        if loop.loop not in nest.dims:
            continue
        factor = min(loop.size, array[loop.array_dimension])
        largest = max(other.size for other in mapping if other.loop == loop.loop)
        first = next(o for o in mapping if o.loop == loop.loop and o.size == largest)
        if first.array_dimension != loop.array_dimension:
            exact.append(_Adjusted(loop.array_dimension, loop.loop, factor))
            whole.append(_Adjusted(loop.array_dimension, loop.loop, factor))
            continue
        size = nest.size(loop.loop)
        for done, keep_fraction in ((exact, True), (whole, False)):
            before: float = 1
            for item in done:
                if item.dim == loop.loop and item.array_dimension != loop.array_dimension:
                    before *= item.factor
            rounds = math.ceil(size / (factor * before))
            even = size / rounds / before
            done.append(_Adjusted(loop.array_dimension, loop.loop, even if keep_fraction else int(even)))
    return tuple(exact), tuple(whole)


def _per_level(view: CoreView, link: MemoryOperand, loops: tuple[_Adjusted, ...]) -> OperandUnrolling:
    left = list(loops)
    levels: list[tuple[Unrolling, ...]] = []
    for level in view.levels[link]:
        served = view.memories[level.memory].level.served_dimensions
        here = [loop for name in served for loop in left if loop.array_dimension == name]
        left = [loop for loop in left if loop.array_dimension not in served]
        levels.append(_merged(here))
    levels.append(_merged(left))
    return OperandUnrolling(tuple(levels))


def _merged(loops: list[_Adjusted]) -> tuple[Unrolling, ...]:
    factors: dict[str, float] = {}
    for loop in loops:
        factors[loop.dim] = factors[loop.dim] * loop.factor if loop.dim in factors else loop.factor
    return tuple(Unrolling(dim, factor) for dim, factor in factors.items())


def temporal_loops(nest: LoopNest, plan: SpatialPlan, limit: int) -> tuple[TemporalLoop, ...]:
    """Return the loops that remain to run in time, as prime factors merged until few enough loops are left.

    Args:
        nest: The layer's loops.
        plan: The spatial mapping.
        limit: Most loops; exceeded only where more dimensions than that remain, which keep one loop each.

    Returns:
        The loops; a single loop of size 1 where nothing remains.
    """
    remaining = dict(zip(nest.dims, nest.sizes, strict=True))
    for level in plan.exact[1].levels:
        for loop in level:
            if loop.dim not in remaining:
                continue
            rounds = math.ceil(remaining[loop.dim] / loop.factor)
            if rounds == 1:
                del remaining[loop.dim]
            else:
                remaining[loop.dim] = rounds
    factors = {dim: prime_factors(size) for dim, size in remaining.items() if size > 1}
    if not factors:
        return (TemporalLoop(nest.dims[0], 1),)
    total = sum(len(found) for found in factors.values())
    for _ in range(total - max(limit, len(factors))):
        longest = max(factors, key=lambda dim: len(factors[dim]))
        first, second, *rest = factors[longest]
        factors[longest] = sorted([first * second, *rest])
    return tuple(TemporalLoop(dim, size) for dim, found in factors.items() for size in found)


def prime_factors(number: int) -> list[int]:
    """Return the prime factors of a number.

    Args:
        number: The number, >= 1.

    Returns:
        The factors in rising order, each as often as it divides; none for 1.
    """
    found = []
    divisor = 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return [*found, number] if number > 1 else found


def all_orderings(loops: tuple[TemporalLoop, ...]) -> Orderings:
    """Return every distinct order of some loops.

    Args:
        loops: The loops; equal ones are interchangeable.

    Returns:
        The orders.
    """
    distinct = tuple(sorted(set(loops), key=lambda loop: (loop.dim, loop.size)))
    counts = tuple(loops.count(loop) for loop in distinct)
    return Orderings(distinct, multiset_permutations(counts))


@lru_cache(maxsize=256)
def multiset_permutations(counts: tuple[int, ...]) -> IntArray:
    """Return all permutations of a multiset of ranks.

    They are in cool-lex order, which decides among mappings of equal cost.

    Source: Williams, Loopless Generation of Multiset Permutations using a Constant Number of Variables by Prefix
    Shifts, SODA 2009.

    Args:
        counts: How often each rank occurs.

    Returns:
        A read-only array (places x permutations) of ranks.
    """
    current = [rank for rank, count in enumerate(counts) for _ in range(count)][::-1]
    found = [tuple(current)]
    place = len(current) - 2
    while True:
        after = place + 1
        if after == len(current) - 1 and current[after] >= current[0]:
            break
        beyond = after + 1 < len(current) and current[place] >= current[after + 1]
        taken = current.pop(after + 1 if beyond else after)
        place = 0 if taken < current[0] else place + 1
        current.insert(0, taken)
        found.append(tuple(current))
    table = np.array(found, dtype=np.int64).T.copy()
    table.setflags(write=False)
    return table


def flags(orderings: Orderings, dims: frozenset[str] | tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Return where loops of some dimensions are.

    Args:
        orderings: The loop orders.
        dims: Names of loops.

    Returns:
        An array (places x orders): whether the loop there is one of them.
    """
    of_loop = np.array([loop.dim in dims for loop in orderings.loops])
    result: npt.NDArray[np.bool_] = of_loop[orderings.index]
    return result


def operand_dims(operand: Operand) -> tuple[str, ...]:
    """Return all loops that change the element of an operand: the relevant ones, then those of its windows.

    Args:
        operand: The operand.

    Returns:
        Names of loops.
    """
    return operand.relevant + tuple(dim for window in operand.windows for dim in (window.position, window.tap))
