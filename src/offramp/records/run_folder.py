"""Creating, resuming and reading run folders."""

import fcntl
import json
import os
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from offramp.errors import RunError
from offramp.records.disk_faults import readable_errors
from offramp.records.run_record import SETTINGS_FILE, RunStore
from offramp.records.schema import check_version, create_tables
from offramp.settings.config import Config
from offramp.settings.config_file import config_from_text

_LOCK = ".lock"
_WAIT_S = 30.0


def create_run(
    folder: Path, config: Config, *, overwrite: bool = False, facts: Mapping[str, str] | None = None
) -> RunStore:
    """Start a run in a new or empty folder.

    Args:
        folder: The run folder; it is created where it does not exist.
        config: The settings of the run.
        overwrite: Whether an earlier run in the folder is removed first.
        facts: Values by name that the record holds from the beginning, as if `RunStore.set` had recorded them.

    Returns:
        The empty run, open for writing and locked.

    Raises:
        RunError: The folder is a file, is not empty, is used by another search, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"Run folder {str(folder)!r} must be a folder, but it is a file. Choose another with --run.")
    _check_free(folder, overwrite)
    with readable_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder)
    try:
        # Checked again: another search may have started here before the folder was locked.
        _check_free(folder, overwrite)
        with readable_errors(folder):
            for entry in folder.iterdir():
                if entry.name != _LOCK:
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            config.save(folder / SETTINGS_FILE)
            connection = _connect(folder)
            create_tables(connection, {"settings": config.to_yaml(), **(facts or {})})
    except BaseException:
        lock.close()
        raise
    return RunStore(folder, config, connection, lock)


def resume_run(folder: Path) -> RunStore:
    """Open an existing run to continue it.

    Args:
        folder: The run folder.

    Returns:
        The run, open for writing and locked.

    Raises:
        RunError: There is no run, another search uses it, or its record cannot be used.
    """
    _check_is_run(folder)
    with readable_errors(folder):
        lock = _lock(folder)
    try:
        with readable_errors(folder):
            connection = _connect(folder)
            check_version(connection, str(folder))
            for leftover in [*folder.rglob(".*.part"), *folder.rglob(".*.old")]:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        return RunStore(folder, _settings(folder, connection), connection, lock)
    except BaseException:
        lock.close()
        raise


def read_run(folder: Path) -> RunStore:
    """Open an existing run for reading, also while a search writes to it.

    Args:
        folder: The run folder.

    Returns:
        The run, without the lock.

    Raises:
        RunError: There is no run, or its record cannot be used.
    """
    _check_is_run(folder)
    with readable_errors(folder):
        connection = _connect_to_read(folder)
        check_version(connection, str(folder))
        return RunStore(folder, _settings(folder, connection), connection, None)


def search_is_running(folder: Path) -> bool:
    """Whether the search that last locked the folder still runs.

    Args:
        folder: The run folder.

    Returns:
        True where its process exists; a search that locked the folder on another machine counts as running.
    """
    try:
        holder = json.loads((folder / _LOCK).read_text())
        pid, host = int(holder["pid"]), str(holder["host"])
    except (OSError, ValueError, KeyError, TypeError):
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


def _settings(folder: Path, connection: sqlite3.Connection) -> Config:
    row = connection.execute("SELECT value FROM meta WHERE key = 'settings'").fetchone()
    if row is None:
        raise RunError(f"The record of run {str(folder)!r} must hold its settings, but it does not. Start a new run.")
    return config_from_text(row[0], origin=f"The settings in the record of run {str(folder)!r}")


def _database(folder: Path) -> Path:
    return folder / "run.sqlite"


def _check_free(folder: Path, overwrite: bool) -> None:
    if _holds_run(folder):
        if not overwrite:
            raise RunError(
                f"Run folder {str(folder)!r} already holds a run. Continue it (--resume), "
                "replace it (--overwrite), or choose another folder (--run)."
            )
        return
    # A start that was killed before its record was created leaves these files; they hold no results.
    ours = {_LOCK, SETTINGS_FILE, _database(folder).name, f"{_database(folder).name}-journal"}
    if folder.exists():
        others = [entry.name for entry in folder.iterdir() if entry.name not in ours]
        if any(not (name.startswith(f".{SETTINGS_FILE}.") and name.endswith(".part")) for name in others):
            raise RunError(f"Run folder {str(folder)!r} is not empty and holds no run. Choose another with --run.")


def _holds_run(folder: Path) -> bool:
    """Whether there is a record; an empty database is left by a start that was killed before its first transaction."""
    path = _database(folder)
    if not path.exists():
        return False
    if path.stat().st_size == 0:
        return False
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.Error:
        return True


def _check_is_run(folder: Path) -> None:
    if not _database(folder).is_file():
        raise RunError(
            f"{str(folder)!r} must be the folder of a run, but there is no run.sqlite in it. Check the path."
        )


def _connect(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(_database(folder), timeout=_WAIT_S)
    # A committed record must survive a power cut. In this journal mode, FULL does not make the end of a transaction
    # durable until the next one; EXTRA does.
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA synchronous=EXTRA")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _connect_to_read(folder: Path) -> sqlite3.Connection:
    path = _database(folder).resolve()
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_WAIT_S)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
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
        connection.execute("SELECT count(*) FROM sqlite_master")
        return connection
    except sqlite3.OperationalError:
        connection.close()
    with tempfile.TemporaryDirectory() as scratch:
        for file in path.parent.glob("run.sqlite*"):
            shutil.copyfile(file, Path(scratch) / file.name)
        copy = sqlite3.connect(Path(scratch) / path.name)
        memory = sqlite3.connect(":memory:")
        copy.backup(memory)
        copy.close()
    memory.execute("PRAGMA query_only=ON")
    return memory


def _lock(folder: Path) -> IO[str]:
    handle = (folder / _LOCK).open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        handle.close()
        raise RunError(
            f"Run folder {str(folder)!r} is in use by another search. Wait for it, or choose another with --run."
        ) from exc
    handle.seek(0)
    handle.truncate()
    handle.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    handle.flush()
    return handle
