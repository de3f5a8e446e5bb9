from dataclasses import replace

import pytest

from offramp.cost.expected import expected_cost
from offramp.cost.report import LayerReport, MemoryEnergy
from offramp.records.run_summary import RunSummary
from offramp.report.figures import exit_breakdown_data
from offramp.workload.graph import Role
from tests.report import fake


@pytest.fixture(scope="module")
def summary() -> RunSummary:
    return fake.fake_summary()


def layer(compute: float, transfer: float, memories: dict[str, float], stage: int = 0) -> LayerReport:
    parts = tuple(MemoryEnergy(name, "O", value) for name, value in memories.items())
    return LayerReport(
        "x", "conv", "core0", stage, Role.BACKBONE, 0.0, 10.0, 5, compute, transfer, 0.5, parts
    )  # fmt: skip


def parts_of(report: LayerReport) -> dict[str, float]:
    return {part.source: part.energy_pj for part in exit_breakdown_data.energy_parts(report)}


def test_what_the_memories_do_not_take_is_arithmetic() -> None:
    parts = parts_of(layer(100.0, 30.0, {"rf": 20.0, "sram": 50.0}))
    assert parts == {"rf": 20.0, "sram": 50.0, "arithmetic": 30.0, "transfers": 30.0}


def test_memories_that_hold_the_transfers_too_are_not_counted_twice() -> None:
    parts = parts_of(layer(100.0, 30.0, {"rf": 20.0, "dram": 100.0}))
    assert parts == {"rf": 20.0, "dram": 100.0, "arithmetic": 10.0}


def test_operands_of_one_memory_are_added() -> None:
    report = replace(layer(10.0, 0.0, {}), memory_energy=(MemoryEnergy("m", "I1", 4.0), MemoryEnergy("m", "O", 6.0)))
    assert parts_of(report) == {"m": 10.0}


def test_breakdown_adds_up_to_the_expected_energy() -> None:
    rates = (0.5, 0.3, 0.2)
    cost = fake.cost_report(fake.architecture())
    data = exit_breakdown_data.breakdown(cost, rates)
    total = sum(row.expected_energy_pj for row in data.layers)
    assert total == pytest.approx(expected_cost(cost, rates).energy_pj)
    assert sum(data.expected_energy_pj(source) for source in data.sources) == pytest.approx(total)
    split = sum(data.expected_energy_pj(source, role) for source in data.sources for role in Role)
    assert split == pytest.approx(total)


def test_cycles_add_up_to_the_expected_latency_where_layers_follow_each_other() -> None:
    rates = (0.5, 0.3, 0.2)
    cost = fake.cost_report(fake.architecture())
    total = sum(row.expected_cycles for row in exit_breakdown_data.breakdown(cost, rates).layers)
    assert total == pytest.approx(expected_cost(cost, rates).latency_cycles)


def test_a_layer_is_reached_by_those_who_did_not_leave_before() -> None:
    data = exit_breakdown_data.breakdown(fake.cost_report(fake.architecture()), (0.5, 0.3, 0.2))
    reach = {row.stage: row.run_share for row in data.layers}
    assert reach == pytest.approx({0: 1.0, 1: 0.5, 2: 0.2})


def test_sources_come_largest_first_and_small_ones_are_gathered() -> None:
    memories = {f"m{i:02}": float(100 - i) for i in range(12)}
    cost = replace(fake.cost_report(fake.architecture(taps=())), layers=(layer(sum(memories.values()), 0.0, memories),))
    data = exit_breakdown_data.breakdown(cost, (1.0,))
    assert data.sources == ("m00", "m01", "m02", "m03", "m04", "m05", "m06", "other")
    assert data.expected_energy_pj("other") == pytest.approx(sum(100 - i for i in range(7, 12)))


def test_exit_bars_say_nothing_where_nobody_left(summary: RunSummary) -> None:
    network = summary.chosen[0]
    rates = (0.0,) * (network.num_exits - 1) + (1.0,)
    bars = exit_breakdown_data.exit_bars(replace(network, validation=replace(network.validation, rates=rates)))
    assert [bar.accuracy is None for bar in bars if bar.split == "validation"] == [rate == 0.0 for rate in rates]
    assert [bar.split for bar in bars] == ["validation"] * network.num_exits + ["test"] * network.num_exits
