"""Tables of comma-separated values: a line of names, then numbers or text."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import DataError
from offramp.files.safe_files import read_file
from offramp.jsonio import shortened

MAX_TABLE_BYTES = 2 * 2**30
_EXACT = 2.0**53
_MISSING_VALUE = float("nan")
_DELIMITERS = (",", ";", "\t")
_MISSING = frozenset(("", "nan", "na", "null", "none", "?"))


def read_csv(path: Path) -> dict[str, NDArray[Any]]:
    """Read a table.

    The delimiter is a comma, a semicolon or a tab, whichever stands most often in the first line.

    Args:
        path: A text file in UTF-8.

    Returns:
        The columns by their names: float64 where all values are numbers or missing (NaN), int64 where
        whole numbers are too large for that, else text.

    Raises:
        DataError: The file is no table, has no line of names, or lines of different lengths.
        OSError: The file cannot be opened.
    """
    try:
        text = read_file(path, limit=MAX_TABLE_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise DataError(f"{str(path)!r} must be text in UTF-8, but byte {exc.start} is not. Save it as UTF-8.") from exc
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter, strict=True) if row]
    except csv.Error as exc:
        raise DataError(f"{str(path)!r} must be a table of comma-separated values, but it is not: {exc}.") from exc
    if len(rows) < 2:
        raise DataError(f"{str(path)!r} must have a line of names and at least one row, got {len(rows)} lines.")
    names = [name.strip() for name in rows[0]]
    _check_names(path, names)
    wrong = next((number for number, row in enumerate(rows[1:], 2) if len(row) != len(names)), None)
    if wrong is not None:
        raise DataError(
            f"Each line of {str(path)!r} must have {len(names)} values, as the first line has, but row {wrong} has "
            f"{len(rows[wrong - 1])}: it is cut short, or a text with the delimiter {delimiter!r} lacks quotes."
        )
    columns = zip(*rows[1:], strict=True)
    return {name: _column(values) for name, values in zip(names, columns, strict=True)}


def _check_names(path: Path, names: list[str]) -> None:
    if all(_is_number(name) for name in names) and [name for name in names if not name.isdigit()]:
        raise DataError(
            f"The first line of {str(path)!r} must name the columns, but it holds numbers such as "
            f"{shortened(names[0])!r}. Put a line such as label,t0,t1,t2 before it."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"Columns of {str(path)!r} must have different names, but {shortened(twice[0])!r} stands there twice."
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _column(values: tuple[str, ...]) -> NDArray[Any]:
    # float() takes 1_0 as 10, which is a name here.
    if any("_" in value for value in values):
        return np.array([value.strip() for value in values])
    try:
        numbers = np.array([_MISSING_VALUE if value.strip().lower() in _MISSING else float(value) for value in values])
    except ValueError:
        return np.array([value.strip() for value in values])
    return numbers if np.abs(numbers).max(initial=0.0, where=np.isfinite(numbers)) < _EXACT else _large(values, numbers)


def _large(values: tuple[str, ...], numbers: NDArray[np.float64]) -> NDArray[Any]:
    """Whole numbers, such as long ids and times in nanoseconds, of which float64 would make some equal."""
    try:
        return np.array([int(value) for value in values], dtype=np.int64)
    except (ValueError, OverflowError):
        written = {value.strip() for value in values}
        whole = all(value.removeprefix("-").isdigit() for value in written)
        # More digits than any number holds: a name.
        return np.array([value.strip() for value in values]) if whole else numbers
