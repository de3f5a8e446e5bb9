"""Progress of long work: what is being done, how far it is, how long it still takes."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Task(Protocol):
    """Receives how far a piece of work is."""

    def update(self, fraction: float, note: str = "") -> None:
        """``fraction`` of the work that is done, 0..1, and a word on the present state."""
        ...


class Reporter(Protocol):
    """Shows one piece of work after the other."""

    def task(self, title: str) -> AbstractContextManager[Task]: ...

    def say(self, message: str) -> None: ...


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


class TerminalReporter:
    """Bars with the time left, on standard error, so that standard output stays for results."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr)

    @contextmanager
    def task(self, title: str) -> Iterator[Task]:
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
