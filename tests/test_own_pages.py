"""The Python of docs/how-to/own-model.md, own-data.md and sounds.md runs as it stands."""

import re
from pathlib import Path
from typing import Any

import pytest

import offramp
from offramp.run.api import SearchResult, search

PAGES = Path(__file__).parents[1] / "docs" / "how-to"


def run(page: str, names: dict[str, object]) -> None:
    for code in re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(), flags=re.DOTALL):
        exec(compile(code, page, "exec"), names)


def test_own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)

    def quick(**settings: Any) -> SearchResult:
        """The search of the page, of fewer and cheaper candidates."""
        return search(
            **settings | {"train__epochs": 1, "train__random_subnets": 0, "search__evaluations": 2},
            space__branches=("global_pool",),
            search__validation_samples=100,
        )

    monkeypatch.setattr(offramp, "search", quick)
    run("own-model.md", {"__name__": "__main__"})
    shown = capsys.readouterr().out
    assert "blocks.0 FeatureInfo(channels=16, height=8, width=8)" in shown
    assert (tmp_path / "my-model-bundle" / "manifest.json").exists()


def test_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    given: list[object] = []
    monkeypatch.setattr(offramp, "search", lambda **settings: given.append(settings["data"]))
    run("own-data.md", {"__name__": "__main__"})
    flowers, archive, parquet, *others = capsys.readouterr().out.splitlines()
    assert flowers == "('dark', 'light') (3, 12, 16) 24 8 8"
    assert archive == "('a', 'b', 'c', 'd') (3, 12, 16) 24 8 8"
    assert parquet == "('0', '1', '2', '3') (3, 12, 16) 24 8 8"
    assert others == [
        "('run', 'walk') (6, 100) 24 8 8",
        "('run', 'walk') (6, 100) 24 8 8",
        "('run', 'walk') (3, 100) 24 8 8",
        "('run', 'walk') (2, 100) 24 8 8",
        "('run', 'walk') (6, 100) 24 8 8",
        "('run', 'walk') (6, 100) 24 6 10",
        "('0', '1') (6, 100) 24 8 8",
    ]
    assert len(given) == 1


def test_sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    run("sounds.md", {"__name__": "__main__"})
    # 19 of 20 sounds last 0.6125 s or less: 0.62 s, a hop of a 50th of that, 1 + (4960 - 240) // 99 frames.
    shown = capsys.readouterr().out.strip()
    assert shown == "32 log-mel bands of 48 frames (30 ms every 12.4 ms) at 8000 Hz (1, 48, 32)"
