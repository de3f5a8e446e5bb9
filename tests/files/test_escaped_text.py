"""Text from files is shown, and steers nothing."""

import csv
import io

import pytest
from rich.table import Table

from offramp.files.escaped_text import csv_cell, escaped, escaped_lines
from offramp.files.escaping_stream import EscapingStream
from offramp.files.safe_console import SafeConsole

CLEAR, TITLE, C1 = "\x1b[2J\x1b[H", "\x1b]0;owned\x07", "\x9b31m"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (CLEAR, r"\x1b[2J\x1b[H"),
        (TITLE, r"\x1b]0;owned\x07"),
        (C1, r"\x9b31m"),
        ("cat\nfake line\r", r"cat\nfake line\r"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u2028b", r"a\u2028b"),
        ("\ud800 \udfff", r"\ud800 \udfff"),
        ("\udc9b", r"\x9b"),
        ("\x7f\x00", r"\x7f\x00"),
        ("Köter 犬 ✓ 🐶 \\ %", "Köter 犬 ✓ 🐶 \\ %"),
    ],
)
def test_everything_that_steers_is_written_out(text: str, shown: str) -> None:
    assert escaped(text) == shown
    assert escaped(shown) == shown


def test_lines_and_tabs_stay_in_text_of_our_own() -> None:
    assert escaped_lines("a\tb\nc\r\x1b") == "a\tb\nc\\r\\x1b"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-2", "@SUM(A1)", "\t=1", " =1", "\r=1", "\uff1d1"])
def test_a_cell_is_no_formula(text: str) -> None:
    assert csv_cell(text) == f"'{escaped(text)}"


def test_an_ordinary_cell_stays_as_it_is() -> None:
    stream = io.StringIO()
    csv.writer(stream).writerow([csv_cell('a "b", c=d')])
    assert next(csv.reader([stream.getvalue()])) == ['a "b", c=d']


def test_a_stream_escapes_whoever_writes() -> None:
    inner = io.StringIO()
    print(f"class {CLEAR}", file=EscapingStream(inner))  # type: ignore[arg-type]
    assert inner.getvalue() == "class \\x1b[2J\\x1b[H\n"


def test_a_console_styles_its_own_tables_only() -> None:
    inner = io.StringIO()
    console = SafeConsole(EscapingStream(inner), force_terminal=True, width=100)  # type: ignore[arg-type]
    table = Table("name", title="[link=x]")
    table.add_row(f"{CLEAR}[red]x[/red]", style="bold")
    console.print(table)
    console.print(TITLE, highlight=False)
    console.print(":smile:", highlight=False)
    shown = inner.getvalue()
    assert "\x1b[1m" in shown  # its own bold
    for steering in ("\x1b[2J", "\x1b]", "\x07", "\x1b[31m"):
        assert steering not in shown
    for text in (r"\x1b[2J", r"\x1b]0;owned", "[red]x[/red]", ":smile:", "[link=x]"):
        assert text in shown
