"""Mapped schedules as reports: sums and spans by hand."""

import pytest

from offramp.cost.mapping.optimized.core_groups import chips
from offramp.cost.mapping.optimized.mapped_report import layer_reports, stage_costs
from offramp.cost.report import MemoryEnergy
from offramp.cost.schedule import Execution, Region, Schedule, Transfer, TransferKind
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
    reports = {x.name: x for x in layer_reports(workload(), SCHEDULE, chips(quad())[0])}
    both = reports["a"]
    assert (both.core, both.start_cycle, both.end_cycle) == ("core0+core1", 10, 30)
    assert (both.compute_energy_pj, both.transfer_energy_pj, both.energy_pj) == (12, 100, 112)
    assert both.memory_energy == (MemoryEnergy("ram", "I", 6.0),)
    assert both.utilization == pytest.approx(64 * 12 / (1024 * 2 * 20))
    assert (reports["relu"].energy_pj, reports["relu"].start_cycle) == (0, 30)


def test_stages() -> None:
    first, second = stage_costs(workload(), SCHEDULE, layer_reports(workload(), SCHEDULE, chips(quad())[0]))
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
