"""Loop orders against itertools, splitting of loops by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.cost.engines.native.loop_mapping import (
    TemporalLoop,
    all_orderings,
    flags,
    multiset_permutations,
    operand_dims,
    plan_spatial,
    prime_factors,
    temporal_loops,
)
from offramp.cost.engines.native.loop_nest import loop_nest
from offramp.cost.engines.native.memory_levels import view_core
from offramp.hardware.accelerator import ArrayDimension, SpatialLoop
from offramp.workload.layer import LayerShape, Op
from tests.cost.engines.native import native_toys


@given(st.integers(1, 5000))
def test_prime_factors_multiply_to_the_number(number: int) -> None:
    factors = prime_factors(number)
    assert math.prod(factors) == number
    assert factors == sorted(factors)
    assert all(factor > 1 and all(factor % d for d in range(2, factor)) for factor in factors)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4).filter(lambda counts: sum(counts) <= 6))
def test_permutations_are_all_distinct_orders(counts: list[int]) -> None:
    ranks = [rank for rank, count in enumerate(counts) for _ in range(count)]
    columns = [tuple(column) for column in multiset_permutations(tuple(counts)).T]
    assert len(columns) == len(set(columns))
    assert set(columns) == set(itertools.permutations(ranks))


def test_permutations_come_in_cool_lex_order() -> None:
    # Williams 2009: from the falling order, one prefix shift a time.
    columns = [tuple(column) for column in multiset_permutations((1, 1, 1)).T]
    assert columns == [(2, 1, 0), (0, 2, 1), (2, 0, 1), (1, 2, 0), (0, 1, 2), (1, 0, 2)]
    assert multiset_permutations((1,)).T.tolist() == [[0]]
    assert multiset_permutations((2,)).T.tolist() == [[0, 0]]


def test_permutations_cannot_be_changed_by_a_caller() -> None:
    with pytest.raises(ValueError, match="read-only"):
        multiset_permutations((1, 1))[0, 0] = 5


def test_loops_that_do_not_divide_are_evened_out() -> None:
    core = native_toys.core(lanes=8)
    nest, view = loop_nest(LayerShape(Op.DENSE, k=10, c=4)), view_core(core)
    plan = plan_spatial(nest, view, (SpatialLoop("D1", "K", 8),))
    # 10 outputs on 8 lanes take two rounds of 5; the memory serves D1, so they spread below it.
    assert [[loop.factor for loop in level] for level in plan.exact[0].levels] == [[5.0], []]
    assert plan.is_whole
    assert temporal_loops(nest, plan, 6) == (TemporalLoop("K", 2), TemporalLoop("C", 2), TemporalLoop("C", 2))
    uneven = plan_spatial(loop_nest(LayerShape(Op.DENSE, k=7, c=4)), view, (SpatialLoop("D1", "K", 4),))
    assert uneven.exact[0].levels[0][0].factor == 3.5
    assert uneven.whole[0].levels[0][0].factor == 3
    assert not uneven.is_whole


def test_one_loop_on_two_dimensions_is_evened_out_where_it_is_largest() -> None:
    core = native_toys.core()
    core = type(core)(**{**vars(core), "array": (ArrayDimension("D1", 2), ArrayDimension("D2", 4))})
    nest, view = loop_nest(LayerShape(Op.DENSE, k=9, c=4)), view_core(core)
    plan = plan_spatial(nest, view, (SpatialLoop("D1", "K", 2), SpatialLoop("D2", "K", 4)))
    # D1 keeps its 2; on D2 9 = 2 x 2 rounds x 2.25. The memory serves D1 only: D2 stands above it.
    assert [[loop.factor for loop in level] for level in plan.exact[1].levels] == [[2], [2.25]]
    assert [[loop.factor for loop in level] for level in plan.whole[1].levels] == [[2], [2]]


def test_the_longest_loop_is_merged_until_the_limit_holds() -> None:
    nest, view = loop_nest(LayerShape(Op.DENSE, k=8, c=64)), view_core(native_toys.core())
    plan = plan_spatial(nest, view, ())
    assert [loop.size for loop in temporal_loops(nest, plan, 9)] == [2, 2, 2, 2, 2, 2, 2, 2, 2]
    # C: six 2s become 2 2 2 2 4, 2 2 4 4, 4 4 4; then K, first of equals: 2 4; then C again: 4 16.
    assert temporal_loops(nest, plan, 4) == (
        TemporalLoop("K", 2),
        TemporalLoop("K", 4),
        TemporalLoop("C", 4),
        TemporalLoop("C", 16),
    )
    # No fewer loops than dimensions that are left.
    assert temporal_loops(nest, plan, 1) == (TemporalLoop("K", 8), TemporalLoop("C", 64))


def test_a_layer_that_is_all_spatial_keeps_one_loop_of_one() -> None:
    nest, view = loop_nest(LayerShape(Op.DENSE, k=2)), view_core(native_toys.core())
    plan = plan_spatial(nest, view, (SpatialLoop("D1", "K", 2),))
    orderings = all_orderings(temporal_loops(nest, plan, 6))
    assert orderings.count == 1
    assert orderings.total_cycles == 1


def test_orderings_describe_themselves_and_split_into_blocks() -> None:
    orderings = all_orderings((TemporalLoop("K", 2), TemporalLoop("C", 3), TemporalLoop("C", 5)))
    assert orderings.count == 6
    assert orderings.total_cycles == 30
    described = [orderings.describe(column) for column in range(6)]
    assert described[0] == (TemporalLoop("K", 2), TemporalLoop("C", 5), TemporalLoop("C", 3))
    blocks = list(orderings.blocks(4))
    assert [block.count for block in blocks] == [4, 2]
    assert [block.describe(c) for block in blocks for c in range(block.count)] == described
    of_c = flags(orderings, ("C",))
    assert of_c[:, 0].tolist() == [False, True, True]
    assert np.count_nonzero(of_c) == 12


def test_the_dims_of_an_operand_include_its_windows() -> None:
    nest = loop_nest(LayerShape(Op.CONV, k=4, c=3, oy=5, ox=5, fy=3, fx=3, iy=7, ix=7))
    assert operand_dims(nest.operands[2]) == ("B", "G", "C", "OX", "FX", "OY", "FY")
    assert operand_dims(nest.operands[0]) == ("K", "OY", "OX")
