"""A study stores before it tells, stops in good order, and goes on as if it had not stopped."""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.algorithms.algorithm import ALGORITHMS
from offramp.cost.expected import ExpectedCost
from offramp.deadline import Deadline
from offramp.errors import RunError
from offramp.exits.exit_policy import ExitPolicy, ExitProfile
from offramp.objectives.evaluation import Details, Evaluation, SearchAlgorithm, Status
from offramp.objectives.parse import parse_objectives
from offramp.records import create_run, resume_run
from offramp.run.evaluators.batch_evaluator import CandidateResult, More, no_more
from offramp.run.study import FailureLimit, Study
from offramp.settings.config import Config
from offramp.space.architecture import Architecture
from offramp.space.cut_networks import static_at
from offramp.testing.toys import ToyEvaluator, small_space
from tests.cost.test_expected import report


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
    assert len(store.batches()[-1].proposals) == 8, "what was asked for is on record before it is tried"
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


class Shuffled:
    """A batch evaluator that finishes the last candidate first, as workers may."""

    def __init__(self, stop_after: int | None = None, choose: Callable[[list[int]], int] = max) -> None:
        self.left = stop_after
        self.choose = choose
        self.most_open = 0

    def evaluate_all(
        self, architectures: Sequence[Architecture], stop: Callable[[], bool], more: More = no_more
    ) -> Iterator[CandidateResult]:
        open_ones, count = dict(enumerate(architectures)), len(architectures)
        while open_ones:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left = None if self.left is None else self.left - 1
            self.most_open = max(self.most_open, len(open_ones))
            index = self.choose(sorted(open_ones))
            yield CandidateResult(index, ToyEvaluator().evaluate(open_ones.pop(index)), 0.5, "w")
            for architecture in more():
                open_ones[count] = architecture
                count += 1


@pytest.mark.parametrize("name", ["random", "nsga2"])
def test_who_is_finished_first_changes_nothing(tmp_path: Path, name: str) -> None:
    whole = Study(algorithm(name), ToyEvaluator()).run(40, 8, Note())
    store = create_run(tmp_path / "run", Config())
    ended = Study(algorithm(name), Shuffled(stop_after=13), store).run(40, 8, Note())
    assert ended.interrupted
    assert [item.evaluation is None for item in store.batches()[1].proposals] == [True] * 3 + [False] * 5
    study = Study(algorithm(name), Shuffled(), store)
    study.replay()
    assert study.run(40, 8, Note()).evaluations == whole.evaluations
    assert store.evaluations() == whole.evaluations
    assert {(origin.seconds, origin.worker) for origin in store.origins()} == {(0.5, "w")}
    store.close()


@pytest.mark.parametrize("name", ["random", "nsga2"])
@given(stop=st.integers(0, 39), seed=st.integers(0, 5), open_batches=st.integers(2, 5))
@settings(max_examples=8, deadline=None)
def test_with_several_open_batches_neither_speed_nor_a_stop_changes_the_proposals(
    name: str, stop: int, seed: int, open_batches: int
) -> None:
    whole = Study(algorithm(name), ToyEvaluator(), open_batches=open_batches).run(40, 4, Note())
    with tempfile.TemporaryDirectory() as folder:
        store = create_run(Path(folder) / "run", Config())
        evaluator = Shuffled(stop_after=stop, choose=random.Random(seed).choice)
        assert Study(algorithm(name), evaluator, store, open_batches=open_batches).run(40, 4, Note()).interrupted
        # Resumed twice, and with a larger number the second time.
        for total in (40, 60):
            study = Study(algorithm(name), Shuffled(choose=min), store, open_batches=open_batches)
            study.replay()
            end = study.run(total, 4, Note())
            assert end.evaluations[:40] == whole.evaluations
        assert len({item.architecture for item in end.evaluations}) == 60, "none is proposed while it is evaluated"
        assert (
            end.evaluations
            == Study(algorithm(name), ToyEvaluator(), open_batches=open_batches).run(60, 4, Note()).evaluations
        )
        store.close()


def test_open_batches_keep_workers_busy_that_wait_for_one_candidate() -> None:
    # The first candidate takes until nothing else is left to do.
    busy = Shuffled(choose=lambda waiting: waiting[-1] if len(waiting) > 1 else waiting[0])
    Study(algorithm("random"), busy, open_batches=3).run(40, 4, Note())
    assert busy.most_open == 12
    strict = Shuffled()
    Study(algorithm("random"), strict).run(40, 4, Note())
    assert strict.most_open == 4


class FailsEvery:
    """Every n-th candidate cannot be evaluated."""

    def __init__(self, period: int) -> None:
        self.period = period
        self.calls = 0

    def evaluate(self, architecture: Architecture) -> Evaluation:
        self.calls += 1
        if self.calls % self.period == 0:
            return Evaluation(architecture, Status.FAILED, {}, error=f"reason {self.calls}")
        return ToyEvaluator().evaluate(architecture)


def test_failures_are_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    store = create_run(tmp_path / "run", Config())
    seen: list[int] = []
    study = Study(algorithm("nsga2"), FailsEvery(3), store, on_evaluation=lambda number, _: seen.append(number))
    end = study.run(60, 10, Note())
    failed = [evaluation for evaluation in store.evaluations() if evaluation.status is Status.FAILED]
    assert len(end.evaluations) == 60
    assert [evaluation.error for evaluation in failed] == [f"reason {n}" for n in range(3, 61, 3)]
    assert seen == list(range(1, 61))
    store.close()


def test_too_many_failures_end_it_and_a_higher_limit_lets_it_go_on(tmp_path: Path) -> None:
    store = create_run(tmp_path / "run", Config())
    with pytest.raises(RunError, match=r"4 of 8 candidates failed.*reason 8.*--max-failures 8"):
        Study(algorithm("random"), FailsEvery(2), store, failure_limit=FailureLimit(3)).run(40, 10, Note())
    assert len(store.evaluations()) == 8
    study = Study(algorithm("random"), ToyEvaluator(), store, failure_limit=FailureLimit(8))
    study.replay()
    assert len(study.run(40, 10, Note()).evaluations) == 40
    store.close()


def test_without_a_limit_it_is_half_of_all_once_twenty_failed() -> None:
    with pytest.raises(RunError, match="21 of 21 candidates failed"):
        Study(algorithm("random"), FailsEvery(1)).run(100, 10, Note())
    assert len(Study(algorithm("random"), FailsEvery(2)).run(100, 10, Note()).evaluations) == 100
    FailureLimit().check(20, 20, "")
    FailureLimit().check(50, 100, "")
    with pytest.raises(RunError):
        FailureLimit().check(51, 100, "")


def test_a_clock_that_is_put_back_does_not_matter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    day = iter(range(10**9, 0, -86_400))
    monkeypatch.setattr(time, "time", lambda: float(next(day)))
    store = create_run(tmp_path / "run", Config())
    now = time.monotonic()
    end = Study(algorithm("nsga2"), ToyEvaluator(), store).run(30, 10, Note(), Deadline(now, now + 60))
    assert len(end.evaluations) == len(store.evaluations()) == 30
    assert all(origin.seconds is not None and origin.seconds >= 0 for origin in store.origins())
    store.close()


class LeavesAtTheFirstExit:
    """All samples leave at the first exit of every second candidate that has exits; static networks come along."""

    def evaluate(self, architecture: Architecture) -> Evaluation:
        found = ToyEvaluator().evaluate(architecture)
        exits = len(architecture.exits)
        if not exits:
            return found
        first = 1.0 if architecture.exits[0].tap % 2 else 0.5
        rates = (first, *(0.0,) * (exits - 1), 1.0 - first)
        details = Details(
            ExitPolicy("max_probability", (0.5,) * exits),
            ExitProfile(rates, (0.5,) * (exits + 1), (0.5,) * (exits + 1), 0.5, 100),
            ExpectedCost(1.0, 1.0, 1.0, 1e-12, 1e-12),
            report((1.0, 1.0, 1)),
        )
        depths = small_space().max_depths
        statics = tuple(
            replace(found, architecture=static_at(architecture, index, depths), values={**found.values, "macs": 1.0})
            for index in range(exits + 1)
        )
        return replace(found, details=details, statics=statics)


class Told:
    """Passes on to an algorithm, and keeps what it was asked for and told."""

    def __init__(self, algorithm: SearchAlgorithm) -> None:
        self.algorithm = algorithm
        self.asked: list[Architecture] = []
        self.told: list[Evaluation] = []

    def ask(self, count: int) -> list[Architecture]:
        found = self.algorithm.ask(count)
        self.asked += found
        return found

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        self.told += evaluations
        self.algorithm.tell(evaluations)


@pytest.mark.parametrize("name", ["random", "nsga2"])
def test_candidates_that_are_static_are_recorded_as_such_and_told_as_proposed(tmp_path: Path, name: str) -> None:
    told, store = Told(algorithm(name)), create_run(tmp_path / "run", Config())
    study = Study(told, LeavesAtTheFirstExit(), store)
    study.run(40, 8, Note())
    turned = [
        (proposed, found.architecture)
        for proposed, found in zip(told.asked, study.evaluations, strict=True)
        if proposed != found.architecture
    ]
    assert len(turned) > 5
    depths = small_space().max_depths
    for proposed, found in turned:
        assert found == static_at(proposed, 0, depths)
        assert proposed.exits[0].tap % 2
    assert [item.architecture for item in told.told] == told.asked
    assert len(set(told.asked)) == 40, "nothing is proposed twice"
    # All static networks that came along are on record, once each, those of the candidates among them.
    statics = study.static_candidates
    expected = {static_at(item, index, depths) for item in told.asked for index in range(len(item.exits) + 1)}
    assert {item.architecture for item in statics} == expected
    assert len(statics) == len(expected)
    assert store.static_candidates() == statics
    assert all(item.statics == () for item in store.evaluations())
    store.close()
    again = resume_run(tmp_path / "run")
    replayed = Study(algorithm(name), LeavesAtTheFirstExit(), again)
    replayed.replay()
    assert (replayed.evaluations, replayed.static_candidates) == (study.evaluations, statics)
    replayed.run(48, 8, Note())
    whole = Study(algorithm(name), LeavesAtTheFirstExit())
    whole.run(48, 8, Note())
    assert (replayed.evaluations, replayed.static_candidates) == (whole.evaluations, whole.static_candidates)
    again.close()
