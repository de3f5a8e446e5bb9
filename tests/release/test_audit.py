"""What is said of a report of pip-audit."""

import json
import subprocess
from pathlib import Path

import pytest
from release.audit import described

from release import audit


def report(*faults: dict[str, object]) -> str:
    return json.dumps({"dependencies": [{"name": "a", "version": "1", "vulns": faults}, {"name": "b", "version": "2"}]})


def test_faults_that_a_newer_version_corrects_count() -> None:
    assert described(report()) == ("None of 2 packages has a known fault.", False)
    text, correctable = described(report({"id": "X-1", "fix_versions": ["2", "3"]}))
    assert (text, correctable) == ("a 1: X-1, corrected in 2, 3", True)
    assert described(report({"id": "X-2", "fix_versions": []})) == ("a 1: X-2, corrected in no version yet", False)


def test_packages_that_the_list_does_not_know_are_not_taken_for_sound() -> None:
    skipped = {"name": "c", "version": "1", "skip_reason": "Dependency not found on PyPI and could not be audited"}
    packages = json.loads(report())["dependencies"]
    text, _ = described(json.dumps({"dependencies": [*packages, skipped]}))
    assert text == "1 of 3 packages are not in the list: c."
    with pytest.raises(ValueError, match="knows none"):
        described(json.dumps({"dependencies": [skipped]}))


def answered(
    answer: str | Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> str:
    """What the audit prints where pip-audit is installed and ends with ``answer``."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.touch()

    def run(command: list[object], **_: object) -> "subprocess.CompletedProcess[str]":
        if isinstance(answer, Exception):
            raise answer
        return subprocess.CompletedProcess(command, 1, answer, "no network")

    monkeypatch.setattr(audit, "FOLDER", tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    audit.main()
    return capsys.readouterr().out


def test_a_correctable_fault_ends_the_audit_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        answered(report({"id": "X-1", "fix_versions": ["2"]}), monkeypatch, capsys, tmp_path)
    assert ended.value.code == 1
    assert capsys.readouterr().out == "a 1: X-1, corrected in 2\n"


@pytest.mark.parametrize(
    "answer",
    ["", "{", '{"dependencies": []}', "[]", "{}", subprocess.TimeoutExpired("pip-audit", 25), OSError("no disk")],
)
def test_an_audit_without_an_answer_says_that_nothing_was_audited(
    answer: str | Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert answered(answer, monkeypatch, capsys, tmp_path).startswith("Not audited: ")
