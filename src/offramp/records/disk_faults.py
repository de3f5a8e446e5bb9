"""Faults of disks and folders as error messages."""

import errno
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from offramp.errors import RunError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DISK_FAULTS = {*_NO_SPACE, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


@contextmanager
def readable_errors(folder: Path) -> Iterator[None]:
    """Convert errors of the database and the folder in the body into RunErrors that say what to do.

    Args:
        folder: The run folder, for the message.

    Yields:
        Nothing.

    Raises:
        RunError: The body raised an `sqlite3.Error` or an `OSError`, or text of the database cannot be decoded.
    """
    try:
        yield
    except sqlite3.Error as exc:
        if getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise RunError(_no_space(folder, "the disk is full")) from exc
        raise RunError(
            f"The record of run {str(folder)!r} cannot be used: {exc}. Check the disk and the file."
        ) from exc
    except UnicodeDecodeError as exc:
        raise RunError(
            f"The record of run {str(folder)!r} cannot be used: it holds text that is not UTF-8. Start a new run."
        ) from exc
    except OSError as exc:
        raise folder_error(folder, exc) from exc


def is_disk_fault(exc: OSError) -> bool:
    """Whether an error comes from the disk or the folder: no space, no permission, read-only, or an I/O fault.

    Args:
        exc: The error.

    Returns:
        True for such an error; other errors may come from the program.
    """
    return exc.errno in _DISK_FAULTS


def folder_error(folder: Path, exc: OSError) -> RunError:
    """The error for a run folder that cannot be written.

    Args:
        folder: The run folder.
        exc: What the operating system raised.

    Returns:
        The error to raise.
    """
    reason = exc.strerror or str(exc)
    if exc.errno in _NO_SPACE:
        return RunError(_no_space(folder, reason))
    return RunError(f"Run folder {str(folder)!r} must be writable, but: {reason}. Choose another with --run.")


def _no_space(folder: Path, reason: str) -> str:
    return (
        f"Run {str(folder)!r} cannot be written any further: {reason}. All that was recorded before is kept; free some "
        f"space and continue with: offramp search --run {folder} --resume"
    )


def check_can_be_made(folder: Path) -> None:
    """Check that a run folder can be made, without making it.

    Args:
        folder: The run folder.

    Raises:
        RunError: Nothing can be written where it would be.
    """
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryDirectory(dir=nearest if nearest.is_dir() else nearest.parent):
            pass
    except OSError as exc:
        raise folder_error(folder, exc) from exc
