"""What single steps do, on cases that can be followed by hand, and on the reference networks."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from benchmarks.mapping import cumulative_steps
from benchmarks.roofline import roofline

from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.expected import expected_cost
from offramp.cost.mapping.optimized.mapping_steps import ALL_STEPS, MappingStep
from offramp.cost.mapping.optimized.optimized_model import OptimizedMapping, OptimizedModel
from offramp.cost.mapping.optimized.simulation.plan_simulator import Speculation
from offramp.cost.price_cache import CachedEngine
from offramp.cost.schedule import TransferKind
from offramp.errors import InputError, UnsupportedLayerError
from offramp.hardware.loader import load_accelerator
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from offramp.workload.layer import LayerShape, Op
from tests.cost.mapping.optimized.checker import early_work, faults
from tests.cost.mapping.optimized.networks import branch, conv, quad, team_of
from tests.cost.mapping.optimized.planning.test_plan_optimizer import chain
from tests.cost.toys import ToyEngine
from tests.workload.from_onnx.onnx_samples import workload_from_onnx

NATIVE = NativeEngine(goal="energy_delay_product", num_spatial_mappings=1)
# All models share the prices of layers.
ENGINE = CachedEngine(NATIVE, None)


def dram_bits(mapping: OptimizedMapping, *kinds: TransferKind) -> int:
    return sum(
        x.bits
        for x in mapping.schedule.transfers
        if "offchip" in (x.sender, x.receiver) and not x.broadcast and (not kinds or x.kind in kinds)
    )


def two_layers() -> Workload:
    """3 x 8 x 8 -> 4 x 8 x 8 -> 10 logits, on one core without pooling."""
    first = Layer("conv", conv(8, 3, 4, 3), (GRAPH_INPUT,), 0, Role.BACKBONE)
    last = Layer("fc", LayerShape(Op.DENSE, k=10, c=256), ("conv",), 0, Role.BRANCH)
    return Workload("two", (first, last), ("fc",))


def test_baseline_by_hand() -> None:
    mapping = OptimizedModel(ToyEngine(), frozenset()).map(two_layers(), team_of(1))
    # Bits over 64 a cycle: input 1536, weights 864, result 2048 out and in, weights 20480, logits 80.
    # ToyEngine: 105 cycles and 7 pJ a layer.
    transfers = 24 + 14 + 32 + 32 + 320 + 2
    assert mapping.report.stages[-1].latency_to_exit_cycles == transfers + 2 * 105
    words = transfers
    # DRAM 1000 pJ a word; scratchpad 416.16 read, 378.4 write per 2048 bits; weight memory 52.01 per 512 bits.
    local = 378.4 + 416.16 + 378.4 + 416.16 + (2 + 40) * 52.01
    assert mapping.report.stages[-1].energy_to_exit_pj == pytest.approx(words * 1000 + local + 14)


def test_on_chip_and_prefetch_by_hand() -> None:
    kept = OptimizedModel(ToyEngine(), frozenset({MappingStep.ON_CHIP})).map(two_layers(), team_of(1))
    assert kept.report.stages[-1].latency_to_exit_cycles == 24 + 14 + 320 + 2 + 2 * 105
    ahead = OptimizedModel(ToyEngine(), frozenset({MappingStep.ON_CHIP, MappingStep.PREFETCH})).map(
        two_layers(), team_of(1)
    )
    # Two blocks of 5 channels would not be needed: 2.5 KiB fit; the weights follow those of the first layer.
    assert ahead.report.stages[-1].latency_to_exit_cycles == 24 + 14 + 320 + 105 + 2
    assert ahead.report.stages[-1].energy_to_exit_pj == kept.report.stages[-1].energy_to_exit_pj


def test_without_split_one_compute_core_works() -> None:
    plain = OptimizedModel(ENGINE, frozenset({MappingStep.ON_CHIP, MappingStep.PREFETCH})).map(chain(), quad())
    assert {piece.core for piece in plain.schedule.executions} == {"core0", "pooling"}
    split = OptimizedModel(ENGINE, frozenset({MappingStep.ON_CHIP, MappingStep.PREFETCH, MappingStep.SPLIT})).map(
        chain(), quad()
    )
    assert {f"core{i}" for i in range(4)} <= {piece.core for piece in split.schedule.executions}


def two_stages(width: int = 32) -> Workload:
    layers = [
        Layer("a", conv(8, 3, width, 3), (GRAPH_INPUT,), 0, Role.BACKBONE),
        *branch(0, "a", width, 8),
        Layer("b", conv(8, width, width), ("a",), 1, Role.BACKBONE),
        Layer("c", conv(8, width, 64), ("b",), 1, Role.BACKBONE),
        *branch(1, "c", 64, 8),
    ]
    return Workload("two stages", tuple(layers), ("fc0", "fc1"))


def test_nothing_starts_before_the_verdict_without_rates() -> None:
    mapping = OptimizedModel(ENGINE).map(two_stages(), quad())
    assert early_work(mapping.schedule, two_stages(), 0) == []
    assert mapping.report.stages[0].speculation_energy_pj == 0


def test_speculation_is_chosen_by_what_it_is_worth() -> None:
    unlikely = OptimizedModel(ENGINE, exit_rates=(0.01, 0.99)).map(two_stages(), quad())
    assert unlikely.speculation[0] is not Speculation.WAIT
    assert early_work(unlikely.schedule, two_stages(), 0)
    first = unlikely.report.stages[0]
    assert first.speculation_energy_pj > 0
    assert first.energy_to_exit_pj == pytest.approx(first.stage_energy_pj + first.speculation_energy_pj)
    waits = OptimizedModel(ENGINE, ALL_STEPS - {MappingStep.BESIDE}, exit_rates=(0.01, 0.99)).map(two_stages(), quad())
    assert unlikely.report.stages[1].latency_to_exit_cycles < waits.report.stages[1].latency_to_exit_cycles
    certain = OptimizedModel(ENGINE, exit_rates=(1.0, 0.0)).map(two_stages(), quad())
    assert certain.speculation[0] is Speculation.WAIT


def wide_chain() -> Workload:
    """Expansion, depthwise, projection: the wide tensors are 32 x 16 x 16 bytes."""
    layers = [
        Layer("stem", conv(16, 3, 8, 3), (GRAPH_INPUT,), 0, Role.BACKBONE),
        Layer("wide", conv(16, 8, 32), ("stem",), 0, Role.BACKBONE),
        Layer("deep", conv(16, 32, 32, 3, 1, 32), ("wide",), 0, Role.BACKBONE),
        Layer("slim", conv(16, 32, 8), ("deep",), 0, Role.BACKBONE),
        *branch(0, "slim", 8, 16),
    ]
    return Workload("wide", tuple(layers), ("fc0",))


def test_fusing_keeps_wide_tensors_off_the_dram() -> None:
    small = quad(activation_kib=2)
    apart = OptimizedModel(ENGINE, ALL_STEPS - {MappingStep.FUSE}).map(wide_chain(), small)
    fused = OptimizedModel(ENGINE).map(wide_chain(), small)
    assert any(len(task.layers) > 1 and len(task.tiles) > 1 for task in fused.tasks)
    assert all(len(task.layers) == 1 for task in apart.tasks)
    assert faults(fused.schedule, wide_chain(), small) == []
    assert faults(apart.schedule, wide_chain(), small) == []
    assert dram_bits(fused, TransferKind.EVICTION) < dram_bits(apart, TransferKind.EVICTION)
    assert fused.product < apart.product


def test_nothing_is_fused_where_all_fits() -> None:
    mapping = OptimizedModel(ENGINE).map(wide_chain(), quad())
    assert all(len(task.layers) == 1 and len(task.tiles) == 1 for task in mapping.tasks)


def test_compulsory_traffic_alone_when_all_fits() -> None:
    mapping = OptimizedModel(ENGINE).map(chain(), quad())
    (bound,) = roofline(chain(), quad())
    # Rows of the input that two cores need come twice; all else crosses the link once.
    halo = dram_bits(mapping, TransferKind.INPUT) - 3 * 64 * 8
    assert 0 <= halo <= 3 * 3 * 2 * 64
    assert dram_bits(mapping) == bound.dram_bits + halo


def test_what_fits_nowhere_is_named() -> None:
    with pytest.raises(UnsupportedLayerError, match=r"a \(conv 3x3.*no loop order fits its memories"):
        OptimizedModel(ENGINE).map(chain(), quad(activation_kib=0.02))


def test_rates_must_fit_the_exits() -> None:
    with pytest.raises(InputError, match="one value per exit"):
        OptimizedModel(ENGINE, exit_rates=(0.5, 0.3, 0.2)).map(two_stages(), quad())


def test_reports_name_the_mapping() -> None:
    model = OptimizedModel(ENGINE)
    report = model.estimate(chain(), quad())
    assert report.mapping == "optimized"
    assert "optimized" in model.name
    assert "optimized" in report.engine_version
    assert report == OptimizedModel(NATIVE).estimate(chain(), quad())


def test_steps_add_up() -> None:
    columns = cumulative_steps()
    assert columns[0] == frozenset()
    assert columns[-1] == ALL_STEPS
    assert all(len(more - less) == 1 and less < more for less, more in pairwise(columns))


@pytest.mark.parametrize("name", ["nas/iter_0/net_3", "focus/3_5_8"])
def test_reference_networks(reference: Path, name: str) -> None:
    folder = reference / "eenn" / name
    workload = workload_from_onnx(folder / "model.onnx")
    rates = tuple(json.loads((folder / "stats.json").read_text())["exits_ratios"])
    accelerator = load_accelerator("edge-tpu-quad")
    products = []
    for steps in cumulative_steps():
        mapping = OptimizedModel(ENGINE, steps, exit_rates=rates).map(workload, accelerator, bound=True)
        expected = expected_cost(mapping.report, rates).energy_delay_product_j_cycles
        assert mapping.product == pytest.approx(expected)
        assert mapping.bound is not None
        assert mapping.bound <= mapping.product
        for stage, least in zip(mapping.report.stages, roofline(workload, accelerator), strict=True):
            assert stage.latency_to_exit_cycles >= least.latency_cycles
            assert stage.energy_to_exit_pj >= least.energy_pj
        products.append(mapping.product)
    assert products == sorted(products, reverse=True)
    assert products[-1] < 0.05 * products[0]
    if name == "nas/iter_0/net_3":
        assert products[-1] < 16
