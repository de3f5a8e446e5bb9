"""Rank correlations worked out by hand, and by scipy."""

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from offramp.numerics.rank_correlation import rank_correlation


def test_the_order_alone_counts() -> None:
    found = rank_correlation([0.1, 0.5, 0.9], [1.0, 2.0, 300.0])
    assert found is not None
    assert (found.spearman, found.kendall, found.count) == (pytest.approx(1.0), pytest.approx(1.0), 3)
    turned = rank_correlation([0.1, 0.5, 0.9], [3.0, 2.0, 1.0])
    assert turned is not None
    assert (turned.spearman, turned.kendall) == (pytest.approx(-1.0), pytest.approx(-1.0))


def test_one_swapped_pair_of_four() -> None:
    """Ranks 0 1 2 3 and 0 2 1 3: 5 pairs in order, one not; Spearman is 1 - 6 * (1 + 1) / (4 * 15)."""
    found = rank_correlation([1, 2, 3, 4], [1, 3, 2, 4])
    assert found is not None
    assert found.kendall == pytest.approx(4 / 6)
    assert found.spearman == pytest.approx(0.8)


def test_ties_are_counted_as_scipy_counts_them() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        first, second = rng.integers(0, 5, 12).astype(float), rng.integers(0, 5, 12).astype(float)
        found = rank_correlation(first.tolist(), second.tolist())
        assert found is not None
        assert found.spearman == pytest.approx(spearmanr(first, second).statistic)
        assert found.kendall == pytest.approx(kendalltau(first, second).statistic)


def test_nothing_is_said_of_two_things_or_of_equal_ones() -> None:
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    with pytest.raises(ValueError, match="of the same things, got 2 and 3"):
        rank_correlation([1, 2], [1, 2, 3])
