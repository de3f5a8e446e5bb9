"""Progress goes to standard error and never disturbs results on standard output."""

import pytest

from offramp.progress import SilentReporter, TerminalReporter


def test_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = SilentReporter()
    with reporter.task("Training") as task:
        task.update(0.5, "loss 1.2")
    reporter.say("hello")
    assert capsys.readouterr() == ("", "")


def test_the_terminal_shows_title_note_and_share(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalReporter().task("Training") as task:
        task.update(0.25, "loss 1.2")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Training" in shown.err
    assert "loss 1.2" in shown.err
    assert "25%" in shown.err


@pytest.mark.parametrize(("fraction", "shown"), [(-1.0, "0%"), (7.0, "100%")])
def test_shares_beyond_the_ends_are_held_there(fraction: float, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalReporter().task("Training") as task:
        task.update(fraction)
    assert f" {shown} " in capsys.readouterr().err


def test_messages_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    TerminalReporter().say("[bold]3 of [4] done")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "[bold]3 of [4] done" in shown.err


def test_an_error_inside_a_task_comes_through() -> None:
    with pytest.raises(KeyError), TerminalReporter().task("Training"):
        raise KeyError("inside")
