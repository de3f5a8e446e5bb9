"""The order in which networks are finished, and the time that each one gets."""

import time
from pathlib import Path

import pytest

from offramp.deadline import Deadline
from offramp.errors import Interrupted
from offramp.progress import SilentReporter, Task
from offramp.run.finishing.finisher import Finisher
from offramp.run.finishing.matches import SearchedMatches
from offramp.run.finishing.strategy import InProcessFinishing
from offramp.run.finishing.targets import FinishTarget, Selection, finish_targets
from offramp.settings.fine_tune_config import FineTuneConfig
from offramp.testing.toys import ToyEvaluator, small_space


class RecordingFinisher(Finisher):
    """Returns targets in place of results, and records what it was asked for."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.finished: list[tuple[FinishTarget, Deadline | None, bool]] = []
        self.stop_at = stop_at

    def finish_target(  # type: ignore[override]
        self, target: FinishTarget, task: Task, *, deadline: Deadline | None, resume: bool
    ) -> FinishTarget:
        if len(self.finished) == self.stop_at:
            raise Interrupted("stopped")
        self.finished.append((target, deadline, resume))
        return target

    def read_target(self, target: FinishTarget) -> FinishTarget:  # type: ignore[override]
        return target


def targets(**settings: object) -> tuple[FinishTarget, ...]:
    evaluation = ToyEvaluator().evaluate(small_space().min_architecture())
    selections = [Selection((rule,), evaluation) for rule in ("knee", "cheapest")]
    none = [SearchedMatches()] * len(selections)
    return finish_targets(selections, none, FineTuneConfig(**settings), lambda name: Path("chosen") / name)


def names(found: tuple[FinishTarget, ...]) -> list[str]:
    return [target.folder.name for target in found]


def test_the_reference_comes_last_unless_it_teaches() -> None:
    assert names(targets()) == ["knee", "cheapest", "reference"]
    assert [target.teacher for target in targets()] == [None] * 3
    assert names(targets(reference=False)) == ["knee", "cheapest"]
    taught = targets(teacher="reference")
    assert names(taught) == ["reference", "knee", "cheapest"]
    assert [target.teacher for target in taught] == [None, *[Path("chosen/reference")] * 2]


@pytest.mark.parametrize(
    ("settings", "ends"),
    [
        # Shares of 100 s, twice as much for the first pick: 2, 1, 1 of 4.
        ({}, [50.0, 75.0, 100.0]),
        ({"teacher": "reference"}, [25.0, 75.0, 100.0]),
        # 2 and 1 of 3.
        ({"reference": False}, [200.0 / 3.0, 100.0]),
    ],
)
def test_the_network_to_recommend_gets_twice_the_time(settings: dict[str, object], ends: list[float]) -> None:
    finisher, now = RecordingFinisher(), time.monotonic()
    strategy = InProcessFinishing(finisher, SilentReporter(), resume=True)
    found = targets(**settings)
    assert tuple(strategy.finish_all(found, Deadline(now, now + 100.0))) == found
    deadlines = [deadline for _, deadline, _ in finisher.finished if deadline is not None]
    assert [deadline.end - now for deadline in deadlines] == pytest.approx(ends)
    assert all(resume for _, _, resume in finisher.finished)


def test_each_deadline_begins_with_its_network() -> None:
    """The learning rate follows the share of a deadline's time that is over."""
    finisher, now = RecordingFinisher(), time.monotonic()
    # 60 of 100 s are over, as after the first networks.
    phase = Deadline(now - 60.0, now + 40.0)
    list(InProcessFinishing(finisher, SilentReporter(), resume=False).finish_all(targets(), phase))
    reference, deadline, _ = finisher.finished[-1]
    assert reference.selection is None
    assert deadline is not None
    assert deadline.end == pytest.approx(phase.end)
    assert deadline.fraction() < 0.1


def test_what_was_finished_before_a_stop_is_kept() -> None:
    strategy = InProcessFinishing(RecordingFinisher(stop_at=1), SilentReporter(), resume=False)
    results = strategy.finish_all(targets(), None)
    assert next(results) == targets()[0]
    with pytest.raises(Interrupted):
        next(results)
