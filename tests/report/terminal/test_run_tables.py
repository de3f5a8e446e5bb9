import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from offramp.cost.capacity import MemoryNeed
from offramp.objectives.evaluation import Objective
from offramp.records.run_summary import RunSummary
from offramp.report.terminal import run_tables
from offramp.space.architecture import ExitChoice
from tests.report import fake


@pytest.fixture(scope="module")
def summary() -> RunSummary:
    return fake.fake_summary()


def printed(table: object, width: int = 140) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(table)
    return stream.getvalue().replace("\u00a0", " ")


def test_json_has_both_fronts_with_one_object_a_point_and_what_early_exits_add(summary: RunSummary) -> None:
    fronts = run_tables.summary_fronts(summary)
    found = json.loads(json.dumps(run_tables.fronts_json(fronts)))
    assert set(found) == {"early_exit", "static", "volume_beyond_static"}
    assert len(found["early_exit"]) == len(summary.front)
    assert len(found["static"]) == len(summary.static_front) > 0
    for point, evaluation in zip(found["early_exit"], summary.front, strict=True):
        assert point["architecture"]["backbone"] == "mobilenet_v2"
        assert point["validation_accuracy"] == evaluation.values["accuracy"]
        assert sum(point["exit_rates"]) == pytest.approx(1.0)
        assert set(point["expected"]) == {"latency_cycles", "energy_pj", "macs", "energy_delay_product_j_cycles"}
        assert point["expected"]["energy_pj"] == evaluation.values["energy_pj"]
    assert all(point["architecture"]["exits"] == [] for point in found["static"])
    assert found["volume_beyond_static"] == pytest.approx(fronts.volume_beyond())


def test_points_of_bare_evaluations(summary: RunSummary) -> None:
    bare = replace(summary.front[0], details=None, values={"accuracy": 0.5})
    point = run_tables.front_point(bare)
    assert point.exit_rates == ()
    assert point.expected.macs is None


def test_both_fronts_are_printed_sorted_with_taps(summary: RunSummary) -> None:
    early, static, added = run_tables.fronts_tables(run_tables.summary_fronts(summary))
    for table, places in ((early, "tap "), (static, "none")):
        lines = [line for line in printed(table).splitlines() if " %" in line]
        accuracies = [float(line.split("%")[0]) for line in lines]
        assert accuracies == sorted(accuracies, reverse=True)
        assert all(places in line for line in lines)
    assert "Front of networks with early exits" in printed(early)
    assert "Front of static networks" in printed(static)
    assert "add to the static front" in str(added)


def test_evaluations_table_tells_taps_where_depths_are_unknown(summary: RunSummary) -> None:
    output = printed(run_tables.evaluations_table(summary.front[:1]))
    assert "tap " in output
    assert "µJ" in output
    assert "cycles cycles" not in output
    without = replace(summary.front[0], architecture=summary.front[0].architecture.without_exits())
    assert "none" in printed(run_tables.evaluations_table([without]))
    cut = replace(without, architecture=replace(without.architecture, head=ExitChoice(9, "conv")))
    assert "end: tap 9" in printed(run_tables.evaluations_table([cut]))


def test_the_front_shows_the_measures_of_classes_that_were_optimised(summary: RunSummary) -> None:
    values = {"accuracy": 0.5, "recall:cat": 0.125, "balanced_accuracy": 0.75}
    member = replace(summary.front[0], values=values)
    metrics = ("recall:cat", "balanced_accuracy", "accuracy")
    objectives = (*(Objective(metric, "maximize") for metric in metrics), Objective("macs", "minimize"))
    output = printed(run_tables.evaluations_table([member], objectives=objectives), 200)
    shares = [word for word in output.split() if word in ("50.0", "12.5", "75.0")]
    assert shares == ["50.0", "12.5", "75.0"]
    assert "recall of" in output
    assert "Bal. acc." in output
    assert run_tables.front_point(member).values == values


def test_evaluations_without_values_show_dashes(summary: RunSummary) -> None:
    bare = replace(summary.front[0], details=None, values={})
    assert printed(run_tables.evaluations_table([bare])).count("–") == 6


def test_chosen_table_has_verdicts_matches_and_the_largest_network_in_one_row(summary: RunSummary) -> None:
    lines = [line for line in printed(run_tables.chosen_table(summary)).splitlines() if "%" in line]
    assert [line.split("  ")[0].strip() for line in lines] == [
        "knee",
        "most accurate",
        "cheapest",
        "match of knee",
        "match of most_accurate",
        "match of cheapest",
        "largest static network",
    ]
    assert all(line.rstrip().endswith("undecided") for line in lines[:3])
    assert all(line.rstrip().endswith("static") for line in lines[3:6])
    assert lines[6].rstrip().endswith("largest")
    expected = summary.chosen[0].expected_test
    assert expected is not None
    assert f"{expected.energy_pj * 1e-6:.2f} µJ" in lines[0]


def test_untested_networks_show_a_dash() -> None:
    assert "–" in printed(run_tables.chosen_table(fake.fake_summary(count=12, tested=False)))


def test_tables_fit_a_narrow_terminal(summary: RunSummary) -> None:
    for table in (*run_tables.fronts_tables(run_tables.summary_fronts(summary)), run_tables.chosen_table(summary)):
        assert max(len(line) for line in printed(table, 80).splitlines()) <= 80
    lines = printed(run_tables.chosen_table(summary), 80).splitlines()
    assert any("most accurate" in line and "undecided" in line for line in lines)


def test_names_bring_no_markup_and_no_control_sequences(summary: RunSummary) -> None:
    evil = "[red]x[/red]\x1b[2J\x07"
    reference = replace(summary.static_reference, name=evil)
    output = printed(run_tables.chosen_table(replace(summary, static_reference=reference)), 300)
    assert "[red]x[/red]" in output
    assert "\x1b" not in output
    assert "\x07" not in output


def test_networks_that_do_not_fit_the_memories_are_told_below_the_tables(summary: RunSummary) -> None:
    need = MemoryNeed("weights", "memory 'flash' of core 'flash'", 3 * 2**23, 2 * 2**23)
    chosen = replace(summary.chosen[0], cost=replace(summary.chosen[0].cost, memory=(need,)))
    table = run_tables.chosen_table(replace(summary, chosen=(chosen, *summary.chosen[1:])))
    assert "1 network of 7: The weights do not fit: they need 3 MiB at once" in printed(table)
    assert "do not fit" not in printed(run_tables.chosen_table(summary))
