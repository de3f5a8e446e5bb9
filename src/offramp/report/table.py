"""A table of a page as text, without HTML."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        heading: Its heading.
        numeric: Whether its cells hold numbers, which are right-aligned.
    """

    heading: str
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: Its text.
        note: A second, smaller line; empty = none.
    """

    text: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first cell of each row names the row.

    Attributes:
        caption: Its caption.
        columns: Its columns.
        rows: Its rows, with one cell per column.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"every row must have {len(self.columns)} cells, got {len(row)}: {row}.")
