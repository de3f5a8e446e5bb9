"""What the cache keeps beside prices in a file: refusals, and prices for the engine's other goals."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from offramp.cost.price_cache import CachedEngine, cached_engines
from offramp.cost.report import Goal, LayerCost
from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError
from offramp.hardware.accelerator import Core
from offramp.workload.layer import LayerShape
from tests.cost.test_price_cache import JOBS, NPU, NoConvolutions
from tests.cost.toys import ToyEngine, conv, dense


class CountedRefusals(NoConvolutions):
    """Counts its calls."""

    calls = 0

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        self.calls += 1
        return super().price(jobs)


def test_a_refusal_is_remembered_and_names_the_core_that_was_asked_about() -> None:
    engine = CountedRefusals()
    cached = CachedEngine(engine, None)
    for name in ("npu", "other"):
        core_of_that_name = replace(NPU, name=name)
        refusal = cached.price_or_refusal(conv(), core_of_that_name)
        assert refusal == UnpricedJob(conv(), name, "no")
        with pytest.raises(UnpricedJobsError) as caught:
            cached.price([(dense(16), core_of_that_name), (conv(), core_of_that_name)])
        assert caught.value.jobs == (UnpricedJob(conv(), name, "no"),)
    assert engine.calls == 2


def test_one_question_is_answered_as_many_are() -> None:
    cached = CachedEngine(ToyEngine(), None)
    assert cached.price_or_refusal(dense(16), NPU) == cached.price([(dense(16), NPU)])[0]


@dataclass
class TwoGoals(ToyEngine):
    """Energy takes half as long; counts how often mappings are evaluated."""

    goal: Goal = "latency"
    asked_goals: list[tuple[Goal, ...]] = field(default_factory=list, compare=False)

    @property
    def name(self) -> str:
        return f"toy {self.goal}"

    def with_goal(self, goal: Goal) -> "TwoGoals":
        return replace(self, goal=goal)

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        return self.price_goals(jobs, (self.goal,))[0]

    def price_goals(self, jobs: Sequence[tuple[LayerShape, Core]], goals: Sequence[Goal]) -> list[list[LayerCost]]:
        self.asked_goals.append(tuple(goals))
        plain = ToyEngine().price(jobs)
        cycles = {"latency": 100.0, "energy": 50.0}
        return [[replace(cost, temporal_cycles=cycles[goal]) for cost in plain] for goal in goals]


def test_engines_that_differ_in_their_goal_are_evaluated_once(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    fast, frugal = TwoGoals(goal="latency"), TwoGoals(goal="energy")
    first, second = cached_engines((fast, frugal), path)
    assert [cost.temporal_cycles for cost in first.price(JOBS)] == [100.0] * 3
    assert [cost.temporal_cycles for cost in second.price(JOBS)] == [50.0] * 3
    assert (fast.asked_goals, frugal.asked_goals) == ([("latency", "energy")], [])
    again = TwoGoals(goal="energy")
    assert CachedEngine(again, path).price(JOBS) == second.price(JOBS)
    assert again.asked_goals == []


def test_goals_share_prices_of_the_same_core_only() -> None:
    fast, frugal = TwoGoals(goal="latency"), TwoGoals(goal="energy")
    first, second = cached_engines((fast, frugal), None)
    first.price([(dense(16), NPU)])
    second.price([(dense(16), replace(NPU, mac_energy_pj=0.25))])
    assert (fast.asked_goals, frugal.asked_goals) == ([("latency", "energy")], [("latency", "energy")])


def test_engines_of_other_settings_share_nothing() -> None:
    fast, other = TwoGoals(goal="latency"), TwoGoals(goal="energy", version="2")
    first, second = cached_engines((fast, other), None)
    first.price(JOBS)
    second.price(JOBS)
    assert (fast.asked_goals, other.asked_goals) == ([("latency",)], [("energy",)])
    (alone,) = cached_engines((ToyEngine(),), None)
    assert len(alone.price(JOBS)) == 3


@dataclass
class NoConvolutionsForAnyGoal(TwoGoals):
    """Has no price for convolutions, whatever the goal."""

    def price_goals(self, jobs: Sequence[tuple[LayerShape, Core]], goals: Sequence[Goal]) -> list[list[LayerCost]]:
        self.asked_goals.append(tuple(goals))
        raise UnpricedJobsError(self.name, [UnpricedJob(shape, core.name, "no") for shape, core in jobs])


def test_a_refusal_holds_for_all_goals() -> None:
    fast, frugal = NoConvolutionsForAnyGoal(goal="latency"), NoConvolutionsForAnyGoal(goal="energy")
    first, second = cached_engines((fast, frugal), None)
    assert first.price_or_refusal(conv(), NPU) == UnpricedJob(conv(), "npu", "no")
    assert second.price_or_refusal(conv(), NPU) == UnpricedJob(conv(), "npu", "no")
    assert (fast.asked_goals, frugal.asked_goals) == ([("latency", "energy")], [])


class RefusesSomethingElse(ToyEngine):
    """Names a layer that it was not asked for."""

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        raise UnpricedJobsError(self.name, [UnpricedJob(dense(77), "npu", "no")])


def test_an_error_about_other_layers_is_passed_on() -> None:
    with pytest.raises(UnpricedJobsError, match="77 -> 10 channels"):
        CachedEngine(RefusesSomethingElse(), None).price(JOBS)
