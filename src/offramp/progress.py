"""Progress of long tasks: current step, fraction done, remaining time."""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from offramp.files.safe_console import SafeConsole


class Task(Protocol):
    """Receives the progress of one task."""

    def update(self, fraction: float, note: str = "") -> None:
        """Report progress.

        Args:
            fraction: share of the work that is done, 0..1.
            note: a short description of the current state.
        """
        ...


class Reporter(Protocol):
    """Shows tasks one after the other."""

    def task(self, title: str) -> AbstractContextManager[Task]:
        """Begin a task; it ends with the context.

        Args:
            title: name of the task.

        Returns:
            A context manager that yields the task.
        """
        ...

    def say(self, message: str) -> None:
        """Show a message.

        Args:
            message: one or more sentences.
        """
        ...


_SECONDS_BETWEEN_LINES = 15.0


class _NoTask:
    def update(self, fraction: float, note: str = "") -> None:
        pass


class SilentReporter:
    """Shows nothing; the default of the Python interface."""

    @contextmanager
    def task(self, title: str) -> Iterator[Task]:
        yield _NoTask()

    def say(self, message: str) -> None:
        pass


class _RichTask:
    def __init__(self, bar: Progress, title: str) -> None:
        self._bar = bar
        self._id = bar.add_task(title, total=1.0, note="")

    def update(self, fraction: float, note: str = "") -> None:
        self._bar.update(self._id, completed=min(max(fraction, 0.0), 1.0), note=note)


class _LineTask:
    """Prints a line every few seconds, for logs and pipes, which cannot show a bar."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._started = self._shown = time.monotonic()

    def update(self, fraction: float, note: str = "") -> None:
        now = time.monotonic()
        if now - self._shown < _SECONDS_BETWEEN_LINES:
            return
        self._shown = now
        elapsed = now - self._started
        left = f", about {elapsed * (1 - fraction) / fraction:.0f} s left" if fraction > 0 else ""
        self._show(f"{fraction:.0%} after {elapsed:.0f} s{left} {note}")

    def end(self) -> None:
        self._show(f"{time.monotonic() - self._started:.0f} s")

    def _show(self, text: str) -> None:
        self._console.print(f"{self._title}: {text.rstrip()}", highlight=False, markup=False, soft_wrap=True)


class TerminalReporter:
    """Shows progress bars on standard error, so that standard output contains only results.

    Args:
        console: where to print; standard error if None.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or SafeConsole(file=sys.stderr)

    @contextmanager
    def task(self, title: str) -> Iterator[Task]:
        if not self._console.is_terminal:
            lines = _LineTask(self._console, title)
            yield lines
            lines.end()
            return
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self._console) as bar:
            yield _RichTask(bar, title)

    def say(self, message: str) -> None:
        self._console.print(message, highlight=False, markup=False)
