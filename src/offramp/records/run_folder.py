"""Creating, resuming and reading run folders."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from offramp.errors import ConfigError, RunError
from offramp.files.safe_files import kind_of
from offramp.records.disk_faults import readable_errors
from offramp.records.folder_content import START_FILES, remove_run, remove_unfinished
from offramp.records.folder_lock import lock_folder
from offramp.records.record_database import (
    DATABASE_FILE,
    connect_to_read,
    connect_to_write,
    create_database,
    holds_record,
    is_record,
)
from offramp.records.run_record import SETTINGS_FILE, RunStore, settings_facts
from offramp.records.schema import create_tables
from offramp.settings.config import Config
from offramp.settings.config_file import config_from_text


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
        lock = lock_folder(folder)
    try:
        # Checked again: another search may have started here before the folder was locked.
        _check_free(folder, overwrite)
        with readable_errors(folder):
            remove_run(folder, _targets(folder))
            recorded = config.for_record()
            recorded.save(folder / SETTINGS_FILE)
            connection = create_database(folder)
            create_tables(connection, {**settings_facts(recorded), **(facts or {})})
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
        lock = lock_folder(folder)
    try:
        with readable_errors(folder):
            remove_unfinished(folder)
            connection = connect_to_write(folder)
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
        connection = connect_to_read(folder)
        return RunStore(folder, _settings(folder, connection), connection, None)


def _settings(folder: Path, connection: sqlite3.Connection) -> Config:
    row = connection.execute("SELECT value FROM meta WHERE key = 'settings'").fetchone()
    if row is None:
        raise RunError(f"The record of run {str(folder)!r} must hold its settings, but it does not. Start a new run.")
    origin = f"The settings in the record of run {str(folder)!r}"
    return config_from_text(str(row[0]), origin=origin).for_record()


def _check_free(folder: Path, overwrite: bool) -> None:
    if kind_of(folder) is None:
        return
    with readable_errors(folder):
        if holds_record(folder):
            if not is_record(folder):
                raise RunError(
                    f"Run folder {str(folder)!r} holds a {DATABASE_FILE} that is not the record of a run of this "
                    "offramp. It is not replaced; choose another folder with --run."
                )
            if not overwrite:
                raise RunError(
                    f"Run folder {str(folder)!r} already holds a run. Continue it (--resume), "
                    "replace it (--overwrite), or choose another folder (--run)."
                )
            return
        others = [entry.name for entry in folder.iterdir() if entry.name not in START_FILES]
    if any(not (name.startswith(f".{SETTINGS_FILE}.") and name.endswith(".part")) for name in others):
        raise RunError(f"Run folder {str(folder)!r} is not empty and holds no run. Choose another with --run.")


def _targets(folder: Path) -> tuple[str, ...]:
    """Names of the deployment targets of the run in a folder; none where there is no whole record."""
    if not holds_record(folder):
        return ()
    try:
        connection = connect_to_read(folder)
    except RunError:
        return ()
    try:
        return tuple(_settings(folder, connection).deploy.targets)
    except ConfigError:
        return ()
    finally:
        connection.close()


def _check_is_run(folder: Path) -> None:
    if kind_of(folder / DATABASE_FILE) is None:
        raise RunError(
            f"{str(folder)!r} must be the folder of a run, but there is no run.sqlite in it. Check the path."
        )
