"""Tables of all parts of one data set to samples."""

from collections.abc import Sequence

from offramp.data.raw_data import RawDataset, ReadOptions, Role
from offramp.data.signals.table_samples import Columns, part_of_table
from offramp.errors import DataError
from offramp.jsonio import shortened


def dataset_of_tables(name: str, tables: Sequence[tuple[Role, str, Columns]], options: ReadOptions) -> RawDataset:
    """Make a data set of tables.

    Args:
        name: Name of the data set.
        tables: The part, the name in messages and the columns of each table.
        options: Settings of the user, which may name columns.

    Returns:
        The data set.

    Raises:
        DataError: A table is invalid, or tables differ in their columns.
    """
    _, first, wanted = next((table for table in tables if table[0] == "train"), tables[0])
    parts = []
    for role, where, columns in tables:
        if set(columns) != set(wanted):
            differing = sorted(set(columns) ^ set(wanted))
            raise DataError(
                f"All parts must have the same columns, but {where} and {first} differ in "
                f"{', '.join(shortened(repr(key)) for key in differing[:5])}."
            )
        # Columns are told apart by their names, so that their order may differ.
        parts.append(part_of_table(role, where, {key: columns[key] for key in wanted}, options))
    kinds = sorted({part.kind for part in parts})
    if len(kinds) > 1:
        raise DataError(f"All parts of {name!r} must be of one kind, but they look like {' and '.join(kinds)}.")
    notes = tuple(note for part in parts for note in part.notes)
    return RawDataset(name, tuple(part.part for part in parts), input_kind=kinds[0], notes=notes)
