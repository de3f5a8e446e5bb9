"""The licence of a bundle: a name such as `CC-BY-4.0`, or a file that goes along."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from offramp.errors import InputError
from offramp.files.safe_files import open_to_read
from offramp.jsonio import shortened

LICENCE_FILE: Final = "LICENCE.txt"
NOT_STATED: Final = "not stated"

_MAX_BYTES = 2**20
_MAX_NAME = 200
_SPDX_LINE = re.compile(r"SPDX-License-Identifier:[ \t]*([\w.+() -]{1,200})")
_FILE_ENDINGS = (".txt", ".md", ".rst", ".html", ".pdf")


@dataclass(frozen=True)
class Licence:
    """What is stated about the licence of a network.

    Attributes:
        statement: What the manifest states.
        content: The text file that goes along; None for none.
    """

    statement: str
    content: bytes | None = None


def read_licence(given: str | None) -> Licence:
    """``given`` is the path of a text file, where there is one, else a name or an SPDX expression; None: not stated.

    Of a file the manifest says the SPDX identifier that a line of it states, else which file of the bundle to read.
    Raises InputError for what is neither: also for a name with a slash or a file's ending that leads to no file.

    Args:
        given: A name, or the path of a text file; None for none.

    Returns:
        What is stated.

    Raises:
        InputError: If a file is named that cannot be used.
    """
    if given is None:
        return Licence(NOT_STATED)
    name = given.strip()
    path = Path(given)
    try:
        if path.is_file():
            return _from_file(path)
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise InputError(f"The licence {shortened(given)!r} cannot be read: {reason}.") from exc
    if "/" in name or "\\" in name or name.lower().endswith(_FILE_ENDINGS):
        raise InputError(f"The licence {shortened(given)!r} looks like a file, but there is none. Check the path.")
    if not name or len(name) > _MAX_NAME or not name.isprintable():
        raise InputError(
            f"A licence must be one line of at most {_MAX_NAME} characters, such as CC-BY-4.0, or the path of a text "
            f"file, got {shortened(given)!r}."
        )
    return Licence(name)


def _from_file(path: Path) -> Licence:
    with open_to_read(path) as stream:
        content = stream.read(_MAX_BYTES + 1)
    if not content.strip() or len(content) > _MAX_BYTES:
        raise InputError(f"The licence file {str(path)!r} must hold 1 byte to 1 MiB of text.")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise InputError(f"The licence file {str(path)!r} must be UTF-8 text, but it is not.") from exc
    found = _SPDX_LINE.search(text)
    return Licence(found[1].strip() if found and found[1].strip() else f"see {LICENCE_FILE}", content)
