"""The tables of a run's record and their version."""

import sqlite3
from collections.abc import Mapping

from offramp.errors import RunError
from offramp.jsonio import shortened

SCHEMA_VERSION = 2
"""Version of the tables. A record of another version is refused."""

_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE batches (number INTEGER PRIMARY KEY, asked INTEGER NOT NULL)",
    """CREATE TABLE proposals (
        batch INTEGER NOT NULL REFERENCES batches (number),
        position INTEGER NOT NULL,
        architecture TEXT NOT NULL,
        PRIMARY KEY (batch, position))""",
    # The keys ensure that nothing is recorded twice and that only proposals are evaluated.
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


def create_tables(connection: sqlite3.Connection, facts: Mapping[str, str]) -> None:
    """Create all tables of an empty record in one transaction, so that a record is complete or absent.

    Args:
        connection: An open, empty database.
        facts: Values of the table ``meta`` by name; ``settings`` are the settings of the run, as YAML.
    """
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _TABLES:
            connection.execute(statement)
        rows = (("schema", str(SCHEMA_VERSION)), *facts.items())
        connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)


def check_version(connection: sqlite3.Connection, name: str) -> None:
    """Refuse a record whose tables are not those of this offramp.

    Args:
        connection: The open record.
        name: The run, as messages call it.

    Raises:
        RunError: The record names no schema or another one than `SCHEMA_VERSION`.
    """
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone() if "meta" in tables else None
    if row is None:
        raise RunError(
            f"Run {name!r} must have a record that names its schema, but run.sqlite does not. Start a new run."
        )
    if row[0] != str(SCHEMA_VERSION):
        raise RunError(
            f"The record of run {name!r} must have schema {SCHEMA_VERSION}, got {shortened(repr(row[0]))}. "
            "Open it with the offramp that wrote it, or start a new run."
        )
