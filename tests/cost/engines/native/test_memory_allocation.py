"""Which loops each memory keeps, against trying every split by hand-written rules."""

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.cost.engines.native.loop_mapping import TemporalLoop, all_orderings, plan_spatial
from offramp.cost.engines.native.loop_nest import LoopNest, loop_nest
from offramp.cost.engines.native.memory_allocation import Allocation, Allocator
from offramp.cost.engines.native.memory_levels import view_core
from offramp.cost.engines.native.operand_sizes import TensorSizes
from offramp.hardware.accelerator import Core
from offramp.workload.layer import LayerShape, Op
from tests.cost.engines.native import native_toys


def allocate(nest: LoopNest, core: Core, loops: tuple[TemporalLoop, ...]) -> Allocation:
    view, orderings = view_core(core), all_orderings(loops)
    plan = plan_spatial(nest, view, ())
    sizes = tuple(TensorSizes.of(o, u, orderings) for o, u in zip(nest.operands, plan.exact, strict=True))
    prefix = np.ones((len(orderings.index) + 1, orderings.count))
    prefix[1:] = np.cumprod([[orderings.loops[i].size for i in row] for row in orderings.index], axis=0)
    return Allocator(nest, view, orderings, sizes, prefix).run()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(8, 400))
def test_a_shared_buffer_is_filled_where_the_memory_above_is_used_least(b: int, k: int, c: int, capacity: int) -> None:
    nest = loop_nest(LayerShape(Op.DENSE, b=b, k=k, c=c))
    loops = tuple(TemporalLoop(dim, size) for dim, size in (("D", b), ("K", k), ("C", c)) if size > 1)
    if not loops:
        return
    core = native_toys.core(native_toys.memory("buffer", "I1 I2", capacity), native_toys.memory("ram", "I1 I2 O"))
    allocation = allocate(nest, core, loops)
    orderings = all_orderings(loops)
    for column in range(orderings.count):
        order = orderings.describe(column)

        def bits(dims: str, stop: int, order: tuple[TemporalLoop, ...] = order) -> int:
            return 8 * math.prod(loop.size for loop in order[:stop] if loop.dim in dims)

        best: tuple[float, tuple[int, int]] | None = None
        for stops in itertools.product(range(len(order) + 1), repeat=2):
            kept = bits("DC", stops[0]), bits("CK", stops[1])
            if sum(kept) > capacity or max(kept) > capacity:
                continue
            accesses = sum(
                math.prod(loop.size for loop in order[stop:]) * held for stop, held in zip(stops, kept, strict=True)
            )
            if best is None or accesses <= best[0]:
                best = accesses, stops
        if best is None:
            assert not allocation.valid[column]
        else:
            assert allocation.valid[column]
            assert (allocation.bounds[1][1, column], allocation.bounds[2][1, column]) == best[1]


def test_unfinished_sums_take_their_full_width() -> None:
    # Two outputs: 16 bits each while C is still to come, 8 once it is done.
    nest = loop_nest(LayerShape(Op.DENSE, k=2, c=3))
    loops = (TemporalLoop("K", 2), TemporalLoop("C", 3))
    for capacity, kept in ((31, [0, 1]), (32, [2, 2])):
        core = native_toys.core(native_toys.memory("rf", "O", capacity), native_toys.memory("ram", "I1 I2 O"))
        allocation = allocate(nest, core, loops)
        assert allocation.valid.all()
        stops = {all_orderings(loops).describe(column): int(allocation.bounds[0][1, column]) for column in range(2)}
        assert stops[loops] == kept[0]
        assert stops[loops[::-1]] == kept[1]


def test_a_single_element_that_does_not_fit_rules_all_orders_out() -> None:
    nest = loop_nest(LayerShape(Op.DENSE, k=2, c=3))
    core = native_toys.core(native_toys.memory("rf", "O", 15), native_toys.memory("ram", "I1 I2 O"))
    assert not allocate(nest, core, (TemporalLoop("K", 2), TemporalLoop("C", 3))).valid.any()
