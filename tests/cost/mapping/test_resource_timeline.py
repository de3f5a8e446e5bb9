from hypothesis import given
from hypothesis import strategies as st

from offramp.cost.mapping.resource_timeline import Store, Stored, Timeline
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
    assert line.heard("x", 10, 8) == 10
    assert line.heard("x", 11, 8) is None
    assert line.heard("x", 0, 9) is None
    assert line.heard("y", 0, 1) is None


def test_store_waits_for_room() -> None:
    store = Store(100)
    store.put(Stored("a", 60, since=10, available=20))
    store.put(Stored("b", 30, since=30, available=40))
    store.drop("a", 50)
    assert store.fits_from(0, 10) == 0
    assert store.fits_from(0, 40) == 50
    assert store.fits_from(70, 40) == 70
    assert store.fits_from(0, 71) == float("inf")
    assert (store.final_bits, store.last_change) == (30, 50)
    assert "a" not in store
    assert "b" in store


def test_tensor_that_comes_as_another_goes_is_in_nobodys_way() -> None:
    store = Store(10)
    store.put(Stored("a", 10, 0, 0))
    store.put(Stored("b", 10, 5, 5))
    store.drop("a", 5)
    store.drop("b", 8)
    assert store.fits_from(0, 10) == 8
    store.put(Stored("c", 10, 20, 20))
    store.drop("c", 20)
    assert store.fits_from(0, 10) == 8


def test_unlimited_store_always_has_room() -> None:
    store = Store(None)
    store.put(Stored("a", 10**15, 0, 0))
    assert store.fits_from(3, 10**15) == 3


def test_tensor_is_stored_once_and_given_back_once() -> None:
    store = Store(10)
    store.put(Stored("a", 6, 0, 5))
    store.put(Stored("a", 6, 3, 9))
    assert store.final_bits == 6
    store.drop("a", 7)
    store.drop("a", 8)
    assert store.final_bits == 0


@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 20), st.integers(0, 15)), max_size=12),
    st.integers(0, 40),
    st.integers(1, 20),
)
def test_room_is_found_as_a_cycle_by_cycle_search_finds_it(
    capacity: int, items: list[tuple[int, int, int]], ready: int, bits: int
) -> None:
    store = Store(capacity)
    used = [0] * 200
    for number, (since, size, length) in enumerate(items):
        store.put(Stored(str(number), size, since, since))
        store.drop(str(number), since + length)
        for cycle in range(since, since + length):
            used[cycle] += size
    fitting = [t for t in range(ready, 150) if all(u + bits <= capacity for u in used[t:150])]
    assert store.fits_from(ready, bits) == (fitting[0] if fitting else float("inf"))
