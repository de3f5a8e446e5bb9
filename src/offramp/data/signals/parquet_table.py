"""Tables of numbers and text in parquet files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.signals.csv_table import MAX_TABLE_BYTES
from offramp.errors import DataError


def read_parquet_table(files: Sequence[Path]) -> dict[str, NDArray[Any]]:
    """Read the columns of one part; pyarrow must be installed.

    Args:
        files: Files with the same columns.

    Returns:
        The columns by their names: numbers (missing ones NaN) or text. Times are microseconds.

    Raises:
        DataError: The table is too large, files differ in their columns, two columns have one name, or a column holds
            something else.
    """
    import pyarrow
    import pyarrow.parquet

    tables = []
    for file in files:
        with pyarrow.parquet.ParquetFile(file) as parquet:
            needed = sum(parquet.metadata.row_group(i).total_byte_size for i in range(parquet.num_row_groups))
            if needed > MAX_TABLE_BYTES:
                raise DataError(f"{str(file)!r} must be a table of at most {MAX_TABLE_BYTES / 2**30:.0f} GiB.")
            names = parquet.schema_arrow.names
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise DataError(f"Columns of {str(file)!r} must have different names, but {twice[0]!r} is there twice.")
            tables.append(parquet.read())
    if len({tuple(sorted(table.column_names)) for table in tables}) > 1:
        raise DataError(f"All files of {str(files[0].parent)!r} must have the same columns, but they differ.")
    whole = pyarrow.concat_tables(tables, promote_options="permissive")
    return {name: _plain(name, whole.column(name), files[0]) for name in whole.column_names}


def _plain(name: str, column: Any, file: Path) -> NDArray[Any]:
    import pyarrow

    kinds = pyarrow.types
    if kinds.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if kinds.is_timestamp(column.type) or kinds.is_date(column.type):
        return np.asarray(column.cast(pyarrow.timestamp("us")).cast(pyarrow.int64()).to_numpy())
    if kinds.is_integer(column.type) or kinds.is_floating(column.type) or kinds.is_boolean(column.type):
        try:
            return np.asarray(column.cast(pyarrow.float64()).to_numpy() if column.null_count else column.to_numpy())
        except pyarrow.ArrowInvalid as exc:
            raise DataError(
                f"Column {name!r} of {str(file)!r} must have no missing values, since its whole numbers are too large "
                "for floats: fill them in, or leave these rows out."
            ) from exc
    if not (kinds.is_string(column.type) or kinds.is_large_string(column.type)):
        raise DataError(
            f"Column {name!r} of {str(file)!r} must hold one number or text a row, but its type is {column.type}."
        )
    return np.array([value if value is not None else "" for value in column.to_pylist()], dtype=np.str_)
