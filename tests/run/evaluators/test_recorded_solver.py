"""`exact` is as reproducible as any search: by workers, after Ctrl-C, and without solving anything twice."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from offramp.algorithms.exact.backbone_solver import BackboneSolution
from offramp.errors import RunError, WorkerError
from offramp.objectives.evaluation import Evaluation, Status
from offramp.progress import SilentReporter
from offramp.records import RunStore, create_run, resume_run
from offramp.run.context import Context
from offramp.run.evaluators.cached_logits import CachedLogitsEvaluator
from offramp.run.evaluators.recorded_solver import RecordedSolver
from offramp.run.evaluators.remote_solver import check_solution
from offramp.run.factory import build_context, build_dataset
from offramp.run.pipeline import Pipeline
from offramp.settings.config import Config
from offramp.space.architecture import Architecture
from tests.conftest import small_config

SMALL = {
    "search__algorithm": "exact",
    "search__evaluations": 30,
    "search__batch": 8,
    "space__branches": ("pool_linear",),
}


@pytest.fixture(scope="module")
def context() -> Context:
    config = small_config(**SMALL)
    return build_context(config, build_dataset(config, SilentReporter()))


def searched(context: Context, store: RunStore, *, resume: bool = False) -> tuple[tuple[Evaluation, ...], bool]:
    try:
        found = Pipeline(context, store, SilentReporter(), resume=resume)._search()
        # Static networks come along: the same ones, whoever solved the backbones.
        return found.evaluations + (() if found.interrupted else found.statics), found.interrupted
    finally:
        store.close()


def test_exact_is_the_default() -> None:
    assert Config().search.algorithm == "exact"


def test_a_search_gives_the_same_with_two_workers_and_after_ctrl_c(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, interrupted = searched(context, create_run(tmp_path / "whole", context.config))
    assert not interrupted
    assert len(expected) > 30
    assert len({item.architecture.without_exits() for item in expected[:30]}) >= 5
    assert all(item.architecture.is_static for item in expected[30:])

    config = small_config(**SMALL, execution__workers=2)
    several = build_context(config, context.dataset)
    with monkeypatch.context() as here:
        # The tables are made by the workers: none in this process.
        here.setattr(CachedLogitsEvaluator, "table", None)
        found, _ = searched(several, create_run(tmp_path / "workers", config))
    assert found == expected

    asked: list[Architecture] = []
    table = CachedLogitsEvaluator.table

    def stop_at_fourth(self: CachedLogitsEvaluator, backbone: Architecture) -> object:
        asked.append(backbone)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return table(self, backbone)

    monkeypatch.setattr(CachedLogitsEvaluator, "table", stop_at_fourth)
    some, interrupted = searched(context, create_run(tmp_path / "stopped", context.config))
    assert interrupted
    assert some == expected[: len(some)]
    assert 0 < len(some) < 30
    first = asked[:3]
    resumed, _ = searched(context, resume_run(tmp_path / "stopped"), resume=True)
    assert resumed == expected
    assert not set(asked[4:]) & set(first), "what was solved before the stop must not be solved again"

    # A search that ended is read back without solving anything.
    count = len(asked)
    again, _ = searched(context, resume_run(tmp_path / "stopped"), resume=True)
    assert again == expected
    assert len(asked) == count


class OneSolution:
    """Solves every backbone to the same solution, and counts."""

    def __init__(self, solution: BackboneSolution | None) -> None:
        self.solution = solution
        self.solved: list[Architecture] = []
        self.announced: list[Architecture] = []

    def prepare(self, backbones: Sequence[Architecture]) -> None:
        self.announced += backbones

    def solve(self, backbone: Architecture) -> BackboneSolution | None:
        self.solved.append(backbone)
        return self.solution


def test_a_backbone_that_cannot_be_solved_is_remembered_as_such(context: Context, tmp_path: Path) -> None:
    """Otherwise a resumed search would try again, perhaps succeed, and propose other candidates."""
    store = create_run(tmp_path / "run", context.config)
    inner, backbone = OneSolution(None), context.space.max_architecture()
    for _ in range(2):
        solver = RecordedSolver(inner, store)
        solver.prepare([backbone])
        assert solver.solve(backbone) is None
    assert inner.solved == inner.announced == [backbone]
    store.close()


def test_a_solution_of_another_backbone_is_refused(context: Context, tmp_path: Path) -> None:
    largest, smallest = context.space.max_architecture(), context.space.min_architecture()
    solution = BackboneSolution((Evaluation(smallest, Status.COMPLETE, {"accuracy": 0.5}),))
    store = create_run(tmp_path / "run", context.config)
    RecordedSolver(OneSolution(solution), store).solve(largest)
    with pytest.raises(RunError, match="must be of the backbone that it is recorded for"):
        RecordedSolver(OneSolution(None), store).solve(largest)
    store.close()
    with pytest.raises(WorkerError, match="another backbone"):
        check_solution(solution, largest)
    check_solution(solution, smallest)
    shutil.rmtree(tmp_path / "run")
