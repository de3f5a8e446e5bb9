"""Records of older versions open; newer and unknown ones say why not."""

import sqlite3
from pathlib import Path

import pytest

from offramp.algorithms.algorithm import ALGORITHMS
from offramp.errors import RunError
from offramp.objectives.evaluation import Evaluation, Status
from offramp.objectives.parse import parse_objectives
from offramp.records import create_run, read_run, resume_run
from offramp.run.study import Study
from offramp.settings.config import Config, with_settings
from offramp.testing.toys import ToyEvaluator, small_space
from tests.records.record_samples import some_evaluations, write_version_1
from tests.run.test_study import Note

CONFIG = with_settings(Config(), {"seed": 9})


def test_a_record_of_version_1_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    evaluations = some_evaluations(5)
    failed = Evaluation(evaluations[4].architecture, Status.FAILED, {}, error="no memory")
    write_version_1(tmp_path / "run", CONFIG, [(3, evaluations[:3]), (3, [evaluations[3], failed])])
    before = (tmp_path / "run" / "run.sqlite").read_bytes()
    store = read_run(tmp_path / "run")
    assert store.evaluations() == (*evaluations[:4], failed)
    assert store.config == CONFIG
    with pytest.raises(RunError, match="readonly"):
        store.set("key", "value")
    store.close()
    assert (tmp_path / "run" / "run.sqlite").read_bytes() == before


def test_a_record_of_version_1_goes_on_as_if_it_had_always_been_of_this_one(tmp_path: Path) -> None:
    def algorithm():  # type: ignore[no-untyped-def]
        return ALGORITHMS.get("nsga2")(small_space(), parse_objectives(["accuracy", "energy_pj"]), (), 0)

    whole = Study(algorithm(), ToyEvaluator()).run(40, 8, Note()).evaluations
    # Cut short in the third batch, whose other proposals version 1 did not know.
    write_version_1(tmp_path / "run", CONFIG, [(8, whole[:8]), (8, whole[8:16]), (8, whole[16:19])])
    store = resume_run(tmp_path / "run")
    assert [(batch.num_asked, len(batch.proposals)) for batch in store.batches()] == [(8, 8), (8, 8), (8, 3)]
    study = Study(algorithm(), ToyEvaluator(), store)
    study.replay()
    assert study.run(40, 8, Note()).evaluations == whole
    assert store.evaluations() == whole
    assert store.get("schema") == "2"
    store.close()
    again = resume_run(tmp_path / "run")
    assert again.evaluations() == whole
    assert again.config == CONFIG
    again.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    write_version_1(tmp_path / "run", CONFIG, [(3, some_evaluations(3))])
    connection = sqlite3.connect(tmp_path / "run" / "run.sqlite")
    with connection:
        connection.execute("UPDATE evaluations SET payload = 'no JSON' WHERE number = 3")
    connection.close()
    before = (tmp_path / "run" / "run.sqlite").read_bytes()
    for opener in (read_run, resume_run):
        with pytest.raises(RunError, match="schema 1 must be a JSON object"):
            opener(tmp_path / "run")
    assert (tmp_path / "run" / "run.sqlite").read_bytes() == before


@pytest.mark.parametrize(
    ("schema", "words"),
    [("3", "of a newer offramp.*reads 1 to 2.*Update"), ("0", "has schema '0'"), ("red", "has schema 'red'")],
)
def test_other_schemas_say_why_not(tmp_path: Path, schema: str, words: str) -> None:
    store = create_run(tmp_path / "run", CONFIG)
    store.set("schema", schema)
    store.close()
    for opener in (read_run, resume_run):
        with pytest.raises(RunError, match=words):
            opener(tmp_path / "run")


def test_a_database_of_something_else(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "run.sqlite")
    with connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()
    with pytest.raises(RunError, match="names its schema"):
        read_run(tmp_path)
