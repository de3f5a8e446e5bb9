"""A study stores before it tells, stops in good order, and goes on as if it had not stopped."""

import time
from pathlib import Path

import pytest

from offramp.clock import Deadline
from offramp.config import Config
from offramp.errors import RunError
from offramp.objectives.evaluation import Evaluation, SearchAlgorithm
from offramp.objectives.parse import parse_objectives
from offramp.search.base import ALGORITHMS
from offramp.space.architecture import Architecture
from offramp.store import create_run, resume_run
from offramp.study import Study
from offramp.testing.toys import ToyEvaluator, small_space


class Note:
    def update(self, fraction: float, note: str = "") -> None:
        assert 0.0 <= fraction <= 1.0


class StopsAt:
    """An evaluator during whose n-th call the user presses Ctrl-C."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def evaluate(self, architecture: Architecture) -> Evaluation:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return ToyEvaluator().evaluate(architecture)


def algorithm(name: str, seed: int = 0) -> SearchAlgorithm:
    return ALGORITHMS.get(name)(small_space(), parse_objectives(["accuracy", "energy_pj"]), (), seed)


@pytest.mark.parametrize("name", ["random", "nsga2"])
@pytest.mark.parametrize("stop", [1, 5, 13, 24])
def test_a_resumed_study_equals_an_undisturbed_one(tmp_path: Path, name: str, stop: int) -> None:
    whole = Study(algorithm(name), ToyEvaluator()).run(40, 8, Note())
    store = create_run(tmp_path / "run", Config())
    ended = Study(algorithm(name), StopsAt(stop), store).run(40, 8, Note())
    assert ended.interrupted
    assert len(store.evaluations()) == stop - 1
    store.close()
    store = resume_run(tmp_path / "run")
    study = Study(algorithm(name), ToyEvaluator(), store)
    study.replay()
    end = study.run(40, 8, Note())
    store.close()
    assert not end.interrupted
    assert end.evaluations == whole.evaluations


def test_a_deadline_ends_it(tmp_path: Path) -> None:
    now = time.monotonic()
    end = Study(algorithm("random"), ToyEvaluator()).run(10**6, 5, Note(), Deadline(now, now + 0.2))
    assert 0 < len(end.evaluations) < 10**6
    assert time.monotonic() - now < 5


def test_an_exact_number_of_evaluations() -> None:
    end = Study(algorithm("nsga2"), ToyEvaluator()).run(23, 10, Note())
    assert len(end.evaluations) == 23


def test_a_record_of_other_settings_is_refused(tmp_path: Path) -> None:
    store = create_run(tmp_path / "run", Config())
    Study(algorithm("random", seed=1), ToyEvaluator(), store).run(6, 3, Note())
    study = Study(algorithm("random", seed=2), ToyEvaluator(), store)
    with pytest.raises(RunError, match="does not fit its settings"):
        study.replay()
    store.close()
