"""Unions of periodic windows against counting cycles one by one; stalls of a port by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from offramp.cost.engines.native.latency import Clock, covered_cycles

CHAINS = st.lists(st.tuples(st.integers(1, 4), st.floats(0.01, 1.0)), min_size=1, max_size=5)


@given(CHAINS, st.randoms(use_true_random=False))
def test_windows_cover_as_many_cycles_as_counting_finds(chain: list[tuple[int, float]], shuffled: object) -> None:
    periods, length = [], 1
    for factor, _ in chain:
        length *= factor
        periods.append(length)
    windows = [max(1, int(share * period)) for period, (_, share) in zip(periods, chain, strict=True)]
    pairs = list(zip(periods, windows, strict=True))
    shuffled.shuffle(pairs)  # type: ignore[attr-defined]
    counted = sum(any(cycle % period < window for period, window in pairs) for cycle in range(length))
    table = np.array(pairs, dtype=np.float64).T[:, :, None]
    assert covered_cycles(table[0], table[1]).tolist() == [counted]


def test_columns_are_independent() -> None:
    periods = np.array([[2.0, 3.0], [6.0, 6.0]])
    windows = np.array([[1.0, 1.0], [2.0, 1.0]])
    # Every second cycle and 0..1 of six: 0 1 2 4; every third and 0 of six: 0 3.
    assert covered_cycles(periods, windows).tolist() == [4, 2]


def test_a_bit_serial_clock_stretches_time() -> None:
    assert Clock(10, 4.0).temporal_cycles == 40
