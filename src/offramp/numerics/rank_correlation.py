"""Rank correlation: whether two measurements put the same things in the same order.

Source: Spearman 1904, "The Proof and Measurement of Association between Two Things"; Kendall 1945, "The Treatment of
Ties in Ranking Problems" (tau-b).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST = 3
"""Of fewer pairs, no correlation says anything."""


@dataclass(frozen=True)
class RankCorrelation:
    """How alike two measurements order the same things: 1 = alike, 0 = unrelated, -1 = the other way round.

    Attributes:
        spearman: Correlation of the ranks; of equal values, each has the mean rank.
        kendall: Pairs in the same order less pairs in the other order, as a share; pairs of equal values count for
            neither (tau-b).
        count: How many things were measured.
    """

    spearman: float
    kendall: float
    count: int

    def __post_init__(self) -> None:
        if self.count < FEWEST or not max(abs(self.spearman), abs(self.kendall)) <= 1.0 + 1e-9:
            raise ValueError(f"correlations must be from -1 to 1, of at least {FEWEST} things, got {self}.")


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> RankCorrelation | None:
    """Compare the order of two measurements.

    Args:
        first: One value per thing.
        second: The other values, in the same order.

    Returns:
        The correlations; None where there are fewer than `FEWEST` things, or one measurement has a single value.

    Raises:
        ValueError: If there are not as many values in both.
    """
    if len(first) != len(second):
        raise ValueError(f"both measurements must be of the same things, got {len(first)} and {len(second)} values.")
    a, b = (np.asarray(values, dtype=np.float64) for values in (first, second))
    if len(a) < FEWEST or np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
        return None
    spearman = float(np.corrcoef(_mean_ranks(a), _mean_ranks(b))[0, 1])
    upper = np.triu_indices(len(a), 1)
    signs = [np.sign(values[:, None] - values[None, :])[upper] for values in (a, b)]
    kendall = float((signs[0] * signs[1]).sum() / np.sqrt((signs[0] != 0).sum() * (signs[1] != 0).sum()))
    return RankCorrelation(spearman, kendall, len(a))


def _mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    below = (values[None, :] < values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    return np.asarray(below + (equal - 1) / 2.0)
