"""Reading ahead: same items, bounded, and a reader that ends with its consumer."""

import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from offramp.deploy.runtime.read_ahead import read_ahead


def readers() -> int:
    return sum(thread.name == "offramp-read-ahead" for thread in threading.enumerate())


@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_the_same_items_in_order(count: int) -> None:
    assert list(read_ahead(range(20), count)) == list(range(20))
    assert list(read_ahead([], count)) == []


@pytest.mark.parametrize("count", [0, 2])
def test_an_error_arrives_after_the_items_before_it(count: int) -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("no more")

    found = iter(read_ahead(items(), count))
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(OSError, match="no more"):
        next(found)


@pytest.mark.parametrize("count", [1, 4])
def test_no_more_is_taken_than_allowed(count: int) -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in itertools.count():
            taken.append(item)
            yield item

    found = read_ahead(items(), count)
    next(found)
    deadline = time.monotonic() + 5
    while len(taken) < count + 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.15)
    # One was asked for, ``count`` are ready, and one is in the reader's hands.
    assert count + 1 <= len(taken) <= count + 2
    found.close()  # type: ignore[attr-defined]
    while readers() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert readers() == 0


def test_nothing_is_taken_ahead_without_being_asked_to() -> None:
    taken = []
    found = read_ahead((taken.append(item) or item for item in range(5)), 0)
    assert taken == []
    assert next(found) == 0
    assert taken == [0]
