"""Looking at runs from the command line, also while they are written."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from offramp.cli.main import app
from offramp.errors import RunError
from offramp.objectives.evaluation import Evaluation, Status
from offramp.objectives.pareto import pareto_front
from offramp.objectives.parse import parse_objective
from offramp.records import RunStore, create_run
from offramp.settings.config import Config
from tests.records.record_samples import append_all, some_evaluations

pq = pytest.importorskip("pyarrow.parquet")
RUNNER = CliRunner()


def a_run(folder: Path) -> RunStore:
    store = create_run(folder, Config())
    evaluations = some_evaluations(6)
    append_all(store, 0, evaluations)
    store.propose(1, [evaluations[0].architecture, evaluations[1].architecture])
    failed = Evaluation(evaluations[0].architecture, Status.FAILED, {}, error="took longer than 5 s")
    store.append(1, 0, failed, seconds=5.0, worker="process 7")
    store.set("phase", "search")
    return store


def test_one_look_at_a_search_that_goes_on(tmp_path: Path) -> None:
    store = a_run(tmp_path / "run")
    done = RUNNER.invoke(app, ["watch", str(tmp_path / "run"), "--once"])
    assert done.exit_code == 0
    assert "searching. 7 candidates evaluated, 1 open, 1 failed." in " ".join(done.output.split())
    assert "took longer than 5 s" in done.output
    store.close()


def test_watching_ends_when_the_search_ends(tmp_path: Path) -> None:
    store = a_run(tmp_path / "run")
    outcome = []
    arguments = ["watch", str(tmp_path / "run"), "--every", "0.1"]
    watcher = threading.Thread(target=lambda: outcome.append(RUNNER.invoke(app, arguments)))
    watcher.start()
    time.sleep(0.5)
    assert watcher.is_alive()
    store.set("phase", "ended")
    store.close()
    watcher.join(timeout=20)
    assert not watcher.is_alive()
    assert "ended. 7 candidates" in " ".join(outcome[0].output.split())


def test_no_run_there(tmp_path: Path) -> None:
    for command in (["watch"], ["export-results"]):
        done = RUNNER.invoke(app, [*command, str(tmp_path), *([str(tmp_path / "x")] if len(command[0]) > 5 else [])])
        assert isinstance(done.exception, RunError)


def test_results_as_parquet(tmp_path: Path) -> None:
    store = a_run(tmp_path / "run")
    (tmp_path / "table.parquet").write_text("older")
    done = RUNNER.invoke(app, ["export-results", str(tmp_path / "run"), str(tmp_path / "table.parquet")])
    assert done.exit_code == 0, done.output
    assert "7 evaluations" in done.output
    table = pq.read_table(tmp_path / "table.parquet")
    rows, evaluations = table.to_pylist(), store.evaluations()
    assert [row["accuracy"] for row in rows] == [e.values.get("accuracy") for e in evaluations]
    assert [(row["batch"], row["position"]) for row in rows] == [*((0, i) for i in range(6)), (1, 0)]
    assert rows[6] | {"architecture": ""} == rows[6] | {
        "status": "failed",
        "error": "took longer than 5 s",
        "accuracy": None,
        "feasible": False,
        "seconds": 5.0,
        "worker": "process 7",
        "architecture": "",
    }
    objectives = tuple(parse_objective(text) for text in store.config.search.objectives)
    assert sum(row["on_front"] for row in rows) == len(pareto_front(evaluations, objectives))
    assert json.loads(rows[0]["architecture"])["backbone"] == "toy"
    assert b"edge-tpu-quad" in table.schema.metadata[b"offramp_settings"]
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []
    store.close()


def test_the_table_holds_every_metric_that_the_run_measured(tmp_path: Path) -> None:
    store = create_run(tmp_path / "run", Config())
    plain, *_, member = some_evaluations(2)
    append_all(store, 0, [plain, replace(member, values=member.values | {"recall:cat": 0.125})])
    store.close()
    done = RUNNER.invoke(app, ["export-results", str(tmp_path / "run"), str(tmp_path / "table.parquet")])
    assert done.exit_code == 0, done.output
    assert pq.read_table(tmp_path / "table.parquet").column("recall:cat").to_pylist() == [None, 0.125]


def test_a_table_replaces_no_file_of_another_kind(tmp_path: Path) -> None:
    a_run(tmp_path / "run").close()
    record = tmp_path / "run" / "run.sqlite"
    before = record.read_bytes()
    for path in (record, tmp_path / "all.csv"):
        done = RUNNER.invoke(app, ["export-results", str(tmp_path / "run"), str(path)])
        assert "must end in .parquet" in str(done.exception)
    assert record.read_bytes() == before
    assert not (tmp_path / "all.csv").exists()
    done = RUNNER.invoke(app, ["report", str(tmp_path / "run"), "--output", str(record)])
    assert "is a file already" in str(done.exception)
    assert record.read_bytes() == before


def test_a_table_that_cannot_be_written(tmp_path: Path) -> None:
    a_run(tmp_path / "run").close()
    done = RUNNER.invoke(app, ["export-results", str(tmp_path / "run"), str(tmp_path / "no" / "table.parquet")])
    assert "cannot be written" in str(done.exception)
