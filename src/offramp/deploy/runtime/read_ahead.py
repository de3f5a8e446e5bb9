"""Reading ahead from an iterator in another thread."""

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_POLL_S = 0.1


def read_ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """The same items in order, up to ``count`` of them taken before they are asked for; 0 takes none.

    An error of ``items`` arrives after the items before it. Closing the iterator stops the reading.

    Args:
        items: What is read.
        count: How many items are read ahead; 0 for none.

    Yields:
        The items, in order.
    """
    return _Reader(items, count).results() if count else iter(items)


@dataclass(frozen=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True)
class _End:
    error: BaseException | None


class _Reader(Generic[T]):
    def __init__(self, items: Iterable[T], count: int) -> None:
        self._items = items
        self._ready: queue.Queue[_Item[T] | _End] = queue.Queue(maxsize=count)
        self._stop = threading.Event()

    def results(self) -> Iterator[T]:
        # A daemon: an iterator that never gives its next item must not keep the program from ending.
        threading.Thread(target=self._read, name="offramp-read-ahead", daemon=True).start()
        try:
            while isinstance(entry := self._ready.get(), _Item):
                yield entry.value
            if entry.error is not None:
                raise entry.error
        finally:
            self._stop.set()

    def _read(self) -> None:
        try:
            for item in self._items:
                self._put(_Item(item))
                if self._stop.is_set():
                    return
        # Whatever it is, it belongs to the thread that asked for the items.
        except BaseException as exc:
            self._put(_End(exc))
        else:
            self._put(_End(None))

    def _put(self, entry: _Item[T] | _End) -> None:
        """Wait for room, but not for a consumer that is gone."""
        while not self._stop.is_set():
            try:
                self._ready.put(entry, timeout=_POLL_S)
            except queue.Full:
                continue
            return
