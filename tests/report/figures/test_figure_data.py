from dataclasses import replace

import pytest

from offramp.cost.expected import expected_cost
from offramp.cost.report import LayerReport, MemoryEnergy
from offramp.objectives.evaluation import Evaluation, Objective, Status
from offramp.records.run_summary import RunSummary
from offramp.report.figures import figure_data
from offramp.report.figures.figure_data import ProgressPoint
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
    return {part.source: part.energy_pj for part in figure_data.energy_parts(report)}


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
    data = figure_data.breakdown(cost, rates)
    total = sum(row.expected_energy_pj for row in data.layers)
    assert total == pytest.approx(expected_cost(cost, rates).energy_pj)
    assert sum(data.expected_energy_pj(source) for source in data.sources) == pytest.approx(total)
    split = sum(data.expected_energy_pj(source, role) for source in data.sources for role in Role)
    assert split == pytest.approx(total)


def test_cycles_add_up_to_the_expected_latency_where_layers_follow_each_other() -> None:
    rates = (0.5, 0.3, 0.2)
    cost = fake.cost_report(fake.architecture())
    total = sum(row.expected_cycles for row in figure_data.breakdown(cost, rates).layers)
    assert total == pytest.approx(expected_cost(cost, rates).latency_cycles)


def test_a_layer_is_reached_by_those_who_did_not_leave_before() -> None:
    data = figure_data.breakdown(fake.cost_report(fake.architecture()), (0.5, 0.3, 0.2))
    reach = {row.stage: row.run_share for row in data.layers}
    assert reach == pytest.approx({0: 1.0, 1: 0.5, 2: 0.2})


def test_sources_come_largest_first_and_small_ones_are_gathered() -> None:
    memories = {f"m{i:02}": float(100 - i) for i in range(12)}
    cost = replace(fake.cost_report(fake.architecture(taps=())), layers=(layer(sum(memories.values()), 0.0, memories),))
    data = figure_data.breakdown(cost, (1.0,))
    assert data.sources == ("m00", "m01", "m02", "m03", "m04", "m05", "m06", "other")
    assert data.expected_energy_pj("other") == pytest.approx(sum(100 - i for i in range(7, 12)))


def test_front_panels_hold_every_complete_network_once(summary: RunSummary) -> None:
    complete = sum(item.status is Status.COMPLETE for item in summary.evaluations)
    for panel in figure_data.front_panels(summary):
        assert len(panel.candidates) + len(panel.front) == complete
        assert len(panel.front) == len(summary.front_indices)
        assert len(panel.fine_tuning) == 3
    assert [panel.metric for panel in figure_data.front_panels(summary)] == [axis[0] for axis in figure_data.AXES]


def test_energies_are_in_joule_and_points_carry_their_place_in_the_run(summary: RunSummary) -> None:
    panel = figure_data.front_panels(summary)[0]
    index = summary.front_indices[0]
    assert panel.front[0].cost == pytest.approx(summary.evaluations[index].values["energy_pj"] * 1e-12)
    assert panel.front[0].label == f"#{index + 1}"
    assert panel.statics[0].cost == pytest.approx(summary.static_reference.expected.energy_pj * 1e-12)


def test_the_line_joins_only_points_that_get_better(summary: RunSummary) -> None:
    for panel in figure_data.front_panels(summary):
        accuracies = [point.accuracy for point in panel.nondominated]
        costs = [point.cost for point in panel.nondominated]
        assert accuracies == sorted(set(accuracies))
        assert costs == sorted(set(costs))
        assert panel.nondominated[-1].accuracy == max(point.accuracy for point in panel.front)


def test_networks_picked_twice_share_a_label(summary: RunSummary) -> None:
    twin = replace(summary.chosen[0], rule="cheapest")
    panel = figure_data.front_panels(replace(summary, chosen=(summary.chosen[0], twin)))[0]
    assert [point.label for point in panel.chosen] == ["knee, cheapest"]


def test_static_networks_are_listed_once_with_the_reference_first(summary: RunSummary) -> None:
    statics = figure_data.static_networks(replace(summary, chosen=(*summary.chosen, *summary.chosen)))
    assert statics[0] is summary.static_reference
    assert len(statics) == 1 + len({network.static.architecture for network in summary.chosen})


def test_many_candidates_are_thinned(summary: RunSummary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_data, "MAX_CANDIDATES", 10)
    panel = figure_data.front_panels(summary)[0]
    assert 5 <= len(panel.candidates) <= 10
    assert len(panel.front) == len(summary.front_indices)


def test_the_worst_tenth_of_the_candidates_does_not_set_the_frame(summary: RunSummary) -> None:
    panel = figure_data.front_panels(summary)[0]
    worst = min(point.accuracy for point in panel.candidates)
    assert min(point.accuracy for point in panel.framed_points) > worst
    assert set(panel.front) | set(panel.chosen) | set(panel.statics) <= set(panel.framed_points)


def test_an_evaluation_without_details_or_values_is_left_out(summary: RunSummary) -> None:
    bare = replace(summary.evaluations[5], values={"accuracy": 0.9}, details=None)
    other = replace(summary, evaluations=(bare,), front_indices=(0,), chosen=())
    assert figure_data.front_panels(other)[0].front == ()
    assert figure_data.cost_of(summary.evaluations[5], "macs") is not None


def test_exit_bars_say_nothing_where_nobody_left(summary: RunSummary) -> None:
    network = summary.chosen[0]
    rates = (0.0,) * (network.num_exits - 1) + (1.0,)
    bars = figure_data.exit_bars(replace(network, validation=replace(network.validation, rates=rates)))
    assert [bar.accuracy is None for bar in bars if bar.split == "validation"] == [rate == 0.0 for rate in rates]
    assert [bar.split for bar in bars] == ["validation"] * network.num_exits + ["test"] * network.num_exits


def point(accuracy: float, energy: float, status: Status = Status.COMPLETE, violation: float = 0.0) -> Evaluation:
    return Evaluation(
        fake.architecture(), status, {"accuracy": accuracy, "energy_pj": energy}, (violation,) if violation else ()
    )


def test_hypervolume_by_hand() -> None:
    goals = (Objective("accuracy", "maximize"), Objective("energy_pj", "minimize"))
    items = (
        point(0.5, 1.0),  # scaled (1, 0): 0.1 * 1.1
        point(0.5, 2.0),  # dominated
        point(1.0, 2.0),  # scaled (0, 1): together 0.11 + 0.11 - 0.01
        point(0.9, 0.1, violation=1.0),  # does not count
        point(0.0, 0.0, Status.FAILED),
    )
    found = figure_data.hypervolume_progress(goals, items)
    assert found == (
        ProgressPoint(1, pytest.approx(0.11 / 0.21), 1),
        ProgressPoint(3, 1.0, 2),
        ProgressPoint(5, 1.0, 2),
    )


def test_hypervolume_never_shrinks(summary: RunSummary) -> None:
    shares = [item.share for item in figure_data.hypervolume_progress(summary.objectives, summary.evaluations)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_no_progress_without_feasible_networks_or_objectives(summary: RunSummary) -> None:
    assert figure_data.hypervolume_progress(summary.objectives, (point(0.9, 1.0, violation=1.0),)) == ()
    assert figure_data.hypervolume_progress((), summary.evaluations) == ()
    missing = (Objective("macs", "minimize"),)
    assert figure_data.hypervolume_progress(missing, (point(0.9, 1.0),)) == ()
