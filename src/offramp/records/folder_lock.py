"""The lock of a run folder: one search at a time writes to it."""

import contextlib
import fcntl
import json
import os
import socket
from pathlib import Path
from typing import IO

from offramp.errors import RunError
from offramp.files.safe_files import open_to_update, read_file

LOCK_FILE = ".lock"
"""Name of the lock file. While a search holds it, it names the process and the machine."""
_MAX_BYTES = 1000
_LARGEST_PID = 1 << 22


def lock_folder(folder: Path) -> IO[str]:
    """Lock a run folder for this process.

    Args:
        folder: The run folder.

    Returns:
        The open lock file; the lock is released when it is closed.

    Raises:
        RunError: Another search holds the lock, or the file holds something else than a lock.
        OSError: The file is a link or no regular file, or cannot be written.
    """
    handle = open_to_update(folder / LOCK_FILE)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        handle.close()
        raise RunError(
            f"Run folder {str(folder)!r} is in use by another search. Wait for it, or choose another with --run."
        ) from exc
    handle.seek(0)
    text = handle.read(_MAX_BYTES + 1)
    # A kill or a full disk may leave the beginning of what is written below.
    if (text and not text.startswith("{"[: len(text)])) or len(text) > _MAX_BYTES:
        handle.close()
        raise RunError(
            f"The file {LOCK_FILE} of run folder {str(folder)!r} must be the lock of a search, but it holds something "
            "else. Move it away, or choose another folder with --run."
        )
    handle.seek(0)
    handle.truncate()
    handle.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    handle.flush()
    return handle


def unlock_folder(lock: IO[str]) -> None:
    """Empty and close a lock file.

    Args:
        lock: What `lock_folder` returned; it may be closed already.
    """
    if not lock.closed:
        # An empty lock file means that no search holds it. On a full disk it stays, and the next search empties it.
        with contextlib.suppress(OSError):
            lock.truncate(0)
        with contextlib.suppress(OSError):
            lock.close()


def search_is_running(folder: Path) -> bool:
    """Whether the search that last locked the folder still runs.

    Args:
        folder: The run folder.

    Returns:
        True where its process exists; a search that locked the folder on another machine counts as running.
    """
    try:
        holder = json.loads(read_file(folder / LOCK_FILE, limit=_MAX_BYTES, follow_links=False))
        pid, host = int(holder["pid"]), str(holder["host"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return False
    if not 0 < pid <= _LARGEST_PID:
        return False
    if host != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
