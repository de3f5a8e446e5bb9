"""Changed records differ, most are still databases whose rows agree with count and digest, one seed gives the same."""

import sqlite3
from pathlib import Path

import numpy as np

from offramp.records import create_run
from offramp.records.schema import check_schema
from offramp.settings.config import Config
from tests.fuzz.record_mutations import mutate_record
from tests.records.record_samples import append_all, some_evaluations


def test_changed_records_differ_and_most_are_taken_for_whole(tmp_path: Path) -> None:
    store = create_run(tmp_path / "run", Config())
    append_all(store, 0, some_evaluations(4))
    store.close()
    content = (tmp_path / "run/run.sqlite").read_bytes()
    rng = np.random.default_rng(3)
    made = [mutate_record(content, rng) for _ in range(40)]
    assert all(item != content for item in made)
    whole = 0
    for item in made:
        (tmp_path / "changed").write_bytes(item)
        connection = sqlite3.connect(tmp_path / "changed")
        try:
            check_schema(connection, "changed")
            whole += 1
        except Exception:
            continue
        finally:
            connection.close()
    assert whole > 20
    again = np.random.default_rng(3)
    assert [mutate_record(content, again) for _ in range(5)] == made[:5]


def test_what_is_no_record_is_taken_too() -> None:
    for content in (b"", b"garbage", bytes(5000)):
        assert isinstance(mutate_record(content, np.random.default_rng(0)), bytes)
