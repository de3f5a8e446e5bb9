"""Transfers between memory levels for every loop order: amounts, widths and counts."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from offramp.cost.engines.native.loop_mapping import FloatArray, IntArray, OperandUnrolling, Orderings, flags
from offramp.cost.engines.native.loop_nest import LoopNest, Operand
from offramp.cost.engines.native.operand_sizes import TensorSizes

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Reuse:
    """How the loops of one operand are split over its memories; the same for energy and latency.

    Arrays are (levels + 1 x orders); row 0 belongs to the array, row ``l + 1`` to memory level ``l``.

    Attributes:
        bounds: The place after the last loop of the level.
        cycles: How long the level's content lasts.
        top_relevant: Product of the run of relevant loops at the level's outer end.
        top_irrelevant: Product of the run of irrelevant loops at the level's outer end.
        sums_behind: Product of the loops further out that add to the same output.
    """

    bounds: IntArray
    cycles: FloatArray
    top_relevant: FloatArray
    top_irrelevant: FloatArray
    sums_behind: FloatArray


@dataclass(frozen=True, eq=False)
class Traffic:
    """Movements of one operand; arrays are (levels + 1 x orders) as in `Reuse`.

    Attributes:
        data: Elements in one unit of the level.
        bits: Bits of an element in the level.
        link_bits: Bits of an element on the way to the level above.
        back_bits: Bits of an element on the way from the level above; 0 where nothing comes back.
        unfinished: Whether partial sums come back from the level above.
        boost: Per memory level, units of the level below that one unit feeds with different data.
        units: Number of units, the array's first.
    """

    data: FloatArray
    bits: FloatArray
    link_bits: FloatArray
    back_bits: FloatArray
    unfinished: BoolArray
    boost: tuple[int, ...]
    units: tuple[int, ...]


def reuse_of(operand: Operand, bounds: IntArray, orderings: Orderings, prefix: FloatArray) -> Reuse:
    """Split the loops of an operand over its memories. Loops that reuse what a memory holds are moved below it first.

    Args:
        operand: The operand.
        bounds: The allocated places (levels + 1 x orders).
        orderings: The loop orders.
        prefix: Running product (places + 1 x orders) of the loop sizes.

    Returns:
        The split.
    """
    columns = np.arange(orderings.count)
    irrelevant = flags(orderings, operand.irrelevant)
    relevant = flags(orderings, operand.relevant)
    places = len(irrelevant)
    after = np.empty((places + 1, orderings.count), dtype=np.int64)
    after[places] = places
    for place in range(places - 1, -1, -1):
        after[place] = np.where(irrelevant[place], after[place + 1], place)
    merged = bounds.copy()
    merged[1:-1] = after[bounds[1:-1], columns]
    cycles = prefix[merged, columns]
    cycles[0] = 1.0 if operand.is_output else prefix[after[0], columns]
    adds = np.where(irrelevant, prefix[1:] / prefix[:-1], 1.0)
    behind = np.ones_like(prefix)
    for place in range(places - 1, -1, -1):
        behind[place] = behind[place + 1] * adds[place]
    return Reuse(
        merged,
        cycles,
        _outermost_run(relevant, merged, prefix, columns),
        _outermost_run(irrelevant, merged, prefix, columns),
        behind[merged, columns],
    )


def _outermost_run(member: BoolArray, bounds: IntArray, prefix: FloatArray, columns: IntArray) -> FloatArray:
    """Per level, the product of the loops of a kind that stand together at the level's outer end."""
    start = np.zeros((len(member) + 1, len(columns)), dtype=np.int64)
    for place in range(len(member)):
        start[place + 1] = np.where(member[place], start[place], place + 1)
    result = np.ones((len(bounds), len(columns)))
    begin = np.maximum(start[bounds[1:], columns], bounds[:-1])
    result[1:] = prefix[bounds[1:], columns] / prefix[begin, columns]
    return result


def traffic_of(nest: LoopNest, operand: Operand, sizes: TensorSizes, reuse: Reuse) -> Traffic:
    """Return the traffic of an operand under one version (exact or integer) of the spatial mapping.

    Args:
        nest: The layer's loops.
        operand: The operand.
        sizes: Sizes of its tensor, made with that version.
        reuse: How its loops are split over the memories.

    Returns:
        The traffic.
    """
    counts = unit_counts(operand, sizes.unrolling)
    data = _data(sizes, reuse)
    bits = np.full_like(data, operand.bits)
    unfinished = np.zeros(data.shape, dtype=bool)
    if not operand.is_output:
        return Traffic(data, bits, bits, bits, unfinished, counts.boost, counts.units)
    adds_behind = reuse.sums_behind > 1
    behind = reuse.sums_behind.copy()
    for level in range(len(data)):
        factor = 1.0
        for upper in sizes.unrolling.levels[level + 1 :]:
            for loop in upper:
                if loop.dim in operand.irrelevant:
                    factor *= loop.factor
                    adds_behind[level] |= loop.factor > 1
        behind[level] *= factor
    elements = 1
    for dim in operand.relevant:
        elements *= nest.size(dim)
    unfinished = adds_behind
    # A fractional unrolling can leave less than one element to add: then nothing wide travels.
    wide = np.floor(elements * (behind - 1)) != 0
    partial, final = float(operand.partial_bits), float(operand.bits)
    return Traffic(
        data=data,
        bits=np.where(unfinished, partial, final),
        link_bits=np.where(wide, partial, final),
        back_bits=np.where(wide & unfinished, partial, 0.0),
        unfinished=unfinished,
        boost=counts.boost,
        units=counts.units,
    )


def _data(sizes: TensorSizes, reuse: Reuse) -> FloatArray:
    """Elements per unit and level, array first."""
    columns = np.arange(sizes.factors.shape[2])
    data = np.ones(reuse.cycles.shape)
    held = np.ones((len(sizes.dims), len(columns)))
    for level in range(1, len(data)):
        if sizes.whole:
            prefix = sizes.cumulative[reuse.bounds[level], :, columns].T
            data[level] = np.rint(sizes.elements(prefix * sizes.unrolled_up_to(level - 1)))
            continue
        held = sizes.advance(held, reuse.bounds[level - 1], reuse.bounds[level]) * sizes.unrolled(level - 1)
        data[level] = np.rint(sizes.elements(held))
    return data


@dataclass(frozen=True)
class UnitCounts:
    """Units of an operand's levels.

    Attributes:
        units: Number of units, the array's first.
        boost: Per memory level, units of the level below that one unit feeds with different data.
    """

    units: tuple[int, ...]
    boost: tuple[int, ...]


def unit_counts(operand: Operand, unrolling: OperandUnrolling) -> UnitCounts:
    """Count the units of each level.

    The loops of a window are split into new elements and reuse, in the order of the loops.

    Source: zigzag-dse 3.9.1.

    Args:
        operand: The operand.
        unrolling: Its unrolled loops by memory level.

    Returns:
        The counts.
    """
    walked = {name: 1.0 for window in operand.windows for name in (window.position, window.tap)}
    last = [1.0] * len(operand.windows)
    last_reuse = [1.0] * len(operand.windows)
    different, total = [], []
    for loops in unrolling.levels:
        new, all_units = 1.0, 1.0
        for loop in loops:
            if loop.dim not in walked:
                new *= loop.factor if loop.dim in operand.relevant else 1.0
                all_units *= loop.factor
                continue
            walked[loop.dim] *= loop.factor
            for place, window in enumerate(operand.windows):
                if loop.dim in (window.position, window.tap):
                    positions, taps = walked[window.position], walked[window.tap]
                    covered = window.covered(int(positions), int(taps))
                    again = positions * taps / covered
                    new *= covered / last[place]
                    all_units *= covered / last[place]
                    all_units *= again / last_reuse[place]
                    last[place], last_reuse[place] = covered, again
        different.append(new)
        total.append(all_units)
    levels = range(len(total))
    unique = [_product(different[level:]) for level in levels]
    return UnitCounts(
        units=tuple(round(round(_product(total[level:]), 3)) for level in levels),
        boost=tuple(round(unique[level] / unique[level + 1]) for level in levels[:-1]),
    )


def _product(factors: list[float]) -> float:
    result = 1.0
    for factor in factors:
        result *= factor
    return result
