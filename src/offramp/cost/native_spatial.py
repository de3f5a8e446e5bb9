"""Which spatial mappings are worth pricing: candidates ranked by how much of the array they use."""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from offramp.cost.mapping import FloatArray, IntArray
from offramp.cost.native_hardware import CoreView, Direction
from offramp.cost.native_layer import LoopNest, Operand
from offramp.hardware.accelerator import SpatialLoop

MOST_MIXED_OPTIONS = 256
"""Ways to lay several loops along one array dimension that are looked at, those that fill it best."""


@dataclass(frozen=True)
class SpatialSearch:
    """How many candidates are priced, and whether as many again may put several loops on an array dimension."""

    candidates: int = 3
    mixed: bool = False


def spatial_mappings(nest: LoopNest, view: CoreView, search: SpatialSearch) -> tuple[tuple[SpatialLoop, ...], ...]:
    """The spatial mappings to price, best ranked first; one where the core's dataflow fixes all of it.

    Empty where nothing fits the array. Candidates of the mixed search come after those of the plain one, so that more
    search is never worse.
    """
    limits = _Limits.of(nest, view)
    fixed = _fit_dataflow(nest, view, limits)
    given = [dimension for dimension, _ in fixed]
    free = [item.name for item in view.core.array if item.name not in given]
    template = tuple(loop for _, loops in fixed for loop in loops)
    if not free:
        return (_fit_capacity(nest, view, template),)
    chosen: list[tuple[SpatialLoop, ...]] = []
    for mixed in (False, True) if search.mixed else (False,):
        options = tuple(_options(nest, view, limits, dimension, mixed) for dimension in free)
        chosen += _rank(nest, template, options, search.candidates)
    return tuple(dict.fromkeys(_fit_capacity(nest, view, template + loops) for loops in chosen))


@dataclass(frozen=True)
class _Limits:
    """Largest unrolling per array dimension and loop."""

    values: dict[tuple[str, str], int]

    @classmethod
    def of(cls, nest: LoopNest, view: CoreView) -> "_Limits":
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
            elements = level.bandwidth_bits[way] // bits
            for dimension in served:
                for dim in nest.dims:
                    if dim not in operand.irrelevant:
                        values[dimension, dim] = min(values[dimension, dim], elements)
        return cls(values)


def _innermost(nest: LoopNest, view: CoreView) -> list[tuple[Operand, int]]:
    """Operands in memories below which nothing holds any of their operands."""
    by_link = {operand.memory_operand: operand for operand in nest.operands}
    return [
        (by_link[link], index)
        for index, use in enumerate(view.memories)
        if use.innermost
        for link, _ in use.operand_levels
    ]


def _fit_dataflow(nest: LoopNest, view: CoreView, limits: _Limits) -> list[tuple[str, tuple[SpatialLoop, ...]]]:
    """The core's own dataflow, cut down to this layer."""
    sizes = {item.name: item.size for item in view.core.array}
    fixed: dict[str, list[SpatialLoop]] = {}
    for loop in view.core.dataflow:
        kept = fixed.setdefault(loop.array_dimension, [])
        if loop.loop in nest.dims:
            factor = min(loop.size, limits.values[loop.array_dimension, loop.loop])
            kept.append(SpatialLoop(loop.array_dimension, loop.loop, max(1, factor)))
    for dimension, loops in fixed.items():
        while math.prod(loop.size for loop in loops) > sizes[dimension]:
            loops.pop()
    for dim in nest.dims:
        holders = [loops for loops in fixed.values() if any(loop.loop == dim for loop in loops)]
        while holders and _unrolled(itertools.chain(*fixed.values()), dim) > nest.size(dim):
            loops = holders.pop()
            loops[:] = [loop for loop in loops if loop.loop != dim]
    return [(dimension, tuple(loops)) for dimension, loops in fixed.items()]


def _unrolled(loops: "itertools.chain[SpatialLoop]", dim: str) -> int:
    return math.prod(loop.size for loop in loops if loop.loop == dim)


@dataclass(frozen=True)
class _Options:
    """Choices for one array dimension: their loops, and (choices x dims) factors."""

    loops: tuple[tuple[SpatialLoop, ...], ...]
    factors: IntArray


def _options(nest: LoopNest, view: CoreView, limits: _Limits, dimension: str, mixed: bool) -> _Options:
    """Every divisor of every loop's largest unrolling, large ones first; ``mixed``: also two or three loops."""
    largest = {dim: limits.values[dimension, dim] for dim in nest.search_order}
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
) -> list[tuple[SpatialLoop, ...]]:
    """The ``count`` combinations that use most of the array, and among those the ones that spread over more loops.

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
    return [
        tuple(loop for place, row in enumerate(found.rows[index]) for loop in options[place].loops[row])
        for index in order
    ]


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


def _fit_capacity(nest: LoopNest, view: CoreView, mapping: tuple[SpatialLoop, ...]) -> tuple[SpatialLoop, ...]:
    """Shrink unrollings whose elements do not fit the innermost memories."""
    loops = list(mapping)
    for operand, memory in _innermost(nest, view):
        use = view.memories[memory].level
        bits = operand.partial_bits
        capacity = use.size_bits / bits if bits else math.inf
        places = [
            place
            for dimension in use.served_dimensions
            for place, loop in enumerate(loops)
            if loop.array_dimension == dimension and loop.loop not in operand.irrelevant
        ]
        factors = [loops[place].size for place in places]
        for place, factor in zip(places, _shrink(factors, capacity), strict=True):
            loops[place] = SpatialLoop(loops[place].array_dimension, loops[place].loop, factor)
    return tuple(loops)


def _shrink(factors: list[int], capacity: float) -> list[int]:
    """Factors whose product fits ``capacity``, or all 1.

    First as ZigZag does it: the largest by one at a time, equal factors ending up equal. That may overshoot (4 x 4
    into 8 becomes 3 x 3) and ZigZag then finds no mapping at all; here the largest then goes to its next divisor, which
    is what the published 4-bit classifiers show (4 x 4 into 8 becomes 2 x 4).
    """
    steps = list(factors)
    while math.prod(steps) > capacity and max(steps) > 1:
        steps[steps.index(max(steps))] -= 1
    by_value = dict(zip(factors, steps, strict=True))
    equal = [by_value[factor] for factor in factors]
    if math.prod(equal) <= capacity:
        return equal
    steps = list(factors)
    while math.prod(steps) > capacity and max(steps) > 1:
        largest = steps.index(max(steps))
        steps[largest] = _divisors(steps[largest])[-2]
    return steps
