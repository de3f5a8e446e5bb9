"""Reading and writing files that somebody else may have prepared: regular files only, written beside and renamed.

All of offramp reads and writes files through these functions. Every refusal is an `OSError` whose ``strerror`` is a
clause that completes "..., but: "; callers add the name of the file.
"""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def kind_of(path: Path) -> str | None:
    """Say what is at a path, without following a link.

    Args:
        path: Any path.

    Returns:
        ``"a file"`` for a regular file, another phrase such as ``"a link"`` or ``"a device"``, or None where there is
        nothing.

    Raises:
        OSError: The path cannot be looked at.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _kind_of_mode(mode)


def open_to_read(path: Path, *, follow_links: bool = True) -> BinaryIO:
    """Open a regular file for reading. A pipe or device is refused at once, where a plain ``open`` would wait.

    Args:
        path: The file.
        follow_links: Whether the path may be a symbolic link. False for names inside a folder from elsewhere.

    Returns:
        The open file.

    Raises:
        OSError: There is no such file, it cannot be read, or it is not a regular file.
    """
    return os.fdopen(_open_regular(path, os.O_RDONLY, follow_links=follow_links), "rb")


def read_file(path: Path, *, limit: int | None = None, follow_links: bool = True) -> bytes:
    """Read a regular file.

    Args:
        path: The file.
        limit: The largest number of bytes that it may have; None = any.
        follow_links: As for `open_to_read`.

    Returns:
        The whole content.

    Raises:
        OSError: The file cannot be opened as by `open_to_read`, or it is larger than ``limit``.
    """
    with open_to_read(path, follow_links=follow_links) as stream:
        if limit is None:
            return stream.read()
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes", str(path))
    return content


def open_to_update(path: Path) -> IO[str]:
    """Open a small text file for reading and writing in place; it is made where it does not exist.

    Args:
        path: The file, in a folder that may come from elsewhere.

    Returns:
        The open file, at its end.

    Raises:
        OSError: The file is a link, has a second name (a hard link), or is not a regular file; or it cannot be opened.
    """
    handle = _open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, follow_links=False)
    if os.fstat(handle).st_nlink > 1:
        os.close(handle)
        raise OSError(errno.EMLINK, f"{path.name!r} has a second name elsewhere (a hard link)", str(path))
    return os.fdopen(handle, "a+", encoding="utf-8", errors="replace")


def check_replaceable(path: Path) -> None:
    """Refuse to replace anything but a regular file.

    Args:
        path: Where a file is to be written.

    Raises:
        OSError: The path is a link, a folder, a pipe or a device.
    """
    kind = kind_of(path)
    if kind not in (None, "a file"):
        raise _not_regular(path, str(kind))


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file beside its place and rename it at the end, so that a reader sees the old or the new content only.

    Args:
        path: The file; its folder must exist.

    Yields:
        The stream to write to. Where the body raises, the old content stays.

    Raises:
        OSError: Something else than a regular file is at the path, or it cannot be written.
    """
    check_replaceable(path)
    handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        sync_folder(path.absolute().parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that readers see the old content or the new one, never a part, even after a power cut.

    Args:
        path: The file; its folder must exist.
        content: The whole new content; text is written as UTF-8, halves of surrogate pairs as escapes.

    Raises:
        OSError: Something else than a regular file is at the path, or it cannot be written.
    """
    with replacing(path) as stream:
        stream.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Fill a folder beside its place and rename it at the end, so that it is there as a whole or not at all.

    Args:
        target: The folder; it must be absent or empty.

    Yields:
        The empty folder to fill. Where the body raises, nothing is left of it.

    Raises:
        OSError: The target holds something, or the folder cannot be written.
    """
    place = target.absolute()
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}.", suffix=".part"))
    try:
        yield draft
        draft.chmod(0o755)
        if kind_of(place) == "a folder":
            place.rmdir()
        draft.rename(place)
        sync_folder(place.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk, so that created and removed files survive a power cut.

    Args:
        folder: An existing folder.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove a file, a folder with all it holds, or a link itself; what a link points to stays.

    Args:
        path: What to remove; nothing happens where it does not exist.

    Raises:
        OSError: It cannot be removed.
    """
    if kind_of(path) == "a folder":
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def irregular_entries(folder: Path) -> list[str]:
    """Find what is neither a regular file nor a folder; links are not followed.

    Args:
        folder: An existing folder.

    Returns:
        One clause for each such entry at any depth, such as ``chosen (a link)``, sorted.

    Raises:
        OSError: A folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    found = []
    for root, folders, files in os.walk(folder, onerror=refuse):
        for name in (*folders, *files):
            path = Path(root, name)
            kind = kind_of(path)
            if kind not in (None, "a file", "a folder"):
                found.append(f"{path.relative_to(folder)} ({kind})")
    return sorted(found)


def _open_regular(path: Path, flags: int, *, follow_links: bool) -> int:
    # O_NONBLOCK: opening a pipe must not wait for its other end. It has no effect on regular files.
    flags |= os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow_links else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags, 0o644)
    except OSError as exc:
        kind = kind_of(path)
        if kind not in (None, "a file", "a folder") and not (follow_links and kind == "a link"):
            raise _not_regular(path, str(kind)) from exc
        raise
    kind = _kind_of_mode(os.fstat(handle).st_mode)
    if kind != "a file":
        os.close(handle)
        if kind == "a folder":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise _not_regular(path, kind)
    return handle


def _kind_of_mode(mode: int) -> str:
    return next((kind for test, kind in _KINDS if test(mode)), "a file")


def _not_regular(path: Path, kind: str) -> OSError:
    return OSError(errno.EINVAL, f"{path.name!r} is {kind}, where only a regular file may be", str(path))
