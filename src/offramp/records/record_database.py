"""Opening the database of a run, which may come from elsewhere: what it holds is checked before it is used."""

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from offramp.errors import RunError
from offramp.files.safe_files import kind_of, open_to_read
from offramp.records.schema import check_schema, has_our_tables

DATABASE_FILE = "run.sqlite"
"""Name of the database in a run folder."""
JOURNAL_FILE = f"{DATABASE_FILE}-journal"
"""Name of the file with which SQLite undoes a transaction that a kill has torn."""
_WAIT_S = 30.0
_LONGEST_VALUE_BYTES = 1 << 28
_STEPS_PER_CALL = 10_000
_STEPS, _STEPS_PER_BYTE = 10_000_000, 10
# The end of a journal that names another file, which SQLite would delete (https://www.sqlite.org/fileformat2.html).
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")


def holds_record(folder: Path) -> bool:
    """Whether there is a database; an empty one is left by a start that was killed before its first transaction.

    Args:
        folder: The run folder.

    Returns:
        True also for a database that is not of offramp.

    Raises:
        RunError: Its file is a link or not a regular file.
    """
    _check_files(folder)
    path = folder / DATABASE_FILE
    if kind_of(path) is None or path.stat().st_size == 0:
        return False
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
        finally:
            connection.close()
    except (sqlite3.Error, UnicodeDecodeError):
        return True


def is_record(folder: Path) -> bool:
    """Whether the database has exactly the tables of a run.

    Args:
        folder: The run folder.

    Returns:
        False also for a database that cannot be read.

    Raises:
        RunError: Its file is a link or not a regular file.
    """
    try:
        connection = connect_to_read(folder, check=False)
    except (sqlite3.Error, UnicodeDecodeError, OSError):
        return False
    try:
        return has_our_tables(connection)
    except (sqlite3.Error, UnicodeDecodeError):
        return False
    finally:
        connection.close()


def create_database(folder: Path) -> sqlite3.Connection:
    """Make a new database.

    Args:
        folder: The run folder.

    Returns:
        The connection; the database has no tables yet.

    Raises:
        RunError: A link, or no regular file, is where the database has its place.
        sqlite3.Error: The database cannot be opened.
    """
    _check_files(folder)
    return _with_safe_settings(_writable(folder / DATABASE_FILE))


def connect_to_write(folder: Path) -> sqlite3.Connection:
    """Open the record of a run for writing.

    Args:
        folder: The run folder.

    Returns:
        The connection to a database that was checked.

    Raises:
        RunError: It has other tables than a run, rows are missing, or it is damaged.
        sqlite3.Error: The database cannot be opened.
    """
    _check_files(folder)
    connection = _with_safe_settings(_writable(folder / DATABASE_FILE))
    return _checked(connection, folder)


def connect_to_read(folder: Path, *, check: bool = True) -> sqlite3.Connection:
    """Open the record of a run for reading, also while a search writes to it.

    Args:
        folder: The run folder.
        check: Whether tables and rows are checked.

    Returns:
        The connection.

    Raises:
        RunError: It has other tables than a run, rows are missing, or it is damaged.
        sqlite3.Error: The database cannot be opened.
    """
    _check_files(folder)
    connection = _with_safe_settings(_open_to_read((folder / DATABASE_FILE).resolve()))
    return _checked(connection, folder) if check else connection


def _writable(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_WAIT_S)
    # A committed record must survive a power cut. In this journal mode, FULL does not make the end of a transaction
    # durable until the next one; EXTRA does.
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA synchronous=EXTRA")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _open_to_read(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_WAIT_S)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")
        return connection
    except sqlite3.OperationalError as exc:
        connection.close()
        if exc.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise
    # A search that was killed in the middle of a transaction left its journal. Roll it back: in place, or in a copy
    # where this folder may not be written.
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=_WAIT_S)
        connection.execute("PRAGMA query_only=ON")
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")
        return connection
    except sqlite3.OperationalError:
        connection.close()
    with tempfile.TemporaryDirectory() as scratch:
        for name in (DATABASE_FILE, JOURNAL_FILE):
            if (path.parent / name).exists():
                shutil.copyfile(path.parent / name, Path(scratch) / name)
        copy = sqlite3.connect(Path(scratch) / path.name)
        memory = sqlite3.connect(":memory:")
        copy.backup(memory)
        copy.close()
    memory.execute("PRAGMA query_only=ON")
    return memory


def _check_files(folder: Path) -> None:
    """Refuse what SQLite would follow, wait for, or delete."""
    for name in (DATABASE_FILE, JOURNAL_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm"):
        kind = kind_of(folder / name)
        if kind not in (None, "a file"):
            raise RunError(
                f"The record of run {str(folder)!r} must be regular files, but {name} is {kind}. Remove it, or "
                "start a new run."
            )
    if kind_of(folder / JOURNAL_FILE) is None:
        return
    try:
        with open_to_read(folder / JOURNAL_FILE, follow_links=False) as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - len(_JOURNAL_MAGIC)))
            end = stream.read()
    except FileNotFoundError:  # a search has ended its transaction meanwhile
        return
    if size > 512 and end == _JOURNAL_MAGIC:
        raise RunError(
            f"The file {JOURNAL_FILE} of run {str(folder)!r} names another file, which SQLite would delete; offramp "
            "writes no such file. Remove it, or start a new run."
        )


def _with_safe_settings(connection: sqlite3.Connection) -> sqlite3.Connection:
    # What a schema names, such as a function in a trigger, is not run.
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE_BYTES)
    return connection


def _checked(connection: sqlite3.Connection, folder: Path) -> sqlite3.Connection:
    """Check tables and pages: a page that is its own child would give rows without end."""
    pages, page_bytes = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    left = int(_STEPS + _STEPS_PER_BYTE * pages * page_bytes) // _STEPS_PER_CALL

    def count() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    connection.set_progress_handler(count, _STEPS_PER_CALL)
    try:
        check_schema(connection, str(folder))
    except BaseException:
        connection.close()
        raise
    connection.set_progress_handler(None, 0)
    return connection
