"""Output that no console refuses: characters that its encoding lacks are replaced."""

import codecs
import io
import sys

_HANDLER = "offramp.console"
# What tables, plots and units are made of, with a look-alike of the same width that every encoding has.
_LOOK_ALIKES = {
    "·": ".",
    "●": "*",
    "•": "*",
    "×": "x",
    "−": "-",
    "–": "-",
    "—": "-",
    "─": "-",
    "━": "-",
    "╌": "-",
    "│": "|",
    "┃": "|",
    "└": "+",
    "├": "+",
    "┌": "+",
    "┐": "+",
    "┘": "+",
    "┤": "+",
    "┼": "+",
    "…": ".",
    "’": "'",
    "“": '"',
    "”": '"',
    "µ": "u",
    "μ": "u",
    "≤": "<",
    "≥": ">",
    "→": ">",
    "←": "<",
    "↑": "^",
    "↓": "v",
    "\N{NO-BREAK SPACE}": " ",
    "\N{NARROW NO-BREAK SPACE}": " ",
    "\N{THIN SPACE}": " ",
}


def accept_all_characters() -> None:
    """Let standard output and standard error replace what their encoding lacks.

    A console of another encoding than UTF-8 (cp932, cp437, ascii) would otherwise end the command. Bytes of file names
    that are no text are written as they are.
    """
    codecs.register_error(_HANDLER, _replacement)
    for stream in (sys.stdout, sys.stderr):
        # Not what another program put in their place.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _replacement(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    if "\udc80" <= letter <= "\udcff":
        # How Python keeps a byte of a file name that is no text.
        return bytes((ord(letter) - 0xDC00,)), error.start + 1
    return _LOOK_ALIKES.get(letter, "?"), error.start + 1
