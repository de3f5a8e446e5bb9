from dataclasses import replace

import pytest

from offramp.records.run_summary import RunSummary
from offramp.report import units
from offramp.report.figures import exit_breakdown_data
from offramp.report.pages import tables
from tests.report import fake


@pytest.fixture(scope="module")
def summary() -> RunSummary:
    return fake.fake_summary()


def texts(table: tables.Table, row: int) -> list[str]:
    return [cell.text.replace(units.NBSP, " ") for cell in table.rows[row]]


def notes(table: tables.Table, row: int) -> list[str]:
    return [cell.note.replace(units.NBSP, " ") for cell in table.rows[row]]


def test_rows_must_fit_the_columns() -> None:
    with pytest.raises(ValueError, match="2 cells, got 1"):
        tables.Table("x", (tables.Column("a"), tables.Column("b")), ((tables.Cell("1"),),))


def test_wilson_interval_of_nine_in_ten() -> None:
    # (0.9 + 0.19207 +- 1.95996 sqrt(0.009 + 0.0096036)) / 1.384146 = 0.5958, 0.9821
    assert tables.interval(0.9, 10) == f"59.6 to 98.2{units.NBSP}%"
    assert tables.interval(0.9, 0) == ""
    assert tables.interval(1.5, 10) == ""


def test_chosen_table_holds_the_measured_costs_and_the_gains_over_the_match(summary: RunSummary) -> None:
    table = tables.chosen_table(summary)
    network = summary.chosen[0]
    assert network.test is not None
    assert network.expected_test is not None
    assert network.match is not None
    row = texts(table, 0)
    assert row[:2] == ["knee", "undecided"]
    assert notes(table, 0)[1] == ""
    assert row[3] == units.percent(network.test.top1).replace(units.NBSP, " ")
    assert row[4] == units.energy(network.expected_test.energy_pj).replace(units.NBSP, " ")
    assert network.verdict is not None
    gain = network.verdict.gain("energy_delay_product_j_cycles")
    assert notes(table, 0)[6] == f"{gain.value:.1f}× less ({gain.low:.1f} to {gain.high:.1f})"
    assert notes(table, 0)[7] == ""
    assert "test images" in table.caption


def test_matches_have_rows_and_the_largest_network_is_the_last_one_alone(summary: RunSummary) -> None:
    table = tables.chosen_table(summary)
    names = [texts(table, row)[0] for row in range(len(table.rows))]
    assert names[3:] == ["match of knee", "match of most_accurate", "match of cheapest", "largest static network"]
    assert notes(table, 3)[1] == "match of knee"
    assert notes(table, 6)[1] == "largest network"
    assert notes(table, 6)[4:] == [""] * 4


def test_a_static_network_that_is_chosen_and_compared_with_has_one_row(summary: RunSummary) -> None:
    match = summary.chosen[0].match
    assert match is not None
    static = fake.chosen("cheapest", fake.evaluation(fake.architecture(taps=()), 0.9, 0.75))
    knee = replace(summary.chosen[0], match_at_cost=replace(match, name="cheapest"))
    table = tables.chosen_table(replace(summary, chosen=(knee, static)))
    assert [texts(table, row)[0] for row in range(len(table.rows))] == [
        "knee",
        "cheapest",
        "match of knee",
        "match of cheapest",
        "largest static network",
    ]
    assert notes(table, 1)[1] == "same cost as knee"


def test_untested_networks_say_so() -> None:
    table = tables.chosen_table(fake.fake_summary(count=12, tested=False))
    assert {texts(table, row)[3] for row in range(len(table.rows))} == {"not measured"}
    assert {texts(table, row)[1] for row in range(3)} == {"before training"}
    assert "validation images" in table.caption


def test_exits_table_by_hand() -> None:
    network = fake.chosen("knee", fake.evaluation(fake.architecture(), 0.9, 0.75), tested=False, gain=0.0)
    table = tables.exits_table(network, fake.MAX_DEPTHS)
    assert texts(table, 0)[:5] == ["Exit 1", "0.830", "75.0 %", "91.2 %", "84.0 %"]
    assert notes(table, 0)[0] == "after tap 1, pool_linear"
    assert texts(table, 2)[:3] == ["Final exit", "takes the rest", "6.2 %"]
    stage = network.cost.stages[1]
    assert texts(table, 1)[5] == units.energy(stage.energy_to_exit_pj).replace(units.NBSP, " ")
    assert "validation images" in table.caption


def test_exits_table_has_validation_below_test(summary: RunSummary) -> None:
    table = tables.exits_table(summary.chosen[0], summary.max_depths)
    rate = summary.chosen[0].validation.rates[0]
    assert notes(table, 0)[2] == f"validation {100 * rate:.1f} %"


def test_closed_exits_and_exits_that_nobody_takes(summary: RunSummary) -> None:
    network = summary.chosen[0]
    last = network.num_exits - 1
    shut = replace(
        network,
        policy=replace(network.policy, thresholds=(1.5,) * last),
        validation=replace(network.validation, rates=(0.0,) * last + (1.0,)),
        test=None,
        expected_test=None,
    )
    row = texts(tables.exits_table(shut, summary.max_depths), 0)
    assert row[1:4] == ["closed", "0.0 %", "–"]


def test_front_table_is_in_order_of_accuracy(summary: RunSummary) -> None:
    table = tables.front_table(summary)
    accuracies = [float(texts(table, row)[1].split()[0]) for row in range(len(table.rows))]
    assert accuracies == sorted(accuracies, reverse=True)
    assert {cell[0].text for cell in table.rows} == {f"#{index + 1}" for index in summary.front_indices}


def test_the_static_front_has_a_table_of_its_own(summary: RunSummary) -> None:
    table = tables.static_front_table(summary)
    assert len(table.rows) == len(summary.static_front) > 0
    assert {texts(table, row)[6] for row in range(len(table.rows))} == {"100 %"}


def test_front_table_bears_missing_details(summary: RunSummary) -> None:
    bare = replace(summary.evaluations[5], values={}, details=None)
    table = tables.front_table(replace(summary, evaluations=(bare,), front_indices=(0,)))
    assert texts(table, 0)[1:7] == ["–"] * 6


def test_energy_table_adds_up() -> None:
    cost = fake.cost_report(fake.architecture())
    table = tables.energy_table(exit_breakdown_data.breakdown(cost, (0.0, 0.0, 1.0)))
    assert texts(table, len(table.rows) - 1)[0] == "all"
    assert texts(table, len(table.rows) - 1)[3] == units.energy(cost.stages[-1].energy_to_exit_pj).replace(
        units.NBSP, " "
    )
    shares = [float(texts(table, row)[4].split()[0]) for row in range(len(table.rows) - 1)]
    assert sum(shares) == pytest.approx(100.0, abs=0.5)
    assert texts(table, 0)[0] == "dram"


def test_energy_table_without_energy() -> None:
    table = tables.energy_table(exit_breakdown_data.Breakdown((), ()))
    assert texts(table, 0) == ["all", "0 J", "0 J", "0 J", "0.0 %"]


def test_facts_name_everything_that_makes_the_run_repeatable(summary: RunSummary) -> None:
    facts = {row[0].text: row[1].text.replace(units.NBSP, " ") for row in tables.facts_table(summary).rows}
    assert facts["Data"] == "digits, 10 classes, input 1 × 8 × 8"
    assert facts["Training images"] == "1 167"
    assert facts["Test images"] == "360"
    assert facts["Data fingerprint"].startswith("sha256:3f9a")
    assert facts["Cost engine"] == "native 1.0.0"
    assert facts["Convention"] == "offramp"
    assert facts["Constraints"] == "expected MACs <= 2.40 M MACs"
    assert facts["Networks tried"] == "60 (1 failed, 1 broke a constraint)"
    assert facts["Seed"] == "0"
    assert facts["Duration"] == "2 min 5 s"
    assert facts["Made"] == "2025-11-03 14:05 UTC"
    assert facts["torch"] == "2.13.0"


def test_facts_that_are_not_known(summary: RunSummary) -> None:
    bare = replace(summary, duration_s=None, clock_hz=None, constraints=(), objectives=())
    facts = {row[0].text: row[1].text for row in tables.facts_table(bare).rows}
    assert facts["Duration"] == "not recorded"
    assert facts["Clock"] == "not given"
    assert facts["Constraints"] == "none"
    assert facts["Objectives"] == "none"
