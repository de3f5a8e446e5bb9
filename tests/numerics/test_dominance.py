"""The front against the definition of dominance, however many points and objectives there are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from offramp.numerics.dominance import covered, distinct_front, non_dominated

POINTS = arrays(np.float64, st.tuples(st.integers(0, 30), st.integers(1, 4)), elements=st.integers(0, 5))


@given(POINTS)
def test_dominance_is_what_its_definition_says(points: np.ndarray) -> None:
    expected = [not any((other <= row).all() and (other < row).any() for other in points) for row in points]
    assert non_dominated(points).tolist() == expected


def test_dominance_of_more_rows_than_one_block() -> None:
    """On a descending line nobody dominates; one point below all of it dominates everybody."""
    line = np.stack([np.arange(700.0), -np.arange(700.0)], axis=1)
    assert non_dominated(line).all()
    assert non_dominated(np.vstack([line, [[-1.0, -701.0]]])).tolist() == [False] * 700 + [True]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(1, 5), st.integers(1, 9))
def test_the_first_of_each_undominated_place_in_order(seed: int, rows: int, columns: int, values: int) -> None:
    points = np.random.default_rng(seed).integers(-2, values, (rows, columns)).astype(float)
    found = distinct_front(points)
    assert points[found].tolist() == np.unique(points[by_definition(points)], axis=0).tolist()
    for index in found:
        assert not (points[:index] == points[index]).all(axis=1).any()


@pytest.mark.parametrize("columns", [2, 3, 4])
def test_many_points_are_filtered_in_parts(columns: int) -> None:
    # On a sphere around the worst point none dominates another; every second one is moved away from the ideal.
    directions = np.abs(np.random.default_rng(0).normal(size=(2600, columns)))
    points = -directions / np.linalg.norm(directions, axis=1, keepdims=True)
    points[::2] += 0.02
    assert sorted(distinct_front(points)) == np.flatnonzero(by_definition(points)).tolist()


def by_definition(points: np.ndarray) -> np.ndarray:
    return np.array([not ((points <= row).all(axis=1) & (points < row).any(axis=1)).any() for row in points])


def test_nothing_in_nothing_out() -> None:
    assert len(distinct_front(np.empty((0, 2)))) == 0
    assert len(non_dominated(np.empty((0, 3)))) == 0


def test_a_point_is_covered_by_an_equal_or_a_better_one() -> None:
    front = np.array([[1.0, 3.0], [2.0, 2.0]])
    points = np.array([[1.0, 3.0], [2.0, 2.5], [1.5, 2.5], [0.5, 9.0], [9.0, 9.0]])
    assert covered(points, front).tolist() == [True, True, False, False, True]
    assert not covered(points, np.empty((0, 2))).any()
