"""The way to the terminal: text from files is shown, and steers nothing."""

import sys
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from offramp.files.escaped_text import escaped_lines
from offramp.files.escaping_stream import EscapingStream


class SafeConsole(Console):
    """A console of rich that styles its own output, while text in it is neither markup nor steers the terminal."""

    def __init__(self, file: IO[str] | None = None, **options: Any) -> None:
        """Open a console.

        Args:
            file: Where to print; None = standard output.
            **options: Further options of `rich.console.Console`.
        """
        target = file or sys.stdout
        inner = target.stream if isinstance(target, EscapingStream) else target
        super().__init__(file=inner, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a styled text of a string, as rich does, with what would steer the terminal written out.

        Args:
            text: The string, such as a cell of a table.
            **options: Options of rich.

        Returns:
            The text.
        """
        return super().render_str(escaped_lines(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render to segments, as rich does, and escape their text.

        Args:
            renderable: What is shown.
            options: Options of rich.

        Yields:
            The segments.
        """
        for segment in super().render(renderable, options):
            safe = segment.text if segment.control else escaped_lines(segment.text)
            yield segment if safe == segment.text else Segment(safe, segment.style)
