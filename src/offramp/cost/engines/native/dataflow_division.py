"""Fixed dataflows cut down to a layer: how a loop is divided over the array dimensions that unroll it."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from offramp.cost.engines.native.loop_nest import LoopNest
from offramp.cost.engines.native.memory_levels import CoreView
from offramp.hardware.accelerator import SpatialLoop

MOST_DIVISIONS = 8
"""Divisions of a layer's loops that are priced: those that need the fewest rounds."""

Limits = Mapping[tuple[str, str], int]
"""Largest unrolling per array dimension and loop."""


@dataclass(frozen=True)
class FixedLoops:
    """The loops that a dataflow puts on one array dimension, cut down to a layer.

    Attributes:
        array_dimension: Name of the array dimension.
        loops: The unrolled loops; none where the layer has no such loop.
    """

    array_dimension: str
    loops: tuple[SpatialLoop, ...]


Division = tuple[FixedLoops, ...]
"""A dataflow cut down to a layer: one entry per array dimension that it fixes."""


def zigzag_division(nest: LoopNest, view: CoreView, limits: Limits) -> Division:
    """Cut a dataflow down as zigzag-dse 3.9.1 does: a loop that is unrolled too often leaves array dimensions.

    Args:
        nest: The layer's loops.
        view: The core.
        limits: Largest unrolling per array dimension and loop.

    Returns:
        The division.
    """
    fixed = {dimension: list(loops) for dimension, loops in _largest(nest, view, limits).items()}
    for dim in nest.dims:
        holders = [loops for loops in fixed.values() if any(loop.loop == dim for loop in loops)]
        while holders and _unrolled(itertools.chain(*fixed.values()), dim) > nest.size(dim):
            loops = holders.pop()
            loops[:] = [loop for loop in loops if loop.loop != dim]
    return tuple(FixedLoops(dimension, tuple(loops)) for dimension, loops in fixed.items())


def best_divisions(nest: LoopNest, view: CoreView, limits: Limits) -> tuple[Division, ...]:
    """Divide every loop over all array dimensions that unroll it, such as 24 over 4 and 8 as 4 x 6 and as 3 x 8.

    Each division is the smallest that leaves its number of rounds: no factor of it can be lowered.

    Args:
        nest: The layer's loops.
        view: The core.
        limits: Largest unrolling per array dimension and loop.

    Returns:
        The divisions that leave the fewest rounds, at most `MOST_DIVISIONS`; none where the dataflow divides the layer
        as it is.
    """
    fixed = _largest(nest, view, limits)
    places: dict[str, list[SpatialLoop]] = {}
    for loop in itertools.chain(*fixed.values()):
        places.setdefault(loop.loop, []).append(loop)
    if all(nest.size(dim) % math.prod(loop.size for loop in loops) == 0 for dim, loops in places.items()):
        return ()
    shared = {dim: loops for dim, loops in places.items() if nest.size(dim) > 1}
    options = [_factors(nest.size(dim), tuple(loop.size for loop in loops)) for dim, loops in shared.items()]
    found: list[tuple[tuple[int, int], Division]] = []
    for choice in itertools.product(*options):
        factors = {
            loop: factor
            for loops, chosen in zip(shared.values(), choice, strict=True)
            for loop, factor in zip(loops, chosen, strict=True)
        }
        division = tuple(
            FixedLoops(name, tuple(replace(loop, size=factors.get(loop, loop.size)) for loop in loops))
            for name, loops in fixed.items()
        )
        rounds = math.prod(-(-nest.size(dim) // math.prod(chosen)) for dim, chosen in zip(shared, choice, strict=True))
        found.append(((rounds, math.prod(map(math.prod, choice))), division))
    found.sort(key=lambda item: item[0])
    return tuple(division for _, division in found[:MOST_DIVISIONS])


def _largest(nest: LoopNest, view: CoreView, limits: Limits) -> dict[str, tuple[SpatialLoop, ...]]:
    """Each loop as often as the dataflow, the layer and the innermost memories allow, by array dimension."""
    sizes = {item.name: item.size for item in view.core.array}
    fixed: dict[str, list[SpatialLoop]] = {}
    for loop in view.core.dataflow:
        kept = fixed.setdefault(loop.array_dimension, [])
        if loop.loop in nest.dims:
            factor = min(loop.size, limits[loop.array_dimension, loop.loop])
            kept.append(SpatialLoop(loop.array_dimension, loop.loop, max(1, factor)))
    for dimension, loops in fixed.items():
        while math.prod(loop.size for loop in loops) > sizes[dimension]:
            loops.pop()
    return {dimension: tuple(loops) for dimension, loops in fixed.items()}


def _unrolled(loops: "itertools.chain[SpatialLoop]", dim: str) -> int:
    return math.prod(loop.size for loop in loops if loop.loop == dim)


def _factors(size: int, most: tuple[int, ...]) -> list[tuple[int, ...]]:
    """One factor per array dimension, up to ``most`` each: every first one that matters, then as few as are left."""
    if len(most) == 1:
        return [(min(most[0], size),)]
    found = []
    for first in _useful(size, most[0]):
        found += [(first, *others) for others in _factors(-(-size // first), most[1:])]
    return found


def _useful(size: int, most: int) -> list[int]:
    """Factors up to ``most`` that leave fewer rounds than the factor below."""
    found = [1]
    while found[-1] < most and found[-1] < size:
        rounds = -(-size // found[-1])
        found.append(-(-size // (rounds - 1)))
    return [factor for factor in found if factor <= most]
