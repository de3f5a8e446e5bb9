"""A run folder from elsewhere neither says where to connect, nor has files read that the user has not agreed to."""

import shutil
import socket
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import yaml

from offramp.errors import RunError, UntrustedRunError
from offramp.records import create_run, read_run, resume_run
from offramp.run.api import search
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from tests.conftest import small_config


def rewrite_settings(run: Path, **changes: object) -> None:
    """Put other settings into the record, as an attacker would; ``changes`` have ``__`` for the dot."""
    connection = sqlite3.connect(run / "run.sqlite")
    with connection:
        data = yaml.safe_load(connection.execute("SELECT value FROM meta WHERE key = 'settings'").fetchone()[0])
        for name, value in changes.items():
            section, _, field = name.partition("__")
            data[section][field] = value
        connection.execute("UPDATE meta SET value = ? WHERE key = 'settings'", (yaml.safe_dump(data),))
    connection.close()


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A finished run that other tests do not see."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def test_the_record_and_its_files_do_not_say_where_the_work_was_done(tmp_path: Path) -> None:
    secret = {"execution.cluster": "tcp://cluster.example:8786", "execution.tracker": "tensorboard"}
    config = with_settings(Config(), {**secret, "execution.max_failures": 7})
    create_run(tmp_path / "run", config).close()
    for file in (tmp_path / "run").iterdir():
        assert b"cluster.example" not in file.read_bytes()
        assert b"tensorboard" not in file.read_bytes()
    store = read_run(tmp_path / "run")
    assert store.config.execution.cluster is None
    assert store.config.execution.max_failures == 7  # this decides the results, so that it is kept
    store.close()


def test_a_resumed_run_connects_nowhere_that_its_record_names(run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)
        rewrite_settings(run, execution__cluster=f"tcp://127.0.0.1:{server.getsockname()[1]}")
        assert search(run=run, resume=True).summary is not None
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_resumed_run_starts_neither_workers_nor_tracker_that_its_record_names(run: Path) -> None:
    rewrite_settings(run, execution__workers=1000, execution__tracker="tensorboard")
    store = resume_run(run)
    assert (store.config.execution.workers, store.config.execution.tracker) == (None, None)
    store.close()


@pytest.mark.parametrize("setting", ["data__source", "cost__accelerator", "space__weights", "deploy__licence"])
def test_files_that_a_foreign_record_names_are_shown_and_not_read(run: Path, tmp_path: Path, setting: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("not yours")
    rewrite_settings(run, **{setting: str(secret)})
    with pytest.raises(UntrustedRunError, match=rf"begun by somebody else.*{secret}.*--trust"):
        search(run=run, resume=True)
    # Agreed to, it is read; what it holds is then judged like any other input.
    with pytest.raises(Exception, match=r"secret|licence|space.weights") as caught:
        search(run=run, resume=True, trust=True)
    assert not isinstance(caught.value, UntrustedRunError)


def test_runs_of_this_user_are_resumed_without_a_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = np.random.default_rng(0).integers(0, 255, (90, 8, 8, 1), np.uint8), np.arange(90) % 3
    np.savez(tmp_path / "mine.npz", images=images, labels=labels)
    config = small_config(data__source=str(tmp_path / "mine.npz"))
    create_run(tmp_path / "run", config).close()
    store = resume_run(tmp_path / "run")
    assert store.is_own
    store.change_settings(with_settings(config, {"seed": 5}))
    assert store.is_own
    store.close()
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path / "cache of another user"))
    with pytest.raises(UntrustedRunError, match=r"mine\.npz"):
        search(run=tmp_path / "run", resume=True)
    # A path that the user gives anew is the user's own; the run goes on to its next check.
    with pytest.raises(RunError) as caught:
        search(run=tmp_path / "run", resume=True, data__source=str(tmp_path / "mine.npz"))
    assert not isinstance(caught.value, UntrustedRunError)


def test_the_key_of_the_user_is_read_by_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path / "cache"))
    create_run(tmp_path / "run", Config()).close()
    assert (tmp_path / "cache/run_key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["run_key"]
