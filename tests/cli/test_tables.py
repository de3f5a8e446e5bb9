"""`offramp table` and `offramp search --table`: sentences for people, and nothing that has no effect is accepted."""

from pathlib import Path

import pytest

from offramp.tabular.benchmark_table import Table
from tests.cli.conftest import Run


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_a_search_on_the_shipped_table_says_what_it_missed(offramp: Run) -> None:
    done = offramp(
        "search", "--table", "digits", "--algorithm", "random", "--budget", "30", "--objective", "accuracy,macs"
    )
    assert done.code == 0, done.err
    assert "Table digits of digits: 32 backbones, 359 validation and 359 test samples" in done.out
    assert "random: 30 candidates in " in done.out
    assert "Early exits: no static network of the table equals or beats " in done.out
    assert " % of the hypervolume of the true front, which has " in done.out
    early, static = done.out.split("Front of static networks", 1)
    assert "Front of networks with early exits" in early
    # More than 99 % of the samples at one exit is a static network: it stands in the front of those, if anywhere.
    assert " 100/0" not in early
    assert "Hypervolume that early exits add to the static front" in static


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "digits"), "so data.source would have no effect"),
        (("--run", "x", "--quiet"), "so --run, --quiet would have no effect"),
        (("--budget", "30s"), "so a budget of time would have no effect"),
        (("--accelerator", "tpu"), "The table is for edge-tpu-quad, "),
        (("--constraint", "memory_use<=1"), "A table knows the metrics accuracy, "),
        (("--objective", "macro_f1,macs"), "got macro_f1"),
    ],
)
def test_what_has_no_effect_on_a_table_is_refused(offramp: Run, arguments: tuple[str, ...], message: str) -> None:
    done = offramp("search", "--table", "digits", *arguments)
    assert done.code == 2
    assert message in done.err


def test_a_table_says_what_it_is_of(offramp: Run) -> None:
    done = offramp("table", "show", "digits")
    assert done.code == 0, done.err
    for text in ("Licence: CC-BY-4.0", "Origin: made by offramp ", "Costs on: edge-tpu-quad, ", "Logits of 8 bits"):
        assert text in done.out


def test_the_table_of_a_run(offramp: Run, finished_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.npz"
    done = offramp("table", "make", finished_run, "--output", target, "--backbones", 1, "--samples", 50, "--quiet")
    assert done.code == 0, done.err
    assert "Licence: CC0-1.0" in done.out
    table = Table.load(target)
    assert (len(table.backbones), table.header.validation_samples) == (1, 50)
    (tmp_path / "notes.txt").write_text("mine")
    done = offramp("table", "make", finished_run, "--output", tmp_path / "notes.txt")
    assert done.code == 2
    assert "only one named *.npz would be replaced" in done.err
    assert offramp("table", "make", finished_run, "--bits", 12).code == 2
