"""Every combination against a loop over all of them, also where counts no longer fit into small numbers."""

import itertools

import numpy as np
import pytest
from benchmarks.best_policy import cheapest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.exits.threshold_combinations import (
    Outcomes,
    ScoredSamples,
    evaluate_combinations,
    thin,
    undominated,
)


def scored(rng: np.random.Generator, num_exits: int, num_samples: int) -> ScoredSamples:
    # Few different scores, so that many lie exactly on a threshold.
    scores = rng.integers(0, 11, (num_exits - 1, num_samples)) / 10
    correct = (rng.random((num_exits, num_samples)) < 0.6).astype(np.int8)
    return ScoredSamples(scores, correct, rng.uniform(0, 5, num_exits))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), num_exits=st.integers(1, 5), num_samples=st.integers(1, 60))
def test_all_combinations_against_a_loop(seed: int, num_exits: int, num_samples: int) -> None:
    rng = np.random.default_rng(seed)
    samples = scored(rng, num_exits, num_samples)
    grids = [np.unique(rng.integers(0, 13, rng.integers(1, 5)) / 10) for _ in range(num_exits - 1)]
    outcomes = evaluate_combinations(samples, grids)
    assert outcomes.right.shape == tuple(len(grid) for grid in grids)
    for flat, thresholds in enumerate(itertools.product(*grids)):
        assert outcomes.thresholds(flat) == thresholds
        exits = [
            next((e for e, t in enumerate(thresholds) if samples.scores[e, s] >= t), num_exits - 1)
            for s in range(num_samples)
        ]
        assert outcomes.right.ravel()[flat] == sum(samples.correct[e, s] for s, e in enumerate(exits))
        assert outcomes.cost.ravel()[flat] == pytest.approx(np.mean(samples.costs[exits]))


@pytest.mark.parametrize("num_samples", [2**15 - 1, 2**15, 70_000])
def test_counts_do_not_overflow(num_samples: int) -> None:
    """Everybody is right at the last exit alone, then at the first alone."""
    scores = np.linspace(0, 1, num_samples)[None]
    correct = np.zeros((2, num_samples), dtype=np.int8)
    for good in (1, 0):
        samples = ScoredSamples(scores, correct.copy(), np.asarray([1.0, 3.0]))
        samples.correct[good] = 1
        outcomes = evaluate_combinations(samples, [np.asarray([0.0, 2.0])])
        assert outcomes.right.tolist() == ([0, num_samples] if good else [num_samples, 0])
        assert outcomes.cost.tolist() == [1.0, 3.0]


def toy(right: list[int], cost: list[float]) -> Outcomes:
    return Outcomes((np.arange(len(right)) / 10,), np.asarray(right, dtype=np.int16), np.asarray(cost))


def test_the_cheapest_by_hand() -> None:
    outcomes = toy([3, 5, 5, 4, 5], [1.0, 2.0, 2.0 + 1e-15, 1.5, 9.0])
    assert cheapest(outcomes, 5) == 2
    assert cheapest(outcomes, 4) == 3
    assert cheapest(outcomes, -70_000) == 0


def test_the_undominated_by_hand() -> None:
    outcomes = toy([3, 5, 2, 4, 5, 4], [1.0, 2.0, 1.0, 2.0, 3.0, 1.5])
    assert undominated(outcomes, 6).tolist() == [0, 5, 1]


@pytest.mark.parametrize(("limit", "expected"), [(100, [10, 10]), (99, [9, 10]), (12, [3, 4]), (4, [2, 2])])
def test_thinning_keeps_within_the_limit_and_keeps_the_highest(limit: int, expected: list[int]) -> None:
    grids = [np.arange(10) / 10, np.arange(10) / 5]
    thinned = thin(grids, limit)
    assert [len(grid) for grid in thinned] == expected
    assert [grid[-1] for grid in thinned] == [0.9, 1.8]
