"""Engines that fail or answer with nonsense are named, in a single call and in a search."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offramp.cost.engines import engine_calls
from offramp.cost.engines.cost_engine import COST_ENGINES, CostEngine, EngineOptions, build_engines
from offramp.cost.price_cache import CachedEngine
from offramp.cost.report import LayerCost, MemoryEnergy
from offramp.errors import ConfigError, ConstraintError, InputError
from offramp.hardware.accelerator import Core, CoreKind
from offramp.run.api import search
from offramp.workload.layer import LayerShape, Op
from tests.conftest import small_config
from tests.cost.toys import core

GOOD = LayerCost(100.0, 0.0, 0.0, 5.0, 1.0, (MemoryEnergy("ram", "W", 6.0),), 0.5)
JOBS = [(LayerShape(Op.DENSE, c=4, k=8), core("npu", CoreKind.COMPUTE))]


class Engine:
    """Answers with what a function makes of each job."""

    name, version = "test_engine", "1"

    def __init__(self, answer: Callable[[Sequence[tuple[LayerShape, Core]]], Any]) -> None:
        self._answer = answer

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        return self._answer(jobs)  # type: ignore[no-any-return]


NONSENSE = [
    (replace(GOOD, temporal_cycles=float("nan")), "temporal_cycles = nan"),
    (replace(GOOD, stall_cycles=-1.0), "stall_cycles = -1.0"),
    (replace(GOOD, offload_cycles=float("inf")), "offload_cycles = inf"),
    (replace(GOOD, mac_energy_pj=-0.5), "mac_energy_pj = -0.5"),
    (replace(GOOD, utilization=float("nan")), "utilization = nan"),
    (replace(GOOD, memory_energy=(MemoryEnergy("ram", "W", -6.0),)), "memory_energy of 'ram' = -6.0"),
    (None, "an object of type NoneType"),
]


@pytest.mark.parametrize(("cost", "fault"), NONSENSE)
def test_figures_that_are_not_finite_or_below_zero_are_never_taken(cost: Any, fault: str, tmp_path: Path) -> None:
    engine = Engine(lambda jobs: [cost] * len(jobs))
    for ask in (lambda: engine_calls.price(engine, JOBS), lambda: CachedEngine(engine, tmp_path / "c").price(JOBS)):
        with pytest.raises(ConfigError, match=f"'test_engine' must give finite figures of at least 0, got {fault} for"):
            ask()
    # Nothing of it was kept.
    assert CachedEngine(Engine(lambda jobs: [GOOD] * len(jobs)), tmp_path / "c").price(JOBS) == [GOOD]


@pytest.mark.parametrize(("answer", "given"), [([], "0"), ([GOOD, GOOD], "2"), (GOOD, "an object of type LayerCost")])
def test_an_answer_of_another_length_is_refused(answer: Any, given: str) -> None:
    with pytest.raises(ConfigError, match=f"must answer 1 jobs with a list of costs, got {given}"):
        engine_calls.price(Engine(lambda _: answer), JOBS)


@pytest.mark.parametrize("failure", [KeyError("no table"), SystemExit(3), ZeroDivisionError()])
def test_whatever_an_engine_raises_while_it_prices_names_it(failure: BaseException) -> None:
    def fail(_: object) -> None:
        raise failure

    with pytest.raises(ConfigError, match=f"'test_engine' must price layers .* got {type(failure).__name__}"):
        engine_calls.price(Engine(fail), JOBS)


def test_an_error_for_people_is_passed_on() -> None:
    def fail(_: object) -> None:
        raise InputError("no such core")

    with pytest.raises(InputError, match=r"^no such core$"):
        engine_calls.price(Engine(fail), JOBS)


def test_each_goal_must_have_a_list() -> None:
    class TwoGoals(Engine):
        goal = "latency"

        def with_goal(self, goal: str) -> "TwoGoals":
            return self

        def price_goals(self, jobs: Any, goals: Any) -> Any:
            return self._answer(jobs)

    with pytest.raises(ConfigError, match="one list for each of 2 goals"):
        engine_calls.price_goals(TwoGoals(lambda _: [[GOOD]]), JOBS, ("latency", "energy"))  # type: ignore[arg-type]
    bad = replace(GOOD, stall_cycles=-1.0)
    with pytest.raises(ConfigError, match=r"got stall_cycles = -1\.0"):
        engine_calls.price_goals(TwoGoals(lambda _: [[GOOD], [bad]]), JOBS, ("latency", "energy"))  # type: ignore[arg-type]


def register(monkeypatch: pytest.MonkeyPatch, build: Callable[[EngineOptions], Any]) -> None:
    list(COST_ENGINES)
    monkeypatch.setattr(COST_ENGINES, "_items", {**COST_ENGINES._items, "tested": CostEngine("for a test", build)})


def test_an_engine_whose_build_ends_the_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(_: EngineOptions) -> tuple[Any, ...]:
        raise SystemExit(2)

    register(monkeypatch, build)
    with pytest.raises(ConfigError, match="'tested' must build its engines without an error, got SystemExit: 2"):
        build_engines("tested", EngineOptions())


@pytest.mark.parametrize("index", [0, 3])
def test_a_search_with_an_engine_of_nonsense_ends_with_its_name(
    index: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing of NaN or a negative energy becomes a front: no network would ever seem cheaper."""
    cost, fault = NONSENSE[index]
    register(monkeypatch, lambda _: (Engine(lambda jobs: [cost] * len(jobs)),))
    config = small_config(cost__engine="tested", search__evaluations=6, train__epochs=1)
    with pytest.raises((ConfigError, ConstraintError), match=f"'test_engine' must give finite figures.*{fault}"):
        search(config, run=tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()
