"""Paired timing of calls, so that other load slows all of them alike, with confidence intervals."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.runtime.graph_sessions import check_num_threads
from offramp.errors import InputError

Call = Callable[[], object]

_RESAMPLES = 1000
_LEVEL = 0.95


@dataclass(frozen=True)
class BenchSettings:
    """How long to measure, and with how many threads.

    Attributes:
        rounds: How often everything is measured, >= 1.
        warm_up: Rounds before that, which do not count, >= 0.
        num_threads: Threads inside an operator, from 1 to the number of cores.
        seed: Seed of the order and of the bootstrap.
    """

    rounds: int = 300
    warm_up: int = 20
    num_threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("warm_up", 0), ("num_threads", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"`{name}` must be >= {least}, got {getattr(self, name)}.")
        check_num_threads(self.num_threads)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % confidence interval (bootstrap over rounds).

    Attributes:
        value: The value.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


def measure_in_turn(calls: Sequence[Call], settings: BenchSettings, rng: np.random.Generator) -> NDArray[np.float64]:
    """Measure calls in turn.

    Each round has an order of its own, and each call is made once untimed before, so that none pays for what ran
    before it.

    Args:
        calls: What to measure.
        settings: How long to measure.
        rng: Random state.

    Returns:
        Milliseconds of each call in each round, (rounds, calls).
    """
    times = np.empty((settings.rounds, len(calls)))
    for index in range(-settings.warm_up, settings.rounds):
        for position in rng.permutation(len(calls)):
            call = calls[position]
            call()
            start = time.perf_counter_ns()
            call()
            elapsed = time.perf_counter_ns() - start
            if index >= 0:
                times[index, position] = elapsed * 1e-6
    return times


@dataclass(frozen=True, eq=False)
class Sampled:
    """A statistic and its values on resampled rounds.

    Attributes:
        value: The statistic.
        draws: Its values on resampled rounds.
    """

    value: float
    draws: NDArray[np.float64]

    def over(self, other: "Sampled") -> "Sampled":
        """Take the ratio to another statistic of the same rounds.

        Args:
            other: The other statistic.

        Returns:
            The ratio.
        """
        return Sampled(self.value / other.value, self.draws / other.draws)

    def estimate(self) -> Estimate:
        """With the interval between the 2.5 % and the 97.5 % quantile."""
        tail = (1.0 - _LEVEL) / 2.0
        low, high = np.quantile(self.draws, [tail, 1.0 - tail])
        return Estimate(self.value, float(low), float(high))


def resampled_medians(times: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Take medians of rounds drawn with replacement; calls of one round stay together.

    Args:
        times: Milliseconds, (rounds, calls).
        rng: Random state.

    Returns:
        Medians, (resamples, calls).
    """
    rounds = len(times)
    return np.stack([np.median(times[rng.integers(0, rounds, size=rounds)], axis=0) for _ in range(_RESAMPLES)])


def resampled_means(times: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Take means of rounds drawn with replacement; calls of one round stay together.

    Args:
        times: Milliseconds, (rounds, calls).
        rng: Random state.

    Returns:
        Means, (resamples, calls).
    """
    rounds = len(times)
    return np.stack([times[rng.integers(0, rounds, size=rounds)].mean(axis=0) for _ in range(_RESAMPLES)])


@contextlib.contextmanager
def pinned(count: int) -> Iterator[tuple[int, ...]]:
    """Keep this process on some cores where the system can; afterwards as before.

    Args:
        count: On how many cores.

    Yields:
        The cores; empty where the system cannot.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield ()
        return
    before = os.sched_getaffinity(0)
    # The last ones: the first core is where a system does its own work.
    cores = tuple(sorted(before)[-count:])
    os.sched_setaffinity(0, cores)
    try:
        yield cores
    finally:
        os.sched_setaffinity(0, before)
