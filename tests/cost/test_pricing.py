"""Pricing from settings: which engine, which convention, and what is returned."""

import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from offramp.cost.pricing import build_cost_model, price_onnx
from offramp.errors import ConfigError, InputError
from offramp.settings.cost_config import CostConfig
from offramp.workload.layer import Op
from tests.workload.from_onnx.onnx_samples import workload_from_onnx


def test_the_settings_choose_engine_and_convention(reference: Path) -> None:
    model = reference / "eenn" / "nas" / "iter_0" / "net_3" / "model.onnx"
    honest = price_onnx(model, CostConfig(mapping="layer_by_layer"), (0.7319, 0.2681))
    assert honest.report.engine == "native"
    assert honest.report.convention == "offramp"
    assert honest.expected is not None
    # models.csv: 286.83 with pooling charged once, 374.18 as published.
    assert honest.expected.energy_delay_product_j_cycles == pytest.approx(286.8284188177797, rel=1e-9)
    published = price_onnx(model, CostConfig(convention="published"), (0.7319, 0.2681))
    assert published.expected is not None
    assert published.expected.energy_delay_product_j_cycles == pytest.approx(374.18111047420473, rel=1e-9)
    assert [s.stage_latency_cycles for s in published.report.stages] == [346009.0, 548398.0]


def test_the_static_network_has_one_stage_and_all_backbone_macs(reference: Path) -> None:
    model = reference / "eenn" / "nas" / "iter_0" / "net_3" / "model.onnx"
    priced = price_onnx(model, CostConfig())
    assert priced.expected is None
    assert len(priced.static.stages) == 1
    assert priced.static.stages[0].macs_to_exit == 195_325_952 + 51_200
    assert priced.static.stages[0].energy_to_exit_pj < priced.report.stages[-1].energy_to_exit_pj


def test_rates_must_fit_the_exits(reference: Path) -> None:
    model = reference / "eenn" / "nas" / "iter_0" / "net_3" / "model.onnx"
    with pytest.raises(InputError, match="one value per exit"):
        price_onnx(model, CostConfig(), (1.0,))


def test_zigzag_is_named_with_its_variant(tmp_path: Path) -> None:
    pytest.importorskip("zigzag")
    full = build_cost_model(CostConfig(engine="zigzag"), cache=tmp_path / "c.sqlite")
    coarse = build_cost_model(CostConfig(engine="zigzag"), coarse=True, cache=tmp_path / "c.sqlite")
    assert full.name != build_cost_model(CostConfig()).name
    assert type(full) is type(coarse)


def test_pricing_needs_no_torch(reference: Path) -> None:
    model = reference / "eenn" / "nas" / "iter_0" / "net_3" / "model.onnx"
    code = (
        "import sys; from pathlib import Path; from offramp.settings.cost_config import CostConfig\n"
        "from offramp.cost.pricing import price_onnx\n"
        f"price_onnx(Path({str(model)!r}), CostConfig()); assert not {{'torch', 'zigzag'}} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_mapping_is_a_setting_and_optimized_by_default(reference: Path) -> None:
    model = reference / "eenn" / "nas" / "iter_0" / "net_3" / "model.onnx"
    rates = (0.7319, 0.2681)
    mapped = price_onnx(model, CostConfig(), rates)
    assert mapped.report.mapping == "optimized"
    assert mapped.expected is not None
    # The roofline is 9.17 J x cycles; 286.83 is the reference's schedule.
    assert 9.17 < mapped.expected.energy_delay_product_j_cycles < 14
    assert price_onnx(model, CostConfig(mapping="layer_by_layer"), rates).report.mapping == "layer_by_layer"


def test_published_figures_have_the_published_mapping() -> None:
    with pytest.raises(ConfigError, match="layer_by_layer only"):
        CostConfig(mapping="optimized", convention="published")


@pytest.mark.parametrize("mapping", ["layer_by_layer", "optimized"])
def test_a_chip_with_formulas_is_priced_by_them(
    reference: Path, mapping: Literal["layer_by_layer", "optimized"]
) -> None:
    model = reference / "eenn" / "focus" / "3_5_8" / "model.onnx"
    report = price_onnx(model, CostConfig(accelerator="diana", mapping=mapping)).report
    assert (report.engine, report.mapping) == ("published formulas", mapping)
    cores = {layer.name: layer.core for layer in report.layers}
    shapes = {x.name: x.shape for x in workload_from_onnx(model).layers}
    for name, shape in shapes.items():
        if shape.op is Op.CONV and shape.g > 1:
            assert cores[name] in ("digital", "host")  # depthwise: never analog
        if shape.op is Op.AVG_POOL:
            assert cores[name] == "host"
    assert {core for text in cores.values() for core in text.split("+")} == {"digital", "analog", "vector", "host"}
    assert any("trained to be ternary" in text for text in report.warnings)
    refused = [text for text in report.warnings if "cannot run on core 'analog'" in text]
    assert len(refused) == 3
    depthwise = sum(shape.op is Op.CONV and shape.g > 1 for shape in shapes.values())
    assert f"{depthwise} layers cannot run on core 'analog': a depthwise convolution sums" in " ".join(refused)
    assert price_onnx(model, CostConfig()).report.warnings == ()


def test_a_chip_with_formulas_has_one_engine() -> None:
    with pytest.raises(ConfigError, match="priced by its own published formulas"):
        build_cost_model(CostConfig(accelerator="diana", engine="zigzag"))
    with pytest.raises(ConfigError, match="convention 'offramp'"):
        build_cost_model(CostConfig(accelerator="diana", convention="published"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loads": "overlap"}, ".overlap"),
        ({"unrolling": "zigzag"}, ".zigzag"),
        ({"memory_fill": "best"}, ".fill"),
    ],
)
def test_every_choice_of_a_layer_engine_is_a_setting_and_part_of_the_key_of_stored_prices(
    tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    chosen = build_cost_model(CostConfig.model_validate(settings), cache=tmp_path / "c.sqlite")
    plain = build_cost_model(CostConfig(), cache=tmp_path / "c.sqlite")
    assert words in chosen.name
    assert words not in plain.name


def test_loads_are_an_option_of_the_zigzag_engine_too(tmp_path: Path) -> None:
    pytest.importorskip("zigzag")
    model = build_cost_model(CostConfig(engine="zigzag", loads="overlap"), cache=tmp_path / "c.sqlite")
    assert ".overlap" in model.name


@pytest.mark.parametrize("settings", [{"loads": "overlap"}, {"unrolling": "zigzag"}, {"memory_fill": "best"}])
def test_a_chip_with_formulas_knows_no_choices_of_a_mapping(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="know no loads, unrolling or memory_fill"):
        build_cost_model(CostConfig.model_validate({"accelerator": "diana", **settings}))
