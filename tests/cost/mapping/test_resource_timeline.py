from hypothesis import given
from hypothesis import strategies as st

from offramp.cost.mapping.resource_timeline import Timeline
from tests.cost.checker import overlapping

REQUESTS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=25)


def test_first_idle_window() -> None:
    line = Timeline()
    line.take(10, 5, ())
    line.take(20, 5, ())
    assert line.earliest(0, 10) == 0
    assert line.earliest(0, 11) == 25
    assert line.earliest(12, 5) == 15
    assert line.earliest(12, 6) == 25
    assert line.earliest(30, 100) == 30


@given(REQUESTS)
def test_window_is_the_earliest_that_a_cycle_by_cycle_search_finds(requests: list[tuple[int, int]]) -> None:
    line = Timeline()
    spans: list[tuple[float, float]] = []
    for ready, duration in requests:
        start = line.earliest(ready, duration)
        busy = {cycle for one, two in spans for cycle in range(int(one), int(two))}
        expected = ready
        while duration and busy & set(range(expected, expected + duration)):
            expected += 1
        if duration:
            assert start == expected
            line.take(start, duration, ())
            spans.append((start, start + duration))
    assert not overlapping(spans)


def test_listening_needs_the_same_tensor_late_and_long_enough() -> None:
    line = Timeline()
    line.take(10, 8, ("x",))
    assert line.broadcast_start("x", 10, 8) == 10
    assert line.broadcast_start("x", 11, 8) is None
    assert line.broadcast_start("x", 0, 9) is None
    assert line.broadcast_start("y", 0, 1) is None
