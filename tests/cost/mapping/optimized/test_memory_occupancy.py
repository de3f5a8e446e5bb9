"""Room in memories: by hand, and never more than there is whatever comes and goes."""

from hypothesis import given
from hypothesis import strategies as st

from offramp.cost.mapping.optimized.memory_occupancy import FOREVER, RoomUse, Stay, WeightRing
from offramp.cost.schedule import Region

HERE = Region(0, 1, 0, 1)


def stay(bits: int, start: float, end: float = FOREVER) -> Stay:
    return Stay("x", HERE, bits, start, end)


def test_room_comes_back_when_a_tensor_goes() -> None:
    room = RoomUse(100)
    first = room.take(stay(60, 0))
    assert room.fits_from(5, 40) == 5
    assert room.fits_from(5, 41) == FOREVER
    first.end = 30
    assert room.fits_from(5, 41) == 30
    assert room.fits_from(31, 41) == 31
    room.take(stay(50, 30, 80))
    assert room.fits_from(5, 60) == 80
    assert room.fits_from(0, 101) == FOREVER


def test_what_lies_in_the_past_is_forgotten_but_reported() -> None:
    room = RoomUse(100)
    room.take(stay(60, 0, 10))
    room.take(stay(20, 0))
    room.forget_before(10)
    assert [x.bits for x in room.stays] == [20]
    assert [x.bits for x in room.done] == [60]
    assert room.fits_from(10, 80) == 10


def test_ring_gives_room_in_order() -> None:
    ring = WeightRing(100)
    assert ring.room_from(50) == 0
    ring.take(stay(50, 0, 70))
    assert ring.room_from(50) == 0
    ring.take(stay(50, 10, 40))
    # The oldest block has to go first, although the second is used up before it.
    assert ring.room_from(30) == 70
    ring.take(stay(30, 70, 90))
    assert ring.room_from(20) == 70


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 30), st.integers(1, 50)), max_size=30))
def test_a_ring_never_overflows(loads: list[tuple[int, int, int]]) -> None:
    ring = WeightRing(100)
    stays: list[Stay] = []
    for bits, delay, length in loads:
        start = ring.room_from(bits) + delay
        stays.append(ring.take(stay(bits, start, start + length)))
    for moment in {x.start for x in stays}:
        assert sum(x.bits for x in stays if x.start <= moment < x.end) <= 100


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 30), st.integers(1, 50)), max_size=30))
def test_a_room_never_overflows(loads: list[tuple[int, int, int]]) -> None:
    room = RoomUse(100)
    for bits, ready, length in loads:
        start = room.fits_from(ready, bits)
        assert start >= ready
        room.take(stay(bits, start, start + length))
    for moment in {x.start for x in room.stays}:
        assert sum(x.bits for x in room.stays if x.start <= moment < x.end) <= 100
