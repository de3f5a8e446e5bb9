from dataclasses import replace

import pytest

from offramp.cost.engines.cost_engine import EngineOptions, build_engines
from offramp.cost.engines.formula.engine import FormulaEngine, power_pj_per_cycle
from offramp.cost.engines.formula.peak_efficiency import compare_peaks, filling_layer
from offramp.cost.published_figures import compare_with_reference
from offramp.cost.unsupported import UnpricedJobsError
from offramp.errors import AcceleratorError, ConfigError
from offramp.hardware.accelerator import WeightSparsity
from offramp.hardware.loader import load_accelerator
from tests.cost.mapping.channel_split.networks import conv, depthwise

DIANA = load_accelerator("diana")
ENGINE = FormulaEngine(DIANA)


def test_the_shipped_description_agrees_with_its_references() -> None:
    rows = compare_with_reference(DIANA, ENGINE)
    assert len(rows) >= 4
    assert all(row.agrees for row in rows)


def test_arrays_reach_their_published_peaks() -> None:
    peaks = {row.core: row for row in compare_peaks(DIANA)}
    assert peaks["analog"].priced == pytest.approx(600, rel=0.1)
    assert peaks["digital"].priced == pytest.approx(14, rel=0.1)
    assert compare_peaks(load_accelerator("mcu")) == ()


def test_the_whole_chip_at_a_full_array() -> None:
    """1152 x 512 MACs in 70 ns at 28.74 mW are 586 TOP/s/W; 256 a cycle at 24.96 mW are 5.33."""
    assert DIANA.formulas is not None
    for core, expected in (("analog", 586), ("digital", 5.33)):
        shape = filling_layer(DIANA.formulas.core(core))
        assert shape is not None
        (cost,) = ENGINE.price([(shape, DIANA.core(core))])
        # While it computes: weights come first, values move afterwards.
        computing = cost.energy_pj * cost.temporal_cycles / cost.latency_cycles
        assert 2 * shape.macs / computing == pytest.approx(expected, rel=0.005)


def test_energy_is_power_times_time_and_the_sum_of_its_parts() -> None:
    (cost,) = ENGINE.price([(conv(32, 16, 16), DIANA.core("digital"))])
    assert cost.latency_cycles == 6144
    assert cost.energy_pj == pytest.approx(6144 / 260e6 * 24.96e-3 * 1e12)
    assert cost.mac_energy_pj == pytest.approx(conv(32, 16, 16).macs * 2 / 14, rel=1e-4)
    assert power_pj_per_cycle(24.96, 260e6) == pytest.approx(96)


def test_a_layer_that_breaks_a_rule_is_not_priced() -> None:
    with pytest.raises(UnpricedJobsError, match="depthwise convolution sums within one channel"):
        ENGINE.price([(conv(16, 16, 8), DIANA.core("analog")), (depthwise(16, 8), DIANA.core("analog"))])


def test_an_accelerator_without_formulas_is_refused() -> None:
    with pytest.raises(AcceleratorError, match="block `formulas`"):
        FormulaEngine(load_accelerator("mcu")).price([])
    with pytest.raises(AcceleratorError, match="block `formulas`"):
        build_engines("formula", EngineOptions(accelerator=load_accelerator("mcu")))
    with pytest.raises(ConfigError, match="needs the accelerator whose formulas it evaluates"):
        build_engines("formula", EngineOptions())


def test_zero_weights_have_no_price_where_the_core_gains_from_them() -> None:
    plain = DIANA.core("digital")
    gaining = replace(plain, sparsity=WeightSparsity(1.0, 1.0, None, "invented"))
    half = replace(conv(32, 16, 16), weight_density=0.5)
    with pytest.raises(UnpricedJobsError, match="do not cover zero weights"):
        ENGINE.price([(half, gaining)])
    # Without such a gain zeros are weights like all others.
    assert ENGINE.price([(half, plain)]) == ENGINE.price([(conv(32, 16, 16), plain), (conv(32, 16, 16), gaining)])[:1]
