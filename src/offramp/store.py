"""The run folder: the settings used, one durable record per evaluation, and where everything else lies."""

import fcntl
import itertools
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from offramp.config import Config, load_config
from offramp.errors import RunError
from offramp.jsonio import dumps, loads
from offramp.objectives.evaluation import Evaluation

SCHEMA_VERSION = 1

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS evaluations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    batch INTEGER NOT NULL,
    asked INTEGER NOT NULL,
    payload TEXT NOT NULL
);
"""


@dataclass(frozen=True)
class StoredBatch:
    """Candidates that were asked for together, as far as they were evaluated."""

    num_asked: int
    evaluations: tuple[Evaluation, ...]


class RunStore:
    """One run folder. Open it with ``create_run``, ``resume_run`` (both for writing) or ``read_run``."""

    def __init__(self, folder: Path, config: Config, connection: sqlite3.Connection, lock: IO[str] | None) -> None:
        self.folder = folder
        self.config = config
        self._connection = connection
        self._lock = lock

    @property
    def checkpoint(self) -> Path:
        return self.folder / "supernet.safetensors"

    @property
    def summary(self) -> Path:
        return self.folder / "summary.json"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    def network_folder(self, rule: str) -> Path:
        """Where weights and bundle of a chosen network lie; different rules never share a folder."""
        return self.folder / "chosen" / quote(rule, safe="+").replace(".", "%2E")

    def append(self, batch: int, num_asked: int, evaluation: Evaluation) -> None:
        """Write one evaluation of a batch of ``num_asked`` candidates; it is on disk when this returns."""
        with _readable_errors(self.folder), self._connection:
            self._connection.execute(
                "INSERT INTO evaluations (batch, asked, payload) VALUES (?, ?, ?)",
                (batch, num_asked, dumps(evaluation)),
            )

    def batches(self) -> tuple[StoredBatch, ...]:
        """All evaluations in the order and the batches in which they were made; only the last may be incomplete."""
        with _readable_errors(self.folder):
            query = "SELECT batch, asked, payload FROM evaluations ORDER BY number"
            rows = self._connection.execute(query).fetchall()
        result = []
        for (_, asked), group in itertools.groupby(rows, key=lambda row: (row[0], row[1])):
            what = f"An evaluation in {self.folder}"
            members = tuple(loads(Evaluation, payload, what=what, error=RunError) for _, _, payload in group)
            result.append(StoredBatch(asked, members))
        return tuple(result)

    def evaluations(self) -> tuple[Evaluation, ...]:
        return tuple(evaluation for batch in self.batches() for evaluation in batch.evaluations)

    def set(self, key: str, value: str) -> None:
        with _readable_errors(self.folder), self._connection:
            self._connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    def get(self, key: str) -> str | None:
        with _readable_errors(self.folder):
            row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        self._connection.close()
        if self._lock is not None:
            self._lock.close()


def create_run(folder: Path, config: Config, *, overwrite: bool = False) -> RunStore:
    """Start a run in a new or empty folder; ``overwrite`` first removes an earlier run that lies there."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"Run folder {str(folder)!r} must be a folder, but it is a file. Choose another with --run.")
    if _database(folder).exists() and not overwrite:
        raise RunError(
            f"Run folder {str(folder)!r} already holds a run. Go on with it (--resume), "
            "replace it (--overwrite), or choose another folder (--run)."
        )
    if folder.exists() and not _database(folder).exists() and any(folder.iterdir()):
        raise RunError(f"Run folder {str(folder)!r} is not empty and holds no run. Choose another with --run.")
    with _readable_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder)
        for entry in folder.iterdir():
            if entry.name != ".lock":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        config.save(folder / "config.yaml")
        connection = _connect(folder)
    store = RunStore(folder, config, connection, lock)
    store.set("schema", str(SCHEMA_VERSION))
    return store


def resume_run(folder: Path) -> RunStore:
    """Open an existing run to go on with it."""
    _check_is_run(folder)
    with _readable_errors(folder):
        return _open(folder, _lock(folder))


def read_run(folder: Path) -> RunStore:
    """Open an existing run to look at it; also while a search is writing to it."""
    _check_is_run(folder)
    with _readable_errors(folder):
        return _open(folder, None)


def _open(folder: Path, lock: IO[str] | None) -> RunStore:
    store = RunStore(folder, load_config(folder / "config.yaml"), _connect(folder, read_only=lock is None), lock)
    found = store.get("schema")
    if found != str(SCHEMA_VERSION):
        raise RunError(f"Run {str(folder)!r} has schema {found}; this offramp reads schema {SCHEMA_VERSION}.")
    return store


def _database(folder: Path) -> Path:
    return folder / "run.sqlite"


def _check_is_run(folder: Path) -> None:
    if not _database(folder).is_file():
        raise RunError(
            f"{str(folder)!r} must be the folder of a run, but there is no run.sqlite in it. Check the path."
        )


def _connect(folder: Path, *, read_only: bool = False) -> sqlite3.Connection:
    path = _database(folder)
    if read_only:
        return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)
    connection = sqlite3.connect(path, timeout=30)
    # A record must survive a power cut as soon as it counts.
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA synchronous=FULL")
    connection.executescript(_TABLES)
    return connection


def _lock(folder: Path) -> IO[str]:
    handle = (folder / ".lock").open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        handle.close()
        raise RunError(
            f"Run folder {str(folder)!r} is in use by another search. Wait for it, or choose another with --run."
        ) from exc
    handle.seek(0)
    handle.truncate()
    handle.write(json.dumps({"pid": os.getpid()}))
    handle.flush()
    return handle


@contextmanager
def _readable_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise RunError(
            f"The record of run {str(folder)!r} cannot be used: {exc}. Check the disk and the file."
        ) from exc
    except OSError as exc:
        raise RunError(
            f"Run folder {str(folder)!r} must be writable, but: {exc.strerror or exc}. Choose another with --run."
        ) from exc
