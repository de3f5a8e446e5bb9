"""The tables of a run's record, their version, and how a record of an older version becomes one of this."""

import json
import sqlite3
from collections.abc import Callable

from offramp.errors import RunError
from offramp.jsonio import shortened

SCHEMA_VERSION = 2

_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE batches (number INTEGER PRIMARY KEY, asked INTEGER NOT NULL)",
    """CREATE TABLE proposals (
        batch INTEGER NOT NULL REFERENCES batches (number),
        position INTEGER NOT NULL,
        architecture TEXT NOT NULL,
        PRIMARY KEY (batch, position))""",
    # The keys see to it that nothing is recorded twice, and nothing that was not proposed.
    """CREATE TABLE evaluations (
        batch INTEGER NOT NULL,
        position INTEGER NOT NULL,
        status TEXT NOT NULL,
        error TEXT,
        payload TEXT NOT NULL,
        seconds REAL,
        worker TEXT,
        PRIMARY KEY (batch, position),
        FOREIGN KEY (batch, position) REFERENCES proposals (batch, position))""",
    """CREATE TABLE checkpoints (
        path TEXT PRIMARY KEY,
        sha256 TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        epochs INTEGER NOT NULL)""",
)


def create_tables(connection: sqlite3.Connection, settings: str) -> None:
    """All tables of an empty record, in one step: a record is complete or not there."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _TABLES:
            connection.execute(statement)
        rows = (("schema", str(SCHEMA_VERSION)), ("settings", settings))
        connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)


def version_of(connection: sqlite3.Connection, name: str) -> int:
    """The schema of a record; raises RunError for one that this offramp cannot open, and says why."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone() if "meta" in tables else None
    if row is None:
        raise RunError(
            f"Run {name!r} must have a record that names its schema, but run.sqlite does not. Start a new run."
        )
    try:
        found = int(row[0])
    except ValueError:
        found = 0
    if found > SCHEMA_VERSION:
        raise RunError(
            f"Run {name!r} has schema {found}, of a newer offramp; this offramp reads 1 to {SCHEMA_VERSION}. "
            "Update offramp."
        )
    if found < 1:
        raise RunError(f"Run {name!r} has schema {shortened(repr(row[0]))}; this offramp reads 1 to {SCHEMA_VERSION}.")
    return found


def migrate(connection: sqlite3.Connection, found: int, settings: str) -> None:
    """Bring a record to this version, all steps in one transaction; ``settings`` for those that did not hold them."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for version in range(found, SCHEMA_VERSION):
            _STEPS[version](connection, settings)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (str(SCHEMA_VERSION),))


def _from_1(connection: sqlite3.Connection, settings: str) -> None:
    """Version 1 had evaluations in the order they were made, and no proposals of their own."""
    connection.execute("ALTER TABLE evaluations RENAME TO evaluations_1")
    for statement in _TABLES[1:]:
        connection.execute(statement)
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('settings', ?)", (settings,))
    position: dict[int, int] = {}
    for batch, asked, payload in connection.execute("SELECT batch, asked, payload FROM evaluations_1 ORDER BY number"):
        place = position[batch] = position.get(batch, -1) + 1
        try:
            data = json.loads(payload)
            architecture, status, error = data["architecture"], data["status"], data.get("error")
        except (ValueError, KeyError, TypeError) as exc:
            raise RunError(f"An evaluation in a record of schema 1 must be a JSON object, but: {exc!r}.") from exc
        connection.execute("INSERT OR IGNORE INTO batches VALUES (?, ?)", (batch, asked))
        text = json.dumps(architecture, separators=(",", ":"), sort_keys=True)
        connection.execute("INSERT INTO proposals VALUES (?, ?, ?)", (batch, place, text))
        connection.execute(
            "INSERT INTO evaluations (batch, position, status, error, payload) VALUES (?, ?, ?, ?, ?)",
            (batch, place, str(status), error, payload),
        )
    connection.execute("DROP TABLE evaluations_1")


_STEPS: dict[int, Callable[[sqlite3.Connection, str], None]] = {1: _from_1}
