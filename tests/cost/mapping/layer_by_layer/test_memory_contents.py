"""Contents of a memory over time, by hand and against a search cycle by cycle."""

from hypothesis import given
from hypothesis import strategies as st

from offramp.cost.mapping.layer_by_layer.memory_contents import MemoryContents, StoredTensor


def test_store_waits_for_room() -> None:
    store = MemoryContents(100)
    store.put(StoredTensor("a", 60, since=10, available=20))
    store.put(StoredTensor("b", 30, since=30, available=40))
    store.drop("a", 50)
    assert store.fits_from(0, 10) == 0
    assert store.fits_from(0, 40) == 50
    assert store.fits_from(70, 40) == 70
    assert store.fits_from(0, 71) == float("inf")
    assert (store.final_bits, store.last_change) == (30, 50)
    assert "a" not in store
    assert "b" in store


def test_tensor_that_comes_as_another_goes_is_in_nobodys_way() -> None:
    store = MemoryContents(10)
    store.put(StoredTensor("a", 10, 0, 0))
    store.put(StoredTensor("b", 10, 5, 5))
    store.drop("a", 5)
    store.drop("b", 8)
    assert store.fits_from(0, 10) == 8
    store.put(StoredTensor("c", 10, 20, 20))
    store.drop("c", 20)
    assert store.fits_from(0, 10) == 8


def test_unlimited_store_always_has_room() -> None:
    store = MemoryContents(None)
    store.put(StoredTensor("a", 10**15, 0, 0))
    assert store.fits_from(3, 10**15) == 3


def test_tensor_is_stored_once_and_given_back_once() -> None:
    store = MemoryContents(10)
    store.put(StoredTensor("a", 6, 0, 5))
    store.put(StoredTensor("a", 6, 3, 9))
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
    store = MemoryContents(capacity)
    used = [0] * 200
    for number, (since, size, length) in enumerate(items):
        store.put(StoredTensor(str(number), size, since, since))
        store.drop(str(number), since + length)
        for cycle in range(since, since + length):
            used[cycle] += size
    fitting = [t for t in range(ready, 150) if all(u + bits <= capacity for u in used[t:150])]
    assert store.fits_from(ready, bits) == (fitting[0] if fitting else float("inf"))
