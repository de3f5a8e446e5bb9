"""Names of files that a user asks for: what is replaced must be of the kind that is written."""

from pathlib import Path

from offramp.errors import InputError


def check_output_name(path: Path, *suffixes: str) -> None:
    """Refuse to replace a file whose name says that it is of another kind, such as an image by a table.

    Args:
        path: Where a file is to be written.
        suffixes: How names of this kind end, in lower case and with the dot.

    Raises:
        InputError: There is a file already, and its name ends otherwise.
    """
    if path.is_file() and path.suffix.lower() not in suffixes:
        raise InputError(
            f"{str(path)!r} is a file already, and only one named {' or '.join(f'*{suffix}' for suffix in suffixes)} "
            "would be replaced. Give another path, or remove the file."
        )
