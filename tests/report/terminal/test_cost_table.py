"""The cost of a model in the terminal and as JSON."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from offramp.cost.expected import expected_cost
from offramp.cost.priced_model import PricedModel
from offramp.report.terminal.cost_table import cost_json, cost_table
from tests.report import fake


def printed(table: object, width: int = 140) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(table)
    return stream.getvalue().replace("\u00a0", " ")


def priced(rates: tuple[float, ...] | None = (0.5, 0.3, 0.2)) -> PricedModel:
    report = fake.cost_report(fake.architecture())
    static = fake.cost_report(fake.architecture(taps=()))
    return PricedModel("net.onnx", report, static, expected_cost(report, rates) if rates else None)


def test_cost_json_names_every_stage() -> None:
    item = priced()
    data = json.loads(json.dumps(cost_json(item)))
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
    data = cost_json(item)
    assert data["expected"]["energy_delay_product_j_cycles"] == pytest.approx(by_hand)
    assert {"latency_cycles", "energy_pj", "macs"} <= set(data["expected"])
    assert cost_json(priced(None))["expected"] is None


def test_cost_tables_name_both_products_the_mapping_and_what_is_left_out() -> None:
    found = priced()
    report = replace(found.report, leaves_out=("Leakage.",), mapping="optimized", mapping_steps=("on_chip", "fuse"))
    output = " ".join(printed(cost_table(replace(found, report=report))).split())
    assert "mapping optimized without prefetch, split, beside, optimum" in output
    assert "Left out: - Leakage." in output
    assert "as the mean of the products" in output
    assert "as the product of the means" in output
    assert "Expected product" not in printed(cost_table(priced(None)))


def test_cost_json_names_the_mapping_and_what_is_left_out() -> None:
    found = priced()
    report = replace(found.report, leaves_out=("Leakage.",), mapping="optimized", mapping_steps=("on_chip",))
    data = json.loads(json.dumps(cost_json(replace(found, report=report))))
    assert (data["mapping"], data["mapping_steps"], data["leaves_out"]) == ("optimized", ["on_chip"], ["Leakage."])
    assert data["expected"]["energy_delay_product_j_cycles"] > data["expected"]["product_of_means_j_cycles"] > 0
    assert all(stage["speculation_energy_pj"] == 0 for stage in data["stages"])


def test_cost_table_rows() -> None:
    output = printed(cost_table(priced()))
    assert "exit_2" in output
    assert "static network" in output
    assert "expected" in output
    assert "compared with the static network" in output
    assert "expected" not in printed(cost_table(priced(None)))


def test_warnings_are_told_once() -> None:
    item = priced()
    both = replace(item.static, warnings=("b", "c"))
    item = replace(item, report=replace(item.report, warnings=("a", "b")), static=both)
    assert cost_json(item)["warnings"] == ["a", "b", "Static network: c"]
    shown = str(cost_table(item).caption)
    assert [line for line in shown.splitlines() if line in ("a", "b", "Static network: c")]


def test_names_from_files_are_shown_as_they_are() -> None:
    shown = printed(cost_table(replace(priced(), model="[red]x[/red]\x1b[2J")))
    assert "[red]x[/red]" in shown
    assert "\x1b" not in shown


def test_the_table_fits_a_narrow_terminal() -> None:
    assert max(len(line) for line in printed(cost_table(priced()), 80).splitlines()) <= 80


def test_the_json_has_these_keys_in_this_order() -> None:
    data = cost_json(priced())
    assert " ".join(data) == (
        "model accelerator engine engine_version convention mapping mapping_steps stages static expected warnings "
        "leaves_out memory weight_density device"
    )
    assert " ".join(data["stages"][0]) == (
        "exit backbone_latency_cycles gap_cycles branch_latency_cycles stage_latency_cycles stage_energy_pj "
        "latency_to_exit_cycles energy_to_exit_pj macs_to_exit speculation_energy_pj"
    )
