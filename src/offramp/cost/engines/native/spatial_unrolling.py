"""Candidates of spatial unrolling, ranked by array utilisation."""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from offramp.cost.engines.native.dataflow_division import Division, Limits, best_divisions, zigzag_division
from offramp.cost.engines.native.loop_mapping import FloatArray, IntArray
from offramp.cost.engines.native.loop_nest import LoopNest, Operand
from offramp.cost.engines.native.memory_levels import CoreView, Direction
from offramp.hardware.accelerator import SpatialLoop

MOST_MIXED_OPTIONS = 256
"""Ways to lay several loops along one array dimension that are looked at, those that fill it best."""


@dataclass(frozen=True)
class SpatialSearch:
    """Which spatial mappings are priced.

    Attributes:
        candidates: Number of best-ranked mappings, >= 1.
        mixed: Whether as many again may unroll several loops along one array dimension.
        divides_dataflows: Whether a loop that a dataflow has on several array dimensions is divided over them. False:
            it leaves array dimensions where it is unrolled too often, as in zigzag-dse 3.9.1.
    """

    candidates: int = 3
    mixed: bool = False
    divides_dataflows: bool = True


@dataclass(frozen=True)
class SpatialCandidate:
    """A spatial mapping to be priced.

    Attributes:
        nest: The loops to compute: those of the layer, or longer ones where the array computes dummies beside it.
        mapping: The unrolled loops.
    """

    nest: LoopNest
    mapping: tuple[SpatialLoop, ...]

    @property
    def rounds(self) -> int:
        """Rounds of all loops that run in time."""
        factors = dict.fromkeys(self.nest.dims, 1)
        for loop in self.mapping:
            factors[loop.loop] *= loop.size
        return math.prod(-(-self.nest.size(dim) // factor) for dim, factor in factors.items())


def spatial_mappings(nest: LoopNest, view: CoreView, search: SpatialSearch) -> tuple[tuple[SpatialLoop, ...], ...]:
    """Return the spatial mappings that zigzag-dse 3.9.1 proposes.

    Candidates of the mixed search come after those of the plain one, so that more search is never worse.

    Args:
        nest: The layer's loops.
        view: The core.
        search: How many mappings are wanted.

    Returns:
        Mappings, best ranked first; one where the core's dataflow fixes all array dimensions, none where nothing fits.
    """
    limits = _limits(nest, view)
    return _complete(nest, view, search, limits, zigzag_division(nest, view, limits))


def spatial_candidates(nest: LoopNest, view: CoreView, search: SpatialSearch) -> tuple[SpatialCandidate, ...]:
    """Return the spatial mappings to price.

    Those of zigzag-dse come first, so that more search is never worse. Where a dataflow has one loop on several array
    dimensions, the best divisions of the loop follow.

    Args:
        nest: The layer's loops.
        view: The core.
        search: How many mappings are wanted.

    Returns:
        The mappings.
    """
    found = [SpatialCandidate(nest, mapping) for mapping in spatial_mappings(nest, view, search)]
    if search.divides_dataflows:
        limits = _limits(nest, view)
        for division in best_divisions(nest, view, limits):
            for mapping in _complete(nest, view, search, limits, division):
                found.append(SpatialCandidate(_filled(nest, view, mapping), mapping))
    return tuple(dict.fromkeys(found))


def _filled(nest: LoopNest, view: CoreView, mapping: tuple[SpatialLoop, ...]) -> LoopNest:
    """The nest with the loops of the dataflow made as long as the rounds of all their units."""
    units = {loop.loop: 1 for loop in view.core.dataflow if loop.loop in nest.dims}
    for loop in mapping:
        if loop.loop in units:
            units[loop.loop] *= loop.size
    return nest.padded({dim: -(-nest.size(dim) // unit) * unit for dim, unit in units.items()})


def _complete(
    nest: LoopNest, view: CoreView, search: SpatialSearch, limits: Limits, division: Division
) -> tuple[tuple[SpatialLoop, ...], ...]:
    """The mappings that have the loops of a division; array dimensions that it leaves open are searched."""
    given = [item.array_dimension for item in division]
    free = [item.name for item in view.core.array if item.name not in given]
    template = tuple(loop for item in division for loop in item.loops)
    if not free:
        return (_fit_capacity(nest, view, template),)
    chosen: list[tuple[SpatialLoop, ...]] = []
    for mixed in (False, True) if search.mixed else (False,):
        options = tuple(_options(nest, view, limits, dimension, mixed) for dimension in free)
        picks = _rank(nest, template, options, search.candidates)
        chosen += _fit_in_turn(nest, view, template, options, picks)
    return tuple(dict.fromkeys(chosen))


def _limits(nest: LoopNest, view: CoreView) -> Limits:
    """Array and loop size, and no more elements than the innermost memories can deliver or take in a cycle."""
    values = {
        (item.name, dim): min(size, item.size)
        for item in view.core.array
        for dim, size in zip(nest.dims, nest.sizes, strict=True)
    }
    for operand, memory in _innermost(nest, view):
        served = view.memories[memory].level.served_dimensions
        level = next(x for x in view.levels[operand.memory_operand] if x.memory == memory)
        way = Direction.WRITE_FROM_LOW if operand.is_output else Direction.READ_TO_LOW
        bits = operand.partial_bits
        if bits == 0:
            continue
        elements = int(level.bandwidth_bits[way] // bits)
        for dimension in served:
            for dim in nest.dims:
                if dim not in operand.irrelevant:
                    values[dimension, dim] = min(values[dimension, dim], elements)
    return values


def _innermost(nest: LoopNest, view: CoreView) -> list[tuple[Operand, int]]:
    """Operands in memories below which nothing holds any of their operands."""
    by_link = {operand.memory_operand: operand for operand in nest.operands}
    return [
        (by_link[link], index)
        for index, use in enumerate(view.memories)
        if use.innermost
        for link, _ in use.operand_levels
    ]


@dataclass(frozen=True)
class _Options:
    """Choices for one array dimension: their loops, and (choices x dims) factors."""

    loops: tuple[tuple[SpatialLoop, ...], ...]
    factors: IntArray


def _options(nest: LoopNest, view: CoreView, limits: Limits, dimension: str, mixed: bool) -> _Options:
    """Every divisor of every loop's largest unrolling, large ones first; ``mixed``: also two or three loops."""
    largest = {dim: limits[dimension, dim] for dim in nest.search_order}
    loops: list[tuple[SpatialLoop, ...]] = [
        (SpatialLoop(dimension, dim, factor),) for dim in nest.search_order for factor in _divisors(largest[dim])[::-1]
    ]
    if mixed:
        size = next(item.size for item in view.core.array if item.name == dimension)
        useful = {dim: _divisors(limit)[1:] for dim, limit in largest.items()}
        several: list[tuple[SpatialLoop, ...]] = []
        for dims in (*itertools.combinations(largest, 2), *itertools.combinations(largest, 3)):
            for factors in itertools.product(*(useful[dim] for dim in dims)):
                if math.prod(factors) <= size:
                    several.append(tuple(map(SpatialLoop, itertools.repeat(dimension), dims, factors)))
        several.sort(key=lambda choice: -math.prod(loop.size for loop in choice))
        loops += several[:MOST_MIXED_OPTIONS]
    table = np.ones((len(loops), len(nest.dims)), dtype=np.int64)
    for row, choice in enumerate(loops):
        for loop in choice:
            table[row, nest.dims.index(loop.loop)] = loop.size
    return _Options(tuple(loops), table)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _rank(
    nest: LoopNest, template: tuple[SpatialLoop, ...], options: tuple[_Options, ...], count: int
) -> list[tuple[int, ...]]:
    """The row of each option in the ``count`` best combinations: full arrays first, then many loops unrolled.

    Score = utilised units + utilised units / largest unrolling of one loop - 1; ties go to the earlier options. A score
    lies between u and 2 u - 1 for u units, so partial combinations that cannot reach the worst one kept are dropped.
    """
    ceiling = np.ones(len(options) + 1)
    for place in range(len(options) - 1, -1, -1):
        units = options[place].factors.prod(axis=1)
        ceiling[place] = ceiling[place + 1] * (units.max() if len(units) else 0)
    floor = -math.inf
    rough = _combine(nest, template, options, ceiling, floor, beam=64)
    if len(rough.scores) >= count:
        floor = float(np.sort(rough.scores)[-count])
    found = _combine(nest, template, options, ceiling, floor, beam=None)
    order = np.argsort(-found.scores, kind="stable")[:count]
    return [tuple(found.rows[index].tolist()) for index in order]


@dataclass(frozen=True, eq=False)
class _Combinations:
    """Rows of options per combination, in lexicographic order, and the score of each."""

    rows: IntArray
    scores: FloatArray


def _combine(
    nest: LoopNest,
    template: tuple[SpatialLoop, ...],
    options: tuple[_Options, ...],
    ceiling: FloatArray,
    floor: float,
    beam: int | None,
) -> _Combinations:
    sizes = np.array(nest.sizes)
    start = [math.prod(loop.size for loop in template if loop.loop == dim) for dim in nest.dims]
    totals = np.array([start], dtype=np.int64)
    rows = np.zeros((1, 0), dtype=np.int64)
    for place, choice in enumerate(options):
        widened = (totals[:, None, :] * choice.factors[None, :, :]).reshape(-1, len(sizes))
        units = widened.prod(axis=1)
        kept = np.flatnonzero((widened <= sizes).all(axis=1) & (2 * units * ceiling[place + 1] - 1 >= floor))
        if beam is not None and len(kept) > beam:
            kept = np.sort(kept[np.argsort(-units[kept], kind="stable")[:beam]])
        before, chosen = np.divmod(kept, max(1, len(choice.loops)))
        rows = np.column_stack([rows[before], chosen])
        totals = widened[kept]
    units = totals.prod(axis=1)
    return _Combinations(rows, units + units / totals.max(axis=1, initial=1) - 1)


def _fit_in_turn(
    nest: LoopNest,
    view: CoreView,
    template: tuple[SpatialLoop, ...],
    options: tuple[_Options, ...],
    picks: list[tuple[int, ...]],
) -> list[tuple[SpatialLoop, ...]]:
    """The picked combinations, shrunk to the innermost memories one after the other.

    As in ZigZag an option that was shrunk for one combination stays shrunk in those that come later.
    """
    shrunk: dict[tuple[int, int], tuple[SpatialLoop, ...]] = {}
    result = []
    for rows in picks:
        parts = [shrunk.get((place, row), options[place].loops[row]) for place, row in enumerate(rows)]
        mapping = _fit_capacity(nest, view, template + tuple(itertools.chain(*parts)))
        result.append(mapping)
        start = len(template)
        for place, row in enumerate(rows):
            stop = start + len(parts[place])
            shrunk[place, row] = mapping[start:stop]
            start = stop
    return result


def _fit_capacity(nest: LoopNest, view: CoreView, mapping: tuple[SpatialLoop, ...]) -> tuple[SpatialLoop, ...]:
    """Shrink unrollings whose elements do not fit the innermost memories, the largest factor by one at a time.

    Each factor goes back to where it came from. (ZigZag 3.9.1 files new factors under the old ones, so that of equal
    factors all get the last; 4 x 4 in a memory of 8 ends as 3 x 3, which does not fit. The published figures were made
    with that corrected.)
    """
    loops = list(mapping)
    for operand, memory in _innermost(nest, view):
        use = view.memories[memory].level
        bits = operand.partial_bits
        capacity = use.size_bits / bits if bits else math.inf
        places = _shrinking_order(
            [
                (loop.loop, place)
                for dimension in _served_order(use.served_dimensions)
                for place, loop in enumerate(loops)
                if loop.array_dimension == dimension and loop.loop not in operand.irrelevant
            ]
        )
        factors = [loops[place].size for place in places]
        while math.prod(factors) > capacity and max(factors, default=1) > 1:
            factors[factors.index(max(factors))] -= 1
        for place, factor in zip(places, factors, strict=True):
            loops[place] = SpatialLoop(loops[place].array_dimension, loops[place].loop, factor)
    return tuple(loops)


# Of equal factors the first shrinks first. ZigZag takes loops in the order of a hash set: by slot, and where two want
# one slot, in the order in which they came or, for the slot of OX, C and H, in the opposite one.
_SLOTS = {"G": 0, "K": 1, "OY": 1, "FX": 2, "B": 3, "D": 5, "OX": 6, "C": 6, "H": 6, "FY": 7}
_REVERSED_SLOT = 6


def _served_order(dimensions: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(dimensions, key=lambda name: name == "D2")) if len(dimensions) == 2 else dimensions


def _shrinking_order(found: list[tuple[str, int]]) -> list[int]:
    """Places loop by loop."""
    dims = list(dict.fromkeys(dim for dim, _ in found))
    rank = {dim: (_SLOTS[dim], -turn if _SLOTS[dim] == _REVERSED_SLOT else turn) for turn, dim in enumerate(dims)}
    return [place for dim in sorted(dims, key=lambda dim: rank[dim]) for other, place in found if other == dim]
