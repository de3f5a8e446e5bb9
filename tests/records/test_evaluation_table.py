"""The exported table, and the fronts of a record: candidates and static networks, each once."""

from dataclasses import replace
from pathlib import Path

import pytest

from offramp.objectives.evaluation import Evaluation
from offramp.records import create_run
from offramp.records.evaluation_table import export_results
from offramp.settings.config import Config
from tests.records.record_samples import some_evaluations


def static_of(evaluation: Evaluation, accuracy: float) -> Evaluation:
    values = {**evaluation.values, "accuracy": accuracy}
    return replace(evaluation, architecture=evaluation.architecture.without_exits(), values=values, details=None)


def test_candidates_and_static_networks_have_a_row_each_and_a_front_of_their_kind(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    early = next(item for item in some_evaluations(40) if not item.architecture.is_static)
    static = static_of(early, 0.25)
    store = create_run(tmp_path / "run", Config())
    store.propose(0, [early.architecture])
    store.append(0, 0, early, statics=[static])
    fronts = store.fronts()
    assert list(fronts.early_exit) == [early]
    assert list(fronts.static) == [static]
    assert export_results(store, tmp_path / "all.parquet") == 2
    store.close()
    rows = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    assert [row["static"] for row in rows] == [False, True]
    assert [row["on_front"] for row in rows] == [True, True]
    assert [(row["batch"], row["position"]) for row in rows] == [(0, 0), (None, None)]
    assert rows[1]["accuracy"] == 0.25


def test_a_candidate_that_is_static_in_effect_is_not_counted_twice(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.parquet")
    early = next(item for item in some_evaluations(40) if not item.architecture.is_static)
    static = static_of(early, 0.25)
    store = create_run(tmp_path / "run", Config())
    store.propose(0, [early.architecture])
    store.append(0, 0, static, statics=[static])
    assert len(store.fronts().early_exit) == 0
    assert len(store.fronts().static) == 1
    assert export_results(store, tmp_path / "all.parquet") == 1
    store.close()
