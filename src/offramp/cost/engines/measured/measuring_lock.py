"""One measurement at a time on this machine, since two at once slow each other down."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from threading import RLock

from offramp.cost.price_cache import default_cache_path
from offramp.files.safe_files import open_to_update

_own = RLock()
_held: list[Path] = []


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until no other process of this user measures. Where no lock file can be written, nothing is waited for.

    Yields:
        Nothing.
    """
    with _own:
        if _held:
            yield
            return
        path = default_cache_path().with_name("measuring.lock")
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context(open_to_update(path))
                fcntl.flock(lock, fcntl.LOCK_EX)
            _held.append(path)
            try:
                yield
            finally:
                _held.clear()
