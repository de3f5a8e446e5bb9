"""Cost engines are found by name, wherever they come from."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from offramp.cost.engines.cost_engine import COST_ENGINES, CostEngine, EngineOptions, build_engines
from offramp.cost.engines.formula.engine import FormulaEngine
from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.engines.zigzag.engine import ZigzagEngine
from offramp.cost.report import Goal, LayerEngine
from offramp.errors import AcceleratorError, ConfigError, UnknownNameError
from offramp.hardware.loader import load_accelerator
from offramp.run.checks.settings_checks import check_settings
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config


def test_engines_of_the_package() -> None:
    assert {"formula", "native", "zigzag"} <= set(COST_ENGINES)
    diana = load_accelerator("diana")
    assert build_engines("formula", EngineOptions(accelerator=diana)) == (FormulaEngine(diana),)
    assert build_engines("native", EngineOptions()) == (NativeEngine(),)
    assert build_engines("zigzag", EngineOptions()) == (ZigzagEngine(),)
    assert build_engines("zigzag", EngineOptions(("latency", "energy"), coarse=True)) == (ZigzagEngine.coarse(),)


def test_native_has_an_engine_per_goal() -> None:
    engines = build_engines("native", EngineOptions(("energy_delay_product", "energy")))
    assert engines == (NativeEngine(goal="energy_delay_product"), NativeEngine(goal="energy"))


def test_an_unknown_engine_is_answered_with_a_near_one() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown cost engine 'nativ'. Did you mean 'native'\?"):
        build_engines("nativ", EngineOptions())


def test_settings_with_an_unknown_engine_are_refused_before_a_search() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'zigzag'"):
        check_settings(with_settings(Config(), {"cost.engine": "zig-zag"}))


def test_options_and_registrations_must_make_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="at least one goal"):
        EngineOptions(())
    with pytest.raises(ConfigError, match="needs the accelerator"):
        build_engines("formula", EngineOptions())
    with pytest.raises(AcceleratorError, match="must have a block `formulas`"):
        build_engines("formula", EngineOptions(accelerator=load_accelerator("mcu")))
    monkeypatch.setattr(COST_ENGINES, "_items", dict(COST_ENGINES._items))
    COST_ENGINES.add("empty", CostEngine("builds no engine", lambda _: ()))
    with pytest.raises(ConfigError, match="'empty' must build at least one engine"):
        build_engines("empty", EngineOptions())


@pytest.mark.parametrize(
    ("built", "goals", "fault"),
    [
        ((NativeEngine(),) * 2, ("latency",), "must build one engine, got 2 engines"),
        (
            (NativeEngine(),) * 2,
            ("latency", "energy", "energy_delay_product"),
            "must build one engine, or one for each of the 3 goals, got 2 engines",
        ),
        (NativeEngine(), ("latency",), "must build a tuple of engines, got an object of type NativeEngine"),
        (None, ("latency",), "must build a tuple of engines, got an object of type NoneType"),
        (
            (5,),
            ("latency",),
            "must build layer engines: each must be an object (not a class) with `name`, `version`, `price`, "
            "got an object of type int",
        ),
    ],
)
def test_what_a_plug_in_builds_must_be_engines(
    built: Any, goals: tuple[Goal, ...], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, lambda _: built)
    with pytest.raises(ConfigError) as caught:
        build_engines("buildeng", EngineOptions(goals))
    assert str(caught.value) == f"Cost engine 'buildeng' {fault}. Correct the `build` of its registration."


def test_one_engine_or_one_per_goal_may_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    both = (NativeEngine(), NativeEngine(goal="energy"))
    register(monkeypatch, lambda options: both[: len(options.goals)])
    assert build_engines("buildeng", EngineOptions(("latency", "energy"))) == both
    register(monkeypatch, lambda _: both[:1])
    assert build_engines("buildeng", EngineOptions(("latency", "energy"))) == both[:1]


def test_an_error_while_an_engine_is_built_names_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(options: EngineOptions) -> tuple[LayerEngine, ...]:
        raise failure

    register(monkeypatch, build)
    failure: Exception = KeyError("tables\nof costs")
    with pytest.raises(ConfigError) as caught:
        build_engines("buildeng", EngineOptions())
    assert str(caught.value) == (
        "Cost engine 'buildeng' must build its engines without an error, got KeyError: 'tables\\nof costs'. "
        "Correct the `build` of its registration, or choose another engine; `offramp list engines` shows all."
    )
    assert caught.value.__cause__ is failure
    failure = AcceleratorError("no such core")
    with pytest.raises(AcceleratorError, match=r"^no such core$"):
        build_engines("buildeng", EngineOptions())


def register(monkeypatch: pytest.MonkeyPatch, build: Callable[[EngineOptions], Any]) -> None:
    """Register a cost engine `buildeng` for one test."""
    list(COST_ENGINES)
    items = {name: COST_ENGINES.get(name) for name in COST_ENGINES if name != "buildeng"}
    monkeypatch.setattr(COST_ENGINES, "_items", items)
    COST_ENGINES.add("buildeng", CostEngine("an engine for tests", build))


def test_listing_engines_loads_neither_torch_nor_zigzag() -> None:
    code = (
        "import sys; from offramp.cost.engines.cost_engine import COST_ENGINES; assert len(list(COST_ENGINES)) >= 3;"
        "assert not {'torch', 'zigzag', 'onnx', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
