"""Measuring in turn, and what the intervals say."""

import contextlib
import os

import numpy as np
import pytest

from offramp.deploy.bench.paired_timing import (
    BenchSettings,
    Sampled,
    measure_in_turn,
    pinned,
    resampled_means,
    resampled_medians,
)
from offramp.errors import InputError


def test_every_call_is_made_once_untimed_and_once_timed_in_each_round() -> None:
    made: list[int] = []
    calls = [lambda i=i: made.append(i) for i in range(3)]
    times = measure_in_turn(calls, BenchSettings(rounds=5, warm_up=2), np.random.default_rng(0))
    assert times.shape == (5, 3)
    assert (times > 0).all()
    assert len(made) == 2 * 3 * (5 + 2)
    assert made[::2] == made[1::2]
    rounds = [tuple(made[start : start + 6 : 2]) for start in range(0, len(made), 6)]
    assert all(sorted(order) == [0, 1, 2] for order in rounds)
    assert len(set(rounds)) > 1


@pytest.mark.parametrize("name", ["rounds", "warm_up", "num_threads", "seed"])
def test_settings_must_make_sense(name: str) -> None:
    with pytest.raises(InputError, match=name):
        BenchSettings(**{name: -1})


def test_intervals_shrink_with_more_rounds_and_hold_the_median() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for rounds in (20, 2000):
        times = rng.lognormal(0.0, 0.5, size=(rounds, 1))
        estimate = Sampled(float(np.median(times)), resampled_medians(times, rng)[:, 0]).estimate()
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.low < 1.0 < estimate.high
        widths.append(estimate.high - estimate.low)
    assert widths[1] < widths[0] / 3


def test_a_ratio_of_calls_that_slow_down_together_is_sure() -> None:
    rng = np.random.default_rng(2)
    noise = rng.lognormal(0.0, 1.0, size=(200, 1))
    times = np.concatenate([noise, 3.0 * noise], axis=1)
    for draws in (resampled_medians(times, rng), resampled_means(times, rng)):
        fast, slow = (Sampled(float(np.median(times[:, i])), draws[:, i]) for i in range(2))
        ratio = slow.over(fast).estimate()
        assert (ratio.low, ratio.value, ratio.high) == pytest.approx((3.0, 3.0, 3.0))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin a process to cores")
def test_the_process_gets_its_cores_back() -> None:
    before = os.sched_getaffinity(0)
    with pinned(1) as cores:
        assert os.sched_getaffinity(0) == set(cores)
        assert len(cores) == 1
    assert os.sched_getaffinity(0) == before
    with contextlib.suppress(KeyError), pinned(1):
        raise KeyError
    assert os.sched_getaffinity(0) == before
