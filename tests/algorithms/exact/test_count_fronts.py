"""The quick front equals the slow one."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.algorithms.exact.count_fronts import undominated_rows
from offramp.objectives.pareto import non_dominated


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 80), st.integers(1, 4), st.integers(1, 9))
def test_it_keeps_one_of_each_undominated_point(seed: int, rows: int, costs: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    right, prices = rng.integers(0, 8, rows), rng.integers(0, values, (rows, costs)).astype(float)
    points = np.column_stack([-right, prices])
    found = points[undominated_rows(right, prices)].tolist()
    expected = np.unique(points[non_dominated(points)], axis=0).tolist()
    assert sorted(found) == expected
    assert found == sorted(found)


def test_many_rows_with_several_costs_are_filtered_in_parts() -> None:
    rng = np.random.default_rng(0)
    right, prices = rng.integers(0, 50, 9000), rng.random((9000, 3))
    points = np.column_stack([-right, prices])
    assert sorted(undominated_rows(right, prices)) == np.flatnonzero(non_dominated(points)).tolist()


def test_nothing_in_nothing_out() -> None:
    assert len(undominated_rows(np.empty(0, dtype=np.int64), np.empty((0, 1)))) == 0
