"""Damage to the record of a run, as somebody does who knows offramp: count and digest of rows agree again."""

import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from offramp.records.record_rows import TABLES, write_totals
from tests.fuzz.mutations import change_value, mutate

_ODD: tuple[Any, ...] = (
    *(None, "", 0, -1, 2**63 - 1, -(2**63), 0.5, 1e308, float("inf"), b"", b"\xff" * 40, "\x1b[2J", "x" * 10_000),
    *("../../../etc/passwd", "/dev/zero", "null", "[]", "{}", "[" * 5000, '{"a": NaN}', "nan", "\ud800"),
)
_STATEMENTS = (
    "CREATE VIEW v AS SELECT 1",
    "CREATE TABLE extra (x)",
    "CREATE INDEX i ON evaluations (status)",
    "CREATE TRIGGER t AFTER INSERT ON evaluations BEGIN DELETE FROM evaluations; END",
    "DROP TABLE checkpoints",
    "PRAGMA page_size=512",
    "PRAGMA user_version=9",
    "PRAGMA journal_mode=WAL",
    "PRAGMA encoding='UTF-16'",
    "VACUUM",
)


def mutate_record(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three changes to cells, rows or the schema; what SQLite does not open is damaged as bytes."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "run.sqlite"
        path.write_bytes(content)
        try:
            connection = sqlite3.connect(path, isolation_level=None)
            for _ in range(int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))):
                _CHANGES[int(rng.integers(len(_CHANGES)))](connection, rng)
            write_totals(connection)
            connection.close()
        except (sqlite3.Error, UnicodeError, OverflowError):
            pass
        result = path.read_bytes()
    return result if result != content else mutate(content, False, rng)


def _any(items: Any, rng: np.random.Generator) -> Any:
    return items[int(rng.integers(len(items)))]


def _place(connection: sqlite3.Connection, rng: np.random.Generator) -> tuple[str, str, int] | None:
    """A table, a column and a row."""
    table = _any((*TABLES, "meta", "meta"), rng)
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    rows = [row[0] for row in connection.execute(f"SELECT rowid FROM {table}")]
    return (table, _any(columns, rng), _any(rows, rng)) if columns and rows else None


def _set_cell(connection: sqlite3.Connection, rng: np.random.Generator) -> None:
    place = _place(connection, rng)
    if place is not None:
        table, column, row = place
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (_any(_ODD, rng), row))


def _change_text(connection: sqlite3.Connection, rng: np.random.Generator) -> None:
    """A change inside JSON or YAML, such as in the payload of an evaluation or in the settings."""
    table, column = _any((("evaluations", "payload"), ("proposals", "architecture"), ("meta", "value")), rng)
    rows = connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
    if rows:
        row, text = _any(rows, rng)
        changed = change_value(str(text).encode("utf-8", "replace"), rng).decode("utf-8", "replace")
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (changed, row))


def _exchange(connection: sqlite3.Connection, rng: np.random.Generator) -> None:
    first, second = _place(connection, rng), _place(connection, rng)
    if first is not None and second is not None:
        value = connection.execute(f"SELECT {second[1]} FROM {second[0]} WHERE rowid = ?", (second[2],)).fetchone()[0]
        connection.execute(f"UPDATE {first[0]} SET {first[1]} = ? WHERE rowid = ?", (value, first[2]))


def _remove_row(connection: sqlite3.Connection, rng: np.random.Generator) -> None:
    place = _place(connection, rng)
    if place is not None:
        connection.execute(f"DELETE FROM {place[0]} WHERE rowid = ?", (place[2],))


def _add_row(connection: sqlite3.Connection, rng: np.random.Generator) -> None:
    table = _any((*TABLES, "meta"), rng)
    number = len(connection.execute(f"PRAGMA table_info({table})").fetchall())
    values = [_any((*_ODD[:9], *range(4)), rng) for _ in range(number)]
    connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * number)})", values)


def _change_schema(connection: sqlite3.Connection, rng: np.random.Generator) -> None:
    connection.execute(_any(_STATEMENTS, rng))


_CHANGES = (*(_set_cell,) * 3, *(_change_text,) * 5, *(_exchange,) * 2, _remove_row, _add_row, _add_row, _change_schema)
