"""Cost engines are found by name, wherever they come from."""

import subprocess
import sys

import pytest

from offramp.cost.engines.cost_engine import COST_ENGINES, CostEngine, EngineOptions, build_engines
from offramp.cost.engines.formula.engine import FormulaEngine
from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.engines.zigzag.engine import ZigzagEngine
from offramp.errors import AcceleratorError, ConfigError, UnknownNameError
from offramp.hardware.loader import load_accelerator
from offramp.run.settings_checks import check_settings
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


def test_listing_engines_loads_neither_torch_nor_zigzag() -> None:
    code = (
        "import sys; from offramp.cost.engines.cost_engine import COST_ENGINES; assert len(list(COST_ENGINES)) >= 3;"
        "assert not {'torch', 'zigzag', 'onnx', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
