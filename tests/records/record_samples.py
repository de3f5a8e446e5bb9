"""Records for the tests: evaluations by formula, and a run folder as version 1 wrote it."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from offramp.jsonio import dumps
from offramp.objectives.evaluation import Evaluation
from offramp.records import RunStore
from offramp.settings.config import Config
from offramp.testing.toys import ToyEvaluator, small_space


def some_evaluations(count: int = 3) -> list[Evaluation]:
    space, rng = small_space(), np.random.default_rng(0)
    evaluator = ToyEvaluator()
    return [evaluator.evaluate(space.sample(rng)) for _ in range(count)]


def append_all(store: RunStore, batch: int, evaluations: Sequence[Evaluation]) -> None:
    store.propose(batch, [evaluation.architecture for evaluation in evaluations])
    for position, evaluation in enumerate(evaluations):
        store.append(batch, position, evaluation)


def write_version_1(folder: Path, config: Config, batches: Sequence[tuple[int, Sequence[Evaluation]]]) -> None:
    """A run as schema 1 had it: (number asked, evaluations so far) a batch."""
    folder.mkdir(parents=True)
    config.save(folder / "config.yaml")
    connection = sqlite3.connect(folder / "run.sqlite")
    with connection:
        connection.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        connection.execute(
            "CREATE TABLE evaluations (number INTEGER PRIMARY KEY AUTOINCREMENT, batch INTEGER NOT NULL, "
            "asked INTEGER NOT NULL, payload TEXT NOT NULL)"
        )
        connection.execute("INSERT INTO meta VALUES ('schema', '1')")
        for number, (asked, evaluations) in enumerate(batches):
            connection.executemany(
                "INSERT INTO evaluations (batch, asked, payload) VALUES (?, ?, ?)",
                [(number, asked, dumps(evaluation)) for evaluation in evaluations],
            )
    connection.close()
