import io
import json
from dataclasses import dataclass, replace

import pytest
from rich.console import Console

from offramp.cost.expected import ExpectedCost, expected_cost
from offramp.cost.report import CostReport
from offramp.records.run_summary import RunSummary
from offramp.report.terminal import text
from tests.report import fake


@dataclass(frozen=True)
class Priced:
    model: str
    report: CostReport
    static: CostReport
    expected: ExpectedCost | None
    core_names: tuple[str, ...] = ()
    weight_density: float | None = None


@pytest.fixture(scope="module")
def summary() -> RunSummary:
    return fake.fake_summary()


def printed(table: object, width: int = 140) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(table)
    return stream.getvalue().replace("\u00a0", " ")


def priced(rates: tuple[float, ...] | None = (0.5, 0.3, 0.2)) -> Priced:
    report = fake.cost_report(fake.architecture())
    static = fake.cost_report(fake.architecture(taps=()))
    return Priced("net.onnx", report, static, expected_cost(report, rates) if rates else None)


def test_front_json_has_one_object_a_point(summary: RunSummary) -> None:
    points = json.loads(json.dumps(text.front_json(summary.front)))
    assert len(points) == len(summary.front)
    for point, evaluation in zip(points, summary.front, strict=True):
        assert point["architecture"]["backbone"] == "mobilenet_v2"
        assert point["validation_accuracy"] == evaluation.values["accuracy"]
        assert sum(point["exit_rates"]) == pytest.approx(1.0)
        assert set(point["expected"]) == {"latency_cycles", "energy_pj", "macs", "energy_delay_product_j_cycles"}
        assert point["expected"]["energy_pj"] == evaluation.values["energy_pj"]


def test_front_json_of_bare_evaluations(summary: RunSummary) -> None:
    bare = replace(summary.front[0], details=None, values={"accuracy": 0.5})
    (point,) = text.front_json([bare])
    assert point["exit_rates"] == []
    assert point["expected"]["macs"] is None
    assert text.front_json([]) == []


def test_front_table_is_sorted_and_tells_blocks(summary: RunSummary) -> None:
    lines = [line for line in printed(text.front_table(summary)).splitlines() if " %" in line]
    accuracies = [float(line.split("%")[0]) for line in lines]
    assert accuracies == sorted(accuracies, reverse=True)
    assert all("block " in line for line in lines)


def test_evaluations_table_tells_taps_where_depths_are_unknown(summary: RunSummary) -> None:
    output = printed(text.evaluations_table(summary.front[:1]))
    assert "tap " in output
    assert "µJ" in output
    assert "cycles cycles" not in output
    without = replace(summary.front[0], architecture=summary.front[0].architecture.without_exits())
    assert "none" in printed(text.evaluations_table([without]))


def test_evaluations_without_values_show_dashes(summary: RunSummary) -> None:
    bare = replace(summary.front[0], details=None, values={})
    assert printed(text.evaluations_table([bare])).count("–") == 6


def test_chosen_table_compares_with_the_reference(summary: RunSummary) -> None:
    lines = [line for line in printed(text.chosen_table(summary)).splitlines() if "%" in line]
    assert [line.split("  ")[0].strip() for line in lines] == [
        "knee",
        "most accurate",
        "cheapest",
        "largest static network",
    ]
    assert all("× less" in line for line in lines[:3])
    assert lines[3].rstrip().endswith("reference")
    expected = summary.chosen[0].expected_test
    assert expected is not None
    assert f"{expected.energy_pj * 1e-6:.2f} µJ" in lines[0]


def test_untested_networks_show_a_dash() -> None:
    assert "–" in printed(text.chosen_table(fake.fake_summary(count=12, tested=False)))


def test_tables_fit_a_narrow_terminal(summary: RunSummary) -> None:
    for table in (text.front_table(summary), text.chosen_table(summary), text.cost_table(priced())):
        assert max(len(line) for line in printed(table, 80).splitlines()) <= 80
    lines = printed(text.chosen_table(summary), 80).splitlines()
    assert any("most accurate" in line and "× less" in line for line in lines)


def test_names_bring_no_markup_and_no_control_sequences(summary: RunSummary) -> None:
    evil = "[red]x[/red]\x1b[2J\x07"
    reference = replace(summary.static_reference, name=evil)
    output = printed(text.chosen_table(replace(summary, static_reference=reference)), 300)
    assert "[red]x[/red]" in output
    assert "\x1b" not in output
    assert "\x07" not in output
    shown = printed(text.cost_table(replace(priced(), model=evil)))
    assert "\x1b" not in shown


def test_cost_json_names_every_stage() -> None:
    item = priced()
    data = json.loads(json.dumps(text.cost_json(item)))
    assert data["model"] == "net.onnx"
    assert data["accelerator"] == "edge-tpu-quad"
    assert data["engine"] == "native"
    assert data["convention"] == "offramp"
    assert [stage["exit"] for stage in data["stages"]] == ["exit_0", "exit_1", "exit_2"]
    last = item.report.stages[-1]
    assert data["stages"][-1]["latency_to_exit_cycles"] == last.latency_to_exit_cycles
    assert data["stages"][-1]["energy_to_exit_pj"] == last.energy_to_exit_pj
    assert data["stages"][-1]["macs_to_exit"] == last.macs_to_exit
    needed = {"exit", "backbone_latency_cycles", "branch_latency_cycles"}
    assert all(needed <= set(stage) for stage in data["stages"])


def test_expected_cost_in_json_is_the_mean_over_the_exits() -> None:
    item = priced()
    stages = item.report.stages
    by_hand = sum(
        rate * stage.energy_to_exit_pj * 1e-12 * stage.latency_to_exit_cycles
        for rate, stage in zip((0.5, 0.3, 0.2), stages, strict=True)
    )
    data = text.cost_json(item)
    assert data["expected"]["energy_delay_product_j_cycles"] == pytest.approx(by_hand)
    assert {"latency_cycles", "energy_pj", "macs"} <= set(data["expected"])
    assert text.cost_json(priced(None))["expected"] is None


def test_cost_tables_name_both_products_the_mapping_and_what_is_left_out() -> None:
    found = priced()
    report = replace(found.report, leaves_out=("Leakage.",), mapping="optimized", mapping_steps=("on_chip", "fuse"))
    output = " ".join(printed(text.cost_table(replace(found, report=report))).split())
    assert "mapping optimized without prefetch, split, beside, optimum" in output
    assert "Left out: - Leakage." in output
    assert "as the mean of the products" in output
    assert "as the product of the means" in output
    assert "Expected product" not in printed(text.cost_table(priced(None)))


def test_cost_json_names_the_mapping_and_what_is_left_out() -> None:
    found = priced()
    report = replace(found.report, leaves_out=("Leakage.",), mapping="optimized", mapping_steps=("on_chip",))
    data = json.loads(json.dumps(text.cost_json(replace(found, report=report))))
    assert (data["mapping"], data["mapping_steps"], data["leaves_out"]) == ("optimized", ["on_chip"], ["Leakage."])
    assert data["expected"]["energy_delay_product_j_cycles"] > data["expected"]["product_of_means_j_cycles"] > 0
    assert all(stage["speculation_energy_pj"] == 0 for stage in data["stages"])


def test_cost_table_rows() -> None:
    output = printed(text.cost_table(priced()))
    assert "exit_2" in output
    assert "static network" in output
    assert "expected" in output
    assert "compared with the static network" in output
    assert "expected" not in printed(text.cost_table(priced(None)))


def test_warnings_are_told_once() -> None:
    item = priced()
    both = replace(item.static, warnings=("b", "c"))
    item = replace(item, report=replace(item.report, warnings=("a", "b")), static=both)
    assert text.cost_json(item)["warnings"] == ["a", "b", "Static network: c"]
    shown = str(text.cost_table(item).caption)
    assert [line for line in shown.splitlines() if line in ("a", "b", "Static network: c")]
