from dataclasses import replace
from importlib.metadata import PackageNotFoundError

import pytest

from offramp.cost.engines.zigzag.engine import ZigzagEngine
from offramp.cost.engines.zigzag.zigzag_call import ZigzagSettings
from offramp.cost.report import LayerEngine
from offramp.cost.unsupported import UnpricedJobsError
from offramp.errors import ConfigError
from offramp.hardware.accelerator import CoreKind
from offramp.hardware.loader import load_accelerator
from offramp.workload.layer import LayerShape, Op
from tests.cost.toys import add, core, dense, pool

QUAD = load_accelerator("edge-tpu-quad")
NPU, POOLING, SIMD = QUAD.core("core0"), QUAD.core("pooling"), QUAD.core("simd")
ENGINE = ZigzagEngine(num_workers=1)


def test_dense_layer_of_the_reference_to_the_cycle_and_picojoule() -> None:
    (cost,) = ENGINE.price([(dense(256), NPU)])
    assert (cost.temporal_cycles, cost.stall_cycles, cost.onload_cycles, cost.offload_cycles) == (10, 27, 324, 3)
    assert cost.energy_pj == pytest.approx(251831.76, rel=1e-12)
    assert cost.mac_energy_pj == pytest.approx(2560 * 0.04, rel=1e-12)
    assert cost.utilization == pytest.approx(3 / 364)
    assert {(x.memory, x.operand) for x in cost.memory_energy} >= {("dram", "I"), ("rf_W", "W"), ("rf_O", "O")}


def test_four_bit_dense_layer_has_a_mapping_although_zigzag_alone_finds_none() -> None:
    (cost,) = ENGINE.price([(replace(dense(512), weight_bits=4, activation_bits=4), NPU)])
    assert cost.latency_without_offload_cycles == 325
    assert cost.energy_pj == pytest.approx(251233.42, rel=1e-12)
    assert cost.spatial_mapping == "{D1: {C: 8}, D2: {C: 8}, D3: {C: 2}, D4: {K: 4}}"


def test_loads_may_overlap_the_computation_as_in_plain_zigzag() -> None:
    """zigzag-dse 3.9.1 takes 34 cycles, those of the computation, off a load of 291."""
    shape = replace(dense(512), weight_bits=4, activation_bits=4)
    (cost,) = replace(ENGINE, loads_overlap_computation=True).price([(shape, NPU)])
    assert (cost.onload_cycles, cost.latency_without_offload_cycles) == (257, 291)


def test_addition_unrolls_over_the_width() -> None:
    shape = LayerShape(Op.ADD, g=24, oy=32, ox=32, iy=32, ix=32)
    added, multiplied = ENGINE.price([(shape, SIMD), (replace(shape, op=Op.MULTIPLY), SIMD)])
    assert added.latency_cycles == 1534
    assert added.energy_pj == pytest.approx(152217.6, rel=1e-12)
    assert multiplied.latency_cycles == 1534


def test_pooling_charged_once_and_once_per_channel() -> None:
    honest = pool(320, 8, 2)
    once, published = ENGINE.price([(honest, POOLING), (replace(honest, c=320), POOLING)])
    assert (once.latency_cycles, published.latency_cycles) == (640, 205438)
    assert published.energy_pj == pytest.approx(28341760, rel=1e-12)


def test_rules_need_no_mapping_and_keep_their_place() -> None:
    free = LayerShape(Op.ACTIVATION, g=8)
    joined = LayerShape(Op.CONCAT, g=8, oy=8, ox=8, iy=8, ix=8)
    small = pool(8, 8, 2)
    costs = ENGINE.price([(free, NPU), (small, POOLING), (joined, SIMD), (small, POOLING)])
    assert costs[0].latency_cycles == 0
    assert costs[1] == costs[3]
    assert costs[2].latency_cycles == 8  # 4096 bits over 512-bit ports


def test_processes_give_the_same_figures_whatever_the_order() -> None:
    jobs = [(dense(64 * (1 + number)), NPU) for number in range(4)]
    alone = ENGINE.price(jobs)
    assert replace(ENGINE, num_workers=2).price(jobs[::-1]) == alone[::-1]


def test_every_rejected_layer_is_named_with_its_core() -> None:
    bad = [replace(dense(size), weight_bits=64) for size in (16, 32)]
    with pytest.raises(UnpricedJobsError) as caught:
        ENGINE.price([(bad[0], QUAD.core("core2")), (pool(8, 8, 2), POOLING), (bad[1], NPU)])
    assert {job.shape for job in caught.value.jobs} == set(bad)
    assert "core 'core2'" in str(caught.value)


def test_coarse_variant_is_another_version() -> None:
    versions = {
        ENGINE.version,
        ZigzagEngine.coarse().version,
        replace(ENGINE, loads_overlap_computation=True).version,
        replace(ENGINE, num_spatial_mappings=2).version,
    }
    assert len(versions) == 4
    assert all(version.startswith("3.9.1") for version in versions)
    assert replace(ENGINE, num_workers=7).version == ENGINE.version


def test_coarse_figures_are_never_better() -> None:
    shape = LayerShape(Op.CONV, k=16, c=16, oy=4, ox=4, fy=1, fx=1, iy=4, ix=4)
    (full,) = ENGINE.price([(shape, NPU)])
    (coarse,) = ZigzagEngine.coarse(num_workers=1).price([(shape, NPU)])
    assert coarse.latency_cycles >= full.latency_cycles


def test_missing_package_is_a_sentence_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_name: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr("offramp.cost.engines.zigzag.engine.version", absent)
    with pytest.raises(ConfigError, match=r"pip install 'offramp\[zigzag\]'"):
        _ = ENGINE.version


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="`loma_lpf_limit` must be >= 1, got 0"):
        ZigzagSettings(loma_lpf_limit=0)


def test_is_a_layer_engine() -> None:
    engine: LayerEngine = ENGINE
    assert engine.name == "zigzag"
    assert engine.price([]) == []


def test_toy_core_is_accepted() -> None:
    (cost,) = ENGINE.price([(add(2, 4), core("npu", CoreKind.COMPUTE))])
    assert cost.mac_energy_pj == 0.5 * 32
