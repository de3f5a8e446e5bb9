"""Style of the tables and texts in the terminal."""

from typing import TYPE_CHECKING

from offramp.report import units

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def simple_table(title: str) -> "Table":
    """An empty table in the style of all tables.

    Args:
        title: Its title; shown as it is.

    Returns:
        A table without columns.
    """
    from rich import box
    from rich.table import Table

    return Table(
        title=plain_text(title),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )


def plain_text(content: str) -> "Text":
    """Text that the terminal shows as it is, without markup or control sequences from names in files.

    Args:
        content: The text.

    Returns:
        The text; unprintable characters other than line breaks are replaced.
    """
    from rich.text import Text

    return Text("".join(char if char.isprintable() or char in f"\n{units.NBSP}" else "�" for char in content))
