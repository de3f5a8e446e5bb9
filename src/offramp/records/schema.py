"""The tables of a run's record and their version."""

import sqlite3
from collections.abc import Mapping

from offramp.errors import RunError
from offramp.jsonio import shortened
from offramp.records.record_rows import check_rows, write_totals

SCHEMA_VERSION = 5
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
    """CREATE TABLE static_candidates (
        architecture TEXT PRIMARY KEY,
        payload TEXT NOT NULL)""",
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
        write_totals(connection)


def has_our_tables(connection: sqlite3.Connection) -> bool:
    """Whether a database has exactly the tables of a record: no other table, no view, no trigger, no index.

    Args:
        connection: The open database.

    Returns:
        True where every statement of its schema is one of ours.
    """
    rows = connection.execute("SELECT type, sql FROM sqlite_master LIMIT 100").fetchall()
    # SQLite makes the index of a primary key itself, without a statement.
    statements = sorted(str(sql) for kind, sql in rows if not (kind == "index" and sql is None))
    return statements == sorted(_TABLES)


def check_schema(connection: sqlite3.Connection, name: str) -> None:
    """Refuse a record with other tables or rows than offramp wrote, or with damaged pages.

    Args:
        connection: The open record.
        name: The run, as messages call it.

    Raises:
        RunError: The record is not of this offramp, or not whole.
    """
    tables = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'").fetchall()
    query = "SELECT value FROM meta WHERE key = ? LIMIT 1"
    row = connection.execute(query, ("schema",)).fetchone() if tables else None
    if row is None:
        raise RunError(
            f"Run {name!r} must have a record that names its schema, but run.sqlite does not. Start a new run."
        )
    if row[0] != str(SCHEMA_VERSION):
        raise RunError(
            f"The record of run {name!r} must have schema {SCHEMA_VERSION}, got {shortened(repr(row[0]))}. "
            "Open it with the offramp that wrote it, or start a new run."
        )
    if not has_our_tables(connection):
        raise RunError(
            f"The record of run {name!r} must have the tables of a run only, but run.sqlite has others, or views or "
            "triggers, which offramp never makes. Start a new run."
        )
    faults = [str(row[0]) for row in connection.execute("PRAGMA quick_check(1)")]
    if faults != ["ok"]:
        raise RunError(f"The record of run {name!r} cannot be used: {shortened(faults[0])}. Start a new run.")
    check_rows(connection, name)
