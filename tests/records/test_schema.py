"""Records of other versions are refused with a sentence and stay as they are."""

import sqlite3
from pathlib import Path

import pytest

from offramp.errors import RunError
from offramp.records import create_run, read_run, resume_run
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config

CONFIG = with_settings(Config(), {"seed": 9})


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("4", "must have schema 5, got '4'.*Open it with the offramp that wrote it, or start a new run"),
        ("1", "must have schema 5, got '1'"),
        ("red", "must have schema 5, got 'red'"),
    ],
)
def test_other_schemas_say_why_not(tmp_path: Path, schema: str, words: str) -> None:
    store = create_run(tmp_path / "run", CONFIG)
    store.set("schema", schema)
    store.close()
    before = (tmp_path / "run" / "run.sqlite").read_bytes()
    for opener in (read_run, resume_run):
        with pytest.raises(RunError, match=words):
            opener(tmp_path / "run")
    assert (tmp_path / "run" / "run.sqlite").read_bytes() == before


def test_a_database_of_something_else(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "run.sqlite")
    with connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()
    with pytest.raises(RunError, match="names its schema"):
        read_run(tmp_path)
