from collections.abc import Sequence
from dataclasses import replace

import pytest

from offramp.cost.mapping.layer_by_layer.layer_by_layer_model import (
    LayerByLayerModel,
    different_compute_cores,
)
from offramp.cost.report import LayerCost, LayerEngine
from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError
from offramp.errors import AcceleratorError, UnsupportedLayerError
from offramp.hardware.accelerator import Accelerator, Core, CoreKind, Link
from offramp.workload.graph import Role, Workload
from offramp.workload.layer import LayerShape, Op
from tests.cost.toys import ToyEngine, conv, core, dense, layer, pool, toy_accelerator, two_exit_workload

BRANCH = Role.BRANCH


def test_stages_by_hand() -> None:
    """As in the schedule's own test, but pooling and SIMD core take 105 cycles: draining counts there."""
    report = LayerByLayerModel(ToyEngine()).estimate(two_exit_workload(), toy_accelerator())
    first, second = report.stages
    assert (first.backbone_latency_cycles, first.gap_cycles, first.branch_latency_cycles) == (200, 64, 209)
    assert (second.backbone_latency_cycles, second.gap_cycles, second.branch_latency_cycles) == (205, 0, 209)
    assert (first.stage_latency_cycles, second.stage_latency_cycles) == (473, 414)
    assert (first.latency_to_exit_cycles, second.latency_to_exit_cycles) == (473, 887)
    # Four layers of 7 pJ; 3 pJ for each of 52 + 82 + 2 + 22 words sent, then 50 + 32 + 2 + 22.
    assert first.stage_energy_pj == 28 + 3 * 158
    assert second.energy_to_exit_pj == first.stage_energy_pj + 28 + 3 * 106
    assert (first.exit, second.exit) == ("fc0", "fc1")
    assert second.macs_to_exit == sum(x.shape.macs for x in two_exit_workload().layers)


def test_totals_are_the_sums_of_their_parts() -> None:
    report = LayerByLayerModel(ToyEngine()).estimate(two_exit_workload(), toy_accelerator())
    assert sum(x.energy_pj for x in report.layers) == pytest.approx(report.stages[-1].energy_to_exit_pj, rel=1e-12)
    for number, stage in enumerate(report.stages):
        parts = stage.backbone_latency_cycles + stage.gap_cycles + stage.branch_latency_cycles
        assert parts == stage.stage_latency_cycles
        members = [x for x in report.layers if x.stage == number]
        assert sum(x.energy_pj for x in members) == pytest.approx(stage.stage_energy_pj, rel=1e-12)
    for entry in report.layers:
        assert entry.compute_energy_pj == 7.0
        assert sum(x.energy_pj for x in entry.memory_energy) == 6.0


def test_report_says_what_made_it() -> None:
    report = LayerByLayerModel(ToyEngine(10_000.0), "published").estimate(two_exit_workload(), toy_accelerator())
    assert (report.accelerator, report.engine, report.engine_version) == ("toy", "toy", "1")
    assert report.convention == "published"
    assert LayerByLayerModel(ToyEngine()).name == "toy 1"
    assert report.warnings == ()


def test_equal_layers_are_asked_for_once_and_channels_are_looped_over_once() -> None:
    for convention, channels in (("offramp", 1), ("published", 4)):
        engine = ToyEngine()
        LayerByLayerModel(engine, convention).estimate(two_exit_workload(), toy_accelerator())  # type: ignore[arg-type]
        assert len(engine.asked) == len(set(engine.asked)) == 5  # Two convolutions, pooling, dense, addition.
        assert [shape.c for shape, _ in engine.asked if shape.op is Op.MAX_POOL] == [channels]


def test_more_cycles_never_cost_less() -> None:
    ends = []
    for cycles in (10.0, 50.0, 100.0, 1000.0):
        report = LayerByLayerModel(ToyEngine(cycles)).estimate(two_exit_workload(), toy_accelerator())
        ends.append(report.stages[-1].latency_to_exit_cycles)
    assert ends == sorted(ends)


class TwoSpeeds(ToyEngine):
    """Twice as fast on cores with the wider array."""

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        costs = super().price(jobs)
        wide = [core.array[0].size > 4 for _, core in jobs]
        return [replace(x, temporal_cycles=50.0) if fast else x for x, fast in zip(costs, wide, strict=True)]


def test_best_of_different_compute_cores_runs_everything() -> None:
    slow, same = core("one", CoreKind.COMPUTE), core("two", CoreKind.COMPUTE)
    fast = replace(core("three", CoreKind.COMPUTE), array=(replace(slow.array[0], size=8),))
    dram = core("dram", CoreKind.OFFCHIP)
    links = [Link(x, "dram", 64, shared="bus") for x in ("one", "two", "three")]
    links += [Link("dram", x, 64, shared="bus") for x in ("one", "two", "three")]
    accelerator = Accelerator("mixed", (slow, same, fast, dram), tuple(links))
    assert [x.name for x in different_compute_cores(accelerator)] == ["one", "three"]
    report = LayerByLayerModel(TwoSpeeds()).estimate(two_exit_workload(), accelerator)
    assert {x.core for x in report.layers} == {"three"}


def test_accelerator_needs_a_compute_core() -> None:
    with pytest.raises(AcceleratorError, match="must have a compute core"):
        LayerByLayerModel(ToyEngine()).estimate(
            two_exit_workload(), Accelerator("x", (core("d", CoreKind.OFFCHIP),), ())
        )


class Picky(ToyEngine):
    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        bad = [UnpricedJob(shape, core.name, "too odd") for shape, core in jobs if shape.op is Op.DENSE]
        raise UnpricedJobsError(self.name, bad)


def test_error_names_every_layer_that_cannot_be_priced() -> None:
    with pytest.raises(UnsupportedLayerError, match=r"fc0, fc1 \(dense.*on core 'npu': too odd"):
        LayerByLayerModel(Picky()).estimate(two_exit_workload(), toy_accelerator())


def test_single_exit_network_and_static_part() -> None:
    static = two_exit_workload().static()
    report = LayerByLayerModel(ToyEngine()).estimate(static, toy_accelerator())
    assert [x.exit for x in report.stages] == ["fc1"]
    assert report.stages[0].backbone_latency_cycles == 405
    whole = LayerByLayerModel(ToyEngine()).estimate(two_exit_workload(), toy_accelerator())
    assert report.stages[0].energy_to_exit_pj < whole.stages[-1].energy_to_exit_pj


def test_stage_without_a_branch_or_without_a_backbone() -> None:
    plain = Workload("plain", (layer("a", conv(3)), layer("b", conv(), "a")), ("b",))
    (stage,) = LayerByLayerModel(ToyEngine()).estimate(plain, toy_accelerator()).stages
    assert (stage.backbone_latency_cycles, stage.gap_cycles, stage.branch_latency_cycles) == (200, 0, 0)
    twice = Workload(
        "twice",
        (
            layer("a", conv(3)),
            layer("fc0", dense(256), "a", role=BRANCH),
            layer("fc1", dense(256, 12), "a", stage=1, role=BRANCH),
        ),
        ("fc0", "fc1"),
    )
    second = LayerByLayerModel(ToyEngine()).estimate(twice, toy_accelerator()).stages[1]
    assert (second.backbone_latency_cycles, second.gap_cycles, second.branch_latency_cycles) == (0, 0, 100)


def test_activation_in_front_of_the_next_stage_does_not_stretch_it() -> None:
    relu = LayerShape(Op.ACTIVATION, g=4, oy=8, ox=8, iy=8, ix=8)
    workload = Workload(
        "tap",
        (
            layer("a", conv(3)),
            layer("pool", pool(), "a", role=BRANCH),
            layer("fc0", dense(16), "pool", role=BRANCH),
            layer("relu", relu, "a", stage=1),
            layer("b", conv(), "relu", stage=1),
            layer("fc1", dense(256), "b", stage=1, role=BRANCH),
        ),
        ("fc0", "fc1"),
    )
    report = LayerByLayerModel(ToyEngine()).estimate(workload, toy_accelerator())
    assert report.stages[1].backbone_latency_cycles == 100


def test_branch_waits_for_weights_that_are_late() -> None:
    base = two_exit_workload()
    late = Workload(
        "late", (*base.layers[:-1], layer("fc1", dense(16, 20_000), "pool1", stage=1, role=BRANCH)), base.exits
    )
    report = LayerByLayerModel(ToyEngine()).estimate(late, toy_accelerator())
    # 2,560,000 bits of weights in one window after the first logits, which leave at cycle 527.
    assert report.layers[-1].start_cycle == 527 + 40_000
    assert report.stages[1].branch_latency_cycles == 40_627 - 730


def test_long_waits_between_stages_are_pointed_out() -> None:
    big = Workload("big", (layer("fc", dense(10_000, 10), role=BRANCH),), ("fc",))
    report = LayerByLayerModel(ToyEngine()).estimate(big, toy_accelerator())
    # 800,000 bits of weights and 80,000 of input before the first cycle of computing.
    assert report.stages[0].stage_latency_cycles == 100
    assert report.warnings[-1].startswith("13750 of 13850 cycles pass between stages")


def test_toy_engine_is_a_layer_engine() -> None:
    engine: LayerEngine = ToyEngine()
    assert engine.version == "1"
