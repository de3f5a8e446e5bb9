"""Faults of disks and folders as error messages."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from offramp.errors import RunError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_OF_THE_DISK = {*_NO_ROOM, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


@contextmanager
def readable_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the record and the folder into messages that say what to do.

    Args:
        folder: The run folder.

    Raises:
        RunError: In place of an sqlite3.Error or OSError of the block.
    """
    try:
        yield
    except sqlite3.Error as exc:
        if getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise RunError(_no_room(folder, "the disk is full")) from exc
        raise RunError(
            f"The record of run {str(folder)!r} cannot be used: {exc}. Check the disk and the file."
        ) from exc
    except OSError as exc:
        raise folder_error(folder, exc) from exc


def is_disk_fault(exc: OSError) -> bool:
    """Whether an error comes from the disk or the folder, and not from the program.

    Args:
        exc: The error.

    Returns:
        True for a full, read-only or faulty disk and for missing permissions.
    """
    return exc.errno in _OF_THE_DISK


def folder_error(folder: Path, exc: OSError) -> RunError:
    """The error for a run folder that cannot be written.

    Args:
        folder: The run folder.
        exc: What the operating system reported.

    Returns:
        An error with the reason and what to do.
    """
    reason = exc.strerror or str(exc)
    if exc.errno in _NO_ROOM:
        return RunError(_no_room(folder, reason))
    return RunError(f"Run folder {str(folder)!r} must be writable, but: {reason}. Choose another with --run.")


def _no_room(folder: Path, reason: str) -> str:
    return (
        f"Run {str(folder)!r} cannot be written any further: {reason}. All that was recorded before is kept; make room "
        f"and go on with: offramp search --run {folder} --resume"
    )
