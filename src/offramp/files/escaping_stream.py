"""Standard output and standard error that escape what would steer the terminal, whoever writes to them."""

import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast

from offramp.files.escaped_text import escaped_lines


class EscapingStream:
    """A stream of text that writes out what would steer the terminal, whoever writes to it.

    Attributes:
        stream: The stream behind it, for programs that steer the terminal on purpose.
    """

    def __init__(self, stream: TextIO) -> None:
        """Wrap a stream.

        Args:
            stream: Where the escaped text goes.
        """
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text.

        Args:
            text: The text.

        Returns:
            The number of its characters.
        """
        self.stream.write(escaped_lines(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts.

        Args:
            lines: The texts, with their line ends.
        """
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def escape_output() -> None:
    """Let standard output and standard error escape what would steer the terminal."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, EscapingStream):
            setattr(sys, name, cast(TextIO, EscapingStream(stream)))
