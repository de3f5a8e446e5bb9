"""Schedules as reports: sums and spans by hand, under both boundaries of stages and with idle power."""

from dataclasses import replace

import pytest

from offramp.cost.busy_times import busy_spans
from offramp.cost.report import MemoryEnergy
from offramp.cost.schedule import Execution, IdlePower, Region, Schedule, Transfer, TransferKind
from offramp.cost.schedule_report import ReportOrigin, StageBoundary, build_report, layer_reports, stage_costs
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from offramp.workload.layer import LayerShape, Op
from tests.cost.mapping.optimized.networks import conv, quad

ALL = Region(0, 4, 0, 8)


def piece(layer: str, core: str, start: float, end: float, energy: float) -> Execution:
    memory = (MemoryEnergy("ram", "I", energy / 2),)
    return Execution(layer, core, start, end, result=ALL, mac_energy_pj=energy / 2, memory_energy=memory)


def move(tensor: str, origin: str, start: float, energy: float) -> Transfer:
    return Transfer(tensor, TransferKind.WEIGHTS, origin, "offchip", "core0", (), start, start + 1, 8, energy)


def workload() -> Workload:
    relu = LayerShape(Op.ACTIVATION, g=4, oy=8, ox=8, iy=8, ix=8)
    return Workload(
        "n",
        (
            Layer("a", conv(8, 3, 4), (GRAPH_INPUT,), 0, Role.BACKBONE),
            Layer("relu", relu, ("a",), 0, Role.BACKBONE),
            Layer("x", LayerShape(Op.DENSE, k=2, c=256), ("relu",), 0, Role.BRANCH),
            Layer("b", conv(8, 4, 4), ("relu",), 1, Role.BACKBONE),
            Layer("y", LayerShape(Op.DENSE, k=2, c=256), ("b",), 1, Role.BRANCH),
        ),
        ("x", "y"),
    )


SCHEDULE = Schedule(
    executions=(
        piece("a", "core0", 10, 20, 8),
        piece("a", "core1", 10, 30, 4),
        piece("x", "core0", 35, 45, 2),
        piece("b", "core1", 40, 60, 16),
        piece("y", "core1", 64, 70, 6),
    ),
    transfers=(
        move("weights of a", "a", 0, 100),
        move("weights of b", "b", 49, 50),
        move("weights of y", "y", 50, 30),
    ),
    holdings=(),
    verdict_cycles=(50.0, 72.0),
)


def test_layers() -> None:
    reports = {x.name: x for x in layer_reports(workload(), quad(), SCHEDULE)}
    both = reports["a"]
    assert (both.core, both.start_cycle, both.end_cycle) == ("core0+core1", 10, 30)
    assert (both.compute_energy_pj, both.transfer_energy_pj, both.energy_pj) == (12, 100, 112)
    assert both.memory_energy == (MemoryEnergy("ram", "I", 6.0),)
    assert both.utilization == pytest.approx(64 * 12 / (1024 * 2 * 20))
    assert (reports["relu"].energy_pj, reports["relu"].start_cycle) == (0, 30)


def test_stages_between_verdicts() -> None:
    layers = layer_reports(workload(), quad(), SCHEDULE)
    first, second = stage_costs(workload(), SCHEDULE, layers, StageBoundary.VERDICTS)
    assert (first.backbone_latency_cycles, first.gap_cycles, first.branch_latency_cycles) == (30, 5, 15)
    assert (first.stage_latency_cycles, first.latency_to_exit_cycles) == (50, 50)
    # Layer b and its weights began before the verdict at 50; the weights of y did not.
    assert first.speculation_energy_pj == 16 + 50
    assert first.stage_energy_pj == 112 + 2
    assert first.energy_to_exit_pj == 114 + 66
    assert (second.backbone_latency_cycles, second.gap_cycles, second.branch_latency_cycles) == (10, 4, 8)
    assert second.stage_latency_cycles == 22
    assert second.energy_to_exit_pj == 114 + 66 + 36
    assert second.speculation_energy_pj == 0
    assert second.macs_to_exit == workload().macs_to_exit()[1]


def test_stages_over_their_layers() -> None:
    layers = layer_reports(workload(), quad(), SCHEDULE)
    first, second = stage_costs(workload(), SCHEDULE, layers, StageBoundary.LAYERS)
    # a from 10 to 30, x from 35 to 45; b from 40 to 60, y from 64 to 70. What lies outside is charged to nobody.
    assert (first.backbone_latency_cycles, first.gap_cycles, first.branch_latency_cycles) == (20, 5, 10)
    assert (second.backbone_latency_cycles, second.gap_cycles, second.branch_latency_cycles) == (20, 4, 6)
    assert (first.latency_to_exit_cycles, second.latency_to_exit_cycles) == (35, 65)
    assert first.speculation_energy_pj == 0
    assert (first.energy_to_exit_pj, second.energy_to_exit_pj) == (114, 114 + 66 + 36)


def test_idle_power_goes_to_the_layers_that_run() -> None:
    idle = replace(SCHEDULE, idle_power=IdlePower(2.0, "rest"))
    layers = {x.name: x for x in layer_reports(workload(), quad(), idle)}
    # 0 to 30: a, which runs next until 10. 30 to 40: x; 40 to 45: x and b; 45 to 60: b; 60 to 70: y.
    shares = {"a": 60.0, "x": 25.0, "b": 35.0, "y": 20.0}
    plain = {x.name: x for x in layer_reports(workload(), quad(), SCHEDULE)}
    for name, share in shares.items():
        assert layers[name].compute_energy_pj == plain[name].compute_energy_pj + share
        assert layers[name].memory_energy == (*plain[name].memory_energy, MemoryEnergy("rest", "I", share))
    assert layers["relu"].energy_pj == 0
    stages = stage_costs(workload(), idle, tuple(layers.values()), StageBoundary.VERDICTS)
    without = stage_costs(workload(), SCHEDULE, tuple(plain.values()), StageBoundary.VERDICTS)
    # 2 pJ in each of the 50 and 72 cycles until the verdicts.
    assert [x.energy_to_exit_pj for x in stages] == [without[0].energy_to_exit_pj + 100, 216 + 144]
    assert [x.stage_energy_pj for x in stages] == [without[0].stage_energy_pj + 100, 102 + 44]


def test_the_engine_has_the_last_word_on_utilization() -> None:
    known = replace(SCHEDULE.executions[0], utilization=0.25)
    schedule = replace(SCHEDULE, executions=(known, *SCHEDULE.executions[1:]))
    assert layer_reports(workload(), quad(), schedule)[0].utilization == 0.25


def test_the_report_holds_all_parts() -> None:
    origin = ReportOrigin("toy", "7", "optimized", mapping_steps=("split",))
    schedule = replace(SCHEDULE, warnings=("careful",))
    report = build_report(workload(), quad(), schedule, StageBoundary.VERDICTS, origin)
    assert (report.accelerator, report.engine, report.engine_version) == (quad().name, "toy", "7")
    assert (report.convention, report.mapping, report.mapping_steps) == ("offramp", "optimized", ("split",))
    assert report.layers == layer_reports(workload(), quad(), SCHEDULE)
    assert report.stages == stage_costs(workload(), SCHEDULE, report.layers, StageBoundary.VERDICTS)
    assert (report.warnings, report.busy, report.leaves_out) == (("careful",), busy_spans(SCHEDULE), ())


def test_an_activation_function_on_the_input_runs_nowhere() -> None:
    relu = LayerShape(Op.ACTIVATION, g=3, oy=8, ox=8, iy=8, ix=8)
    layers = (
        Layer("first", relu, (GRAPH_INPUT,), 0, Role.BACKBONE),
        Layer("a", conv(8, 3, 4), ("first",), 0, Role.BACKBONE),
    )
    schedule = Schedule((piece("a", "core0", 10, 20, 8),), (), verdict_cycles=(20.0,))
    first, _ = layer_reports(Workload("n", layers, ("a",)), quad(), schedule)
    assert (first.core, first.start_cycle, first.end_cycle, first.energy_pj) == ("", 0, 0, 0)


def test_a_layer_without_cycles_uses_nothing() -> None:
    schedule = replace(SCHEDULE, executions=(piece("a", "core0", 10, 10, 8), *SCHEDULE.executions[2:]))
    assert layer_reports(workload(), quad(), schedule)[0].utilization == 0
