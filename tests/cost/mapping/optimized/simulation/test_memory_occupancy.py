"""Room in memories: by hand, and never more than there is whatever comes and goes."""

from hypothesis import given
from hypothesis import strategies as st

from offramp.cost.mapping.optimized.simulation.memory_occupancy import FOREVER, MemoryOccupancy, Residency, WeightBuffer
from offramp.cost.schedule import Region

HERE = Region(0, 1, 0, 1)


def residency(bits: int, start: float, end: float = FOREVER) -> Residency:
    return Residency("x", HERE, bits, start, end)


def test_room_comes_back_when_a_tensor_goes() -> None:
    room = MemoryOccupancy(100)
    first = room.take(residency(60, 0))
    assert room.fits_from(5, 40) == 5
    assert room.fits_from(5, 41) == FOREVER
    first.end = 30
    assert room.fits_from(5, 41) == 30
    assert room.fits_from(31, 41) == 31
    room.take(residency(50, 30, 80))
    assert room.fits_from(5, 60) == 80
    assert room.fits_from(0, 101) == FOREVER


def test_what_lies_in_the_past_is_forgotten_but_reported() -> None:
    room = MemoryOccupancy(100)
    room.take(residency(60, 0, 10))
    room.take(residency(20, 0))
    room.forget_before(10)
    assert [x.bits for x in room.residencies] == [20]
    assert [x.bits for x in room.done] == [60]
    assert room.fits_from(10, 80) == 10


def test_ring_gives_room_in_order() -> None:
    buffer = WeightBuffer(100)
    assert buffer.fits_from(50) == 0
    buffer.take(residency(50, 0, 70))
    assert buffer.fits_from(50) == 0
    buffer.take(residency(50, 10, 40))
    # The oldest block has to go first, although the second is used up before it.
    assert buffer.fits_from(30) == 70
    buffer.take(residency(30, 70, 90))
    assert buffer.fits_from(20) == 70


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 30), st.integers(1, 50)), max_size=30))
def test_a_ring_never_overflows(loads: list[tuple[int, int, int]]) -> None:
    buffer = WeightBuffer(100)
    residencies: list[Residency] = []
    for bits, delay, length in loads:
        start = buffer.fits_from(bits) + delay
        residencies.append(buffer.take(residency(bits, start, start + length)))
    for moment in {x.start for x in residencies}:
        assert sum(x.bits for x in residencies if x.start <= moment < x.end) <= 100


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 30), st.integers(1, 50)), max_size=30))
def test_a_room_never_overflows(loads: list[tuple[int, int, int]]) -> None:
    room = MemoryOccupancy(100)
    for bits, ready, length in loads:
        start = room.fits_from(ready, bits)
        assert start >= ready
        room.take(residency(bits, start, start + length))
    for moment in {x.start for x in room.residencies}:
        assert sum(x.bits for x in room.residencies if x.start <= moment < x.end) <= 100
