"""Progress goes to standard error and never disturbs results on standard output."""

import io

import pytest
from rich.console import Console

from offramp import progress
from offramp.progress import SilentReporter, TerminalReporter


@pytest.fixture
def terminal() -> Console:
    """A terminal of 120 columns whose output can be read."""
    return Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)


def shown_on(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = SilentReporter()
    with reporter.task("Training") as task:
        task.update(0.5, "loss 1.2")
    reporter.say("hello")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_title_note_and_share(terminal: Console) -> None:
    with TerminalReporter(terminal).task("Training") as task:
        task.update(0.25, "loss 1.2")
    shown = shown_on(terminal)
    assert "Training" in shown
    assert "loss 1.2" in shown
    assert " 25% " in shown


@pytest.mark.parametrize(("fraction", "share"), [(-1.0, "0%"), (7.0, "100%")])
def test_shares_beyond_the_ends_are_held_there(fraction: float, share: str, terminal: Console) -> None:
    with TerminalReporter(terminal).task("Training") as task:
        task.update(fraction)
    assert f" {share} " in shown_on(terminal)


def test_a_log_gets_lines_on_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    with TerminalReporter().task("Training") as task:
        task.update(0.25, "loss 1.2")
    shown = capsys.readouterr()
    assert shown.out == ""
    first, last = shown.err.splitlines()
    assert first.startswith("Training: 25% after 0 s")
    assert first.endswith("loss 1.2")
    assert last == "Training: 0 s"


def test_lines_come_now_and_then_only(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalReporter().task("Training") as task:
        for step in range(100):
            task.update(step / 100)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_messages_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    TerminalReporter().say("[bold]3 of [4] done")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "[bold]3 of [4] done" in shown.err


def test_an_error_inside_a_task_comes_through(terminal: Console) -> None:
    for reporter in (TerminalReporter(), TerminalReporter(terminal)):
        with pytest.raises(KeyError), reporter.task("Training"):
            raise KeyError("inside")
