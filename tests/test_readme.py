"""The README says what is there: its commands exist, its Python runs."""

import re
import sys
from pathlib import Path

import pytest

import offramp
from offramp.cli import main
from offramp.result import SearchResult, search

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.S)
COMMANDS = [line.split("#")[0].split() for _, block in BLOCKS for line in block.splitlines() if line[:8] == "offramp "]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_and_options_exist(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["offramp", words[1], "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    shown = capsys.readouterr().out
    for option in (word for word in words if word.startswith("--")):
        assert option in shown, f"{words[1]} has no option {option}"


def test_the_python_example_runs(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = next(block for kind, block in BLOCKS if kind == "python")

    def quick(**settings: object) -> SearchResult:
        assert settings
        return search(run=finished_run, resume=True)

    monkeypatch.setattr(offramp, "search", quick, raising=False)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    assert (tmp_path / "my-bundle" / "manifest.json").exists()


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (Path(__file__).parents[1] / target).exists(), target
