"""Volumes worked out by hand."""

import numpy as np
import pytest

from offramp.numerics.hypervolume import hypervolume

ONES = np.ones(2)


def test_the_union_of_rectangles_counts_once() -> None:
    # 0.5 x 0.8 + 0.8 x 0.5 - 0.5 x 0.5
    assert hypervolume(np.array([[0.5, 0.2], [0.2, 0.5]]), ONES) == pytest.approx(0.55)


def test_points_that_are_not_better_in_every_dimension_add_nothing() -> None:
    assert hypervolume(np.array([[0.5, 0.5], [0.0, 1.0], [2.0, 0.0]]), ONES) == pytest.approx(0.25)
    assert hypervolume(np.array([[1.0, 0.0]]), ONES) == 0.0
    assert hypervolume(np.empty((0, 2)), ONES) == 0.0
