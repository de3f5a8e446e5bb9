"""Changes to the rows of a record, which keep count and digest of all rows, and the check of the two."""

import hashlib
import math
import sqlite3
from collections.abc import Sequence

from offramp.errors import RunError
from offramp.jsonio import shortened

TABLES = ("batches", "proposals", "evaluations", "static_candidates", "checkpoints")
"""The tables whose rows are counted and digested."""

Value = str | int | float | bytes | None
"""A cell of a table."""

# SQLite takes values of any type in any column.
_NUMBER, _TEXT, _SECONDS = (int,), (str,), (int, float, type(None))
_TYPES: dict[str, tuple[tuple[type, ...], ...]] = {
    "batches": (_NUMBER, _NUMBER),
    "proposals": (_NUMBER, _NUMBER, _TEXT),
    "evaluations": (_NUMBER, _NUMBER, _TEXT, (str, type(None)), _TEXT, _SECONDS, (str, type(None))),
    "static_candidates": (_TEXT, _TEXT),
    "checkpoints": (_TEXT, _TEXT, _NUMBER, _NUMBER),
}
_COUNTS = "SELECT " + " || ', ' || ".join(f"(SELECT count(*) FROM {table}) || ' {table}'" for table in TABLES)
_COUNT_KEY, _DIGEST_KEY = "rows", "digest"
_MODULUS = 1 << 256


def write_totals(connection: sqlite3.Connection) -> None:
    """Record the count and the digest of the rows that are there.

    Args:
        connection: The record, such as one whose tables were just made.
    """
    _write_totals(connection, _digest_of_all(connection))


def insert_row(connection: sqlite3.Connection, table: str, row: Sequence[Value], *, keep: bool = False) -> None:
    """Add a row.

    Args:
        connection: The record; the row is part of the transaction that is open, or begins one.
        table: One of `TABLES`.
        row: A value for each column.
        keep: Whether a row with the same key stays as it is; otherwise it is an error.

    Raises:
        sqlite3.Error: The row cannot be written.
    """
    verb = "INSERT OR IGNORE" if keep else "INSERT"
    marks = ", ".join("?" * len(row))
    if connection.execute(f"{verb} INTO {table} VALUES ({marks})", row).rowcount == 1:
        _write_totals(connection, _read_digest(connection) + _digest(table, row))


def delete_checkpoints(connection: sqlite3.Connection, beginning: str, *, whole: bool = False) -> None:
    """Remove recorded files of weights.

    Args:
        connection: The record.
        beginning: What their paths begin with.
        whole: Whether it is the whole path.

    Raises:
        sqlite3.Error: The rows cannot be removed.
    """
    condition = "path = ?1" if whole else "substr(path, 1, length(?1)) = ?1"
    rows = connection.execute(f"SELECT * FROM checkpoints WHERE {condition}", (beginning,)).fetchall()
    connection.execute(f"DELETE FROM checkpoints WHERE {condition}", (beginning,))
    _write_totals(connection, _read_digest(connection) - sum(_digest("checkpoints", row) for row in rows))


def check_rows(connection: sqlite3.Connection, name: str) -> None:
    """Refuse a record whose rows are not those that were written.

    Somebody who changes rows can also change count and digest: the check notices faults and simple edits.

    Args:
        connection: The open record.
        name: The run, as messages call it.

    Raises:
        RunError: Rows were removed, added or changed, belong to no other row, or hold values of another type.
    """
    # In one transaction, so that a search that writes at this moment does not come between.
    connection.execute("BEGIN")
    try:
        (counted,) = connection.execute(_COUNTS).fetchone()
        noted = _read_meta(connection, _COUNT_KEY)
        if counted != noted:
            raise RunError(
                f"The record of run {name!r} must hold every row that was written, but it has {counted} and "
                f"{shortened(repr(noted))} were written: rows were removed or added. Restore it, or start a new run."
            )
        if _read_meta(connection, _DIGEST_KEY) != _written(_digest_of_all(connection)):
            raise RunError(
                f"The record of run {name!r} must hold every row as it was written, but the digest of its rows is "
                "another one: rows were changed or exchanged. Restore it, or start a new run."
            )
        _check_values(connection, name)
    finally:
        connection.rollback()


def _check_values(connection: sqlite3.Connection, name: str) -> None:
    """Types of cells, numbers that are not negative, and proposals of batches and evaluations of proposals."""
    for table in TABLES:
        for row in connection.execute(f"SELECT * FROM {table}"):
            for value, types in zip(row, _TYPES[table], strict=True):
                if not isinstance(value, types) or (isinstance(value, int | float) and not 0 <= value < math.inf):
                    raise RunError(
                        f"The record of run {name!r} cannot be used: its table {table} holds "
                        f"{shortened(repr(value))}, which offramp never writes there. Start a new run."
                    )
    orphan = connection.execute("PRAGMA foreign_key_check").fetchone()
    if orphan is not None:
        raise RunError(
            f"The record of run {name!r} cannot be used: its table {orphan[0]} has a row without the row in "
            f"{orphan[2]} that it belongs to. Start a new run."
        )


def _digest_of_all(connection: sqlite3.Connection) -> int:
    return sum(_digest(table, row) for table in TABLES for row in connection.execute(f"SELECT * FROM {table}"))


def _digest(table: str, row: Sequence[Value]) -> int:
    """A number for a row; the sum over all rows does not depend on their order."""
    # SQLite gives a whole number back as 3 or as 3.0, as the column has it, and knows no negative zero.
    cells = [float(value) + 0.0 if isinstance(value, int | float) else value for value in row]
    return int.from_bytes(hashlib.sha256(repr((table, *cells)).encode("utf-8", "surrogatepass")).digest(), "big")


def _written(digest: int) -> str:
    return f"{digest % _MODULUS:064x}"


def _read_digest(connection: sqlite3.Connection) -> int:
    return int(str(_read_meta(connection, _DIGEST_KEY)), 16)


def _read_meta(connection: sqlite3.Connection, key: str) -> Value:
    row = connection.execute("SELECT value FROM meta WHERE key = ? LIMIT 1", (key,)).fetchone()
    value: Value = None if row is None else row[0]
    return value


def _write_totals(connection: sqlite3.Connection, digest: int) -> None:
    (counted,) = connection.execute(_COUNTS).fetchone()
    rows = ((_COUNT_KEY, str(counted)), (_DIGEST_KEY, _written(digest)))
    connection.executemany("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", rows)
