"""Trackers pass the checks of `offramp.testing.tracker_conformance`: ours, and that of the how-to page as it stands."""

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from offramp.run.trackers.tracker import TRACKERS
from offramp.testing.tracker_conformance import CHECKS, check_figures, check_resumed

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "add-a-tracker.md"


@pytest.fixture
def _trackers_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    list(TRACKERS)
    monkeypatch.setattr(TRACKERS, "_items", dict(TRACKERS._items))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    exec(code, {"__name__": "csv_tracker"})


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ["tensorboard", "csv"])
@pytest.mark.usefixtures("_trackers_of_the_test")
def test_conformance(name: str, check: Callable[[str, Path], None], tmp_path: Path) -> None:
    if name == "tensorboard":
        pytest.importorskip("tensorboardX")
    check(name, tmp_path)


@pytest.mark.usefixtures("_trackers_of_the_test")
def test_the_worked_example_writes_every_figure(tmp_path: Path) -> None:
    check_figures("csv", tmp_path)
    rows = list(csv.reader((tmp_path / "figures.csv").read_text().splitlines()))
    assert rows[:2] == [["supernet/loss", "1", "2.5"], ["supernet/loss", "2", "1.25"]]
    assert len(rows) == 8


@pytest.mark.usefixtures("_trackers_of_the_test")
def test_the_checks_find_what_is_wrong(tmp_path: Path) -> None:
    class Whole:
        """Takes whole numbers only: for NaN `int` raises ValueError."""

        def __init__(self, folder: Path) -> None:
            pass

        def log(self, step: int, values: Mapping[str, float]) -> None:
            for value in values.values():
                int(value)

        def close(self) -> None:
            pass

    class Forgetful:
        """Removes the files that are there and writes one of a new name."""

        def __init__(self, folder: Path) -> None:
            old = list(folder.iterdir())
            for path in old:
                path.unlink()
            (folder / f"after {[path.name for path in old]}").touch()

        def log(self, step: int, values: Mapping[str, float]) -> None:
            pass

        def close(self) -> None:
            pass

    TRACKERS.add("whole", Whole)
    TRACKERS.add("forgetful", Forgetful)
    with pytest.raises(AssertionError, match="must take every figure, got ValueError"):
        check_figures("whole", tmp_path)
    with pytest.raises(AssertionError, match="must keep the figures"):
        check_resumed("forgetful", tmp_path)
