"""The Python of docs/how-to/deploy.md runs on a bundle."""

import re
import shutil
from pathlib import Path

import pytest

from offramp.deploy.bundle.export_bundle import ExportRecord

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "deploy.md"


def test_the_page_runs(
    record: ExportRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(record.path, tmp_path / "my-bundle")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.S | re.M)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    # Eight predictions, three of the stream, the exits of two rules, and the two figures.
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 8 + 3 + 2 + 1
    assert shown[-3] == "2"
