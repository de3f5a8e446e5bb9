"""Paired timing of calls, so that other load slows all of them alike, with confidence intervals."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError

Call = Callable[[], object]

_RESAMPLES = 1000
_LEVEL = 0.95


@dataclass(frozen=True)
class BenchSettings:
    """How long to measure, and with how many threads inside an operator."""

    rounds: int = 300
    warm_up: int = 20
    num_threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("warm_up", 0), ("num_threads", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"`{name}` must be >= {least}, got {getattr(self, name)}.")


@dataclass(frozen=True)
class Estimate:
    """A value and the interval that holds it with 95 % confidence (bootstrap over rounds)."""

    value: float
    low: float
    high: float


def measure_in_turn(calls: Sequence[Call], settings: BenchSettings, rng: np.random.Generator) -> NDArray[np.float64]:
    """Milliseconds of each call in each round: (rounds, calls).

    Each round has an order of its own, and each call is made once untimed before, so that none pays for what ran
    before it.
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
    """A statistic and its values on resampled rounds."""

    value: float
    draws: NDArray[np.float64]

    def over(self, other: "Sampled") -> "Sampled":
        """The ratio to another statistic of the same rounds."""
        return Sampled(self.value / other.value, self.draws / other.draws)

    def estimate(self) -> Estimate:
        """With the interval between the 2.5 % and the 97.5 % quantile."""
        tail = (1.0 - _LEVEL) / 2.0
        low, high = np.quantile(self.draws, [tail, 1.0 - tail])
        return Estimate(self.value, float(low), float(high))


def resampled_medians(times: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Medians of rounds drawn with replacement, (resamples, calls): calls of one round stay together."""
    rounds = len(times)
    return np.stack([np.median(times[rng.integers(0, rounds, size=rounds)], axis=0) for _ in range(_RESAMPLES)])


def resampled_means(times: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """As `resampled_medians`, of the means."""
    rounds = len(times)
    return np.stack([times[rng.integers(0, rounds, size=rounds)].mean(axis=0) for _ in range(_RESAMPLES)])


@contextlib.contextmanager
def pinned(count: int) -> Iterator[tuple[int, ...]]:
    """Keep this process on so many cores where the system can; afterwards as before."""
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
