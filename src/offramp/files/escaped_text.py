"""Text from files, shown to a person: what steers a terminal, fakes a line or turns its order is written out."""

import re

# Control characters of ASCII and of ISO 8859-1, line separators, and the signs that change the order of writing
# (Unicode Standard Annex 9; see also CVE-2021-42574).
_STEERING = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069"
# Half of a surrogate pair cannot be encoded. \udca0 to \udcff are bytes of file names, which steer nothing.
_LONE = r"\ud800-\udc9f\udd00-\udfff"
_UNSAFE = re.compile(f"[{_STEERING}{_LONE}]")
_UNSAFE_IN_A_LINE = re.compile(f"[{_STEERING}{_LONE}\\n\\t]")
# With these a cell is a formula for spreadsheets (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def escaped(text: str) -> str:
    """Write out the unsafe characters of a piece of one line, such as the name of a class or of a file.

    Args:
        text: The text, perhaps from a file.

    Returns:
        The text with escapes as in Python for everything that is not plainly visible.
    """
    return _UNSAFE_IN_A_LINE.sub(_written_out, text)


def escaped_lines(text: str) -> str:
    """Write out the unsafe characters of a text that may have several lines and tabs.

    Args:
        text: The text.

    Returns:
        The text with line ends and tabs as they are.
    """
    return _UNSAFE.sub(_written_out, text)


def csv_cell(text: str) -> str:
    """Make a cell of a CSV table from text, which no spreadsheet takes for a formula.

    Args:
        text: The text.

    Returns:
        The escaped text, with an apostrophe before it where it begins like a formula.
    """
    return f"'{escaped(text)}" if text.lstrip(" ").startswith(_FORMULA) else escaped(text)


def _written_out(found: "re.Match[str]") -> str:
    letter = found[0]
    if "\udc80" <= letter <= "\udc9f":  # a byte of a file name that would be a control character
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return (
        letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        if letter < "\ud800"
        else f"\\u{ord(letter):04x}"
    )
