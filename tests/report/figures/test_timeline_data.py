"""The timeline's rows, bars and marks: by hand, and of real schedules in both mappings."""

from dataclasses import replace
from itertools import pairwise

import pytest

from offramp.cost.mapping.layer_by_layer.layer_by_layer_model import LayerByLayerModel
from offramp.cost.mapping.optimized.optimized_model import OptimizedModel
from offramp.cost.report import BusySpan
from offramp.hardware.loader import load_accelerator
from offramp.report.figures.timeline_data import MAX_LINKS, busy_table, link_label, timeline
from offramp.workload.graph import Role
from tests.cost.mapping.optimized.test_mapping_steps import two_stages
from tests.cost.toys import ToyEngine
from tests.report import fake

QUAD = load_accelerator("edge-tpu-quad")
CORES = tuple(core.name for core in QUAD.cores if core.name != "offchip")


def test_marks_are_the_ends_of_the_branches() -> None:
    cost = fake.cost_report(fake.architecture())
    data = timeline(cost, fake.CORES)
    assert data.cores == fake.CORES
    assert data.links == ()
    assert [mark.label for mark in data.marks] == ["Exit 1", "Exit 2", "Final exit"]
    # The fake schedule starts 542 cycles late and has no gaps.
    ends = [stage.latency_to_exit_cycles + 542 for stage in cost.stages]
    assert [mark.cycle for mark in data.marks] == pytest.approx(ends)


def test_without_core_names_the_cores_in_use_are_shown() -> None:
    data = timeline(fake.cost_report(fake.architecture()))
    assert set(data.cores) == set(fake.CORES) - {"simd"}


def test_a_split_layer_is_on_every_core_that_computes_it() -> None:
    report = OptimizedModel(ToyEngine()).estimate(two_stages(), QUAD)
    data = timeline(report, CORES)
    split = {layer.name: layer.core.split("+") for layer in report.layers}
    assert any(len(cores) == 4 for cores in split.values())
    for name, cores in split.items():
        assert {bar.row for bar in data.bars if bar.name == name and not bar.carries} == set(cores)
    assert data.cores == CORES
    assert not any("+" in row for row in data.rows)


@pytest.mark.parametrize("mapping", ["optimized", "layer_by_layer"])
def test_every_transfer_has_its_row_and_nothing_overlaps(mapping: str) -> None:
    model = OptimizedModel(ToyEngine()) if mapping == "optimized" else LayerByLayerModel(ToyEngine())
    report = model.estimate(two_stages(), QUAD)
    data = timeline(report, CORES)
    assert data.links[0] == "offchip link"
    carried = {bar.carries for bar in data.bars if bar.row == "offchip link"}
    assert {"weights", "input", "logits"} <= carried
    assert {x.role for x in data.bars if x.row == "offchip link"} == {Role.BACKBONE, Role.BRANCH}
    for row in data.rows:
        mine = sorted((x.start_cycle, x.end_cycle) for x in data.bars if x.row == row)
        assert "other links" in row or all(one[1] <= two[0] for one, two in pairwise(mine))
    assert sum(x.end_cycle - x.start_cycle for x in data.bars) == sum(x.end_cycle - x.start_cycle for x in report.busy)


def test_marks_of_an_optimized_mapping_are_its_latencies() -> None:
    report = OptimizedModel(ToyEngine()).estimate(two_stages(), QUAD)
    data = timeline(report)
    assert [mark.cycle for mark in data.marks] == [stage.latency_to_exit_cycles for stage in report.stages]
    assert data.end_cycle == data.marks[-1].cycle


def with_links(count: int) -> tuple[BusySpan, ...]:
    name = fake.cost_report(fake.architecture()).layers[0].name
    links = [BusySpan(f"n{i}->n{i + 1}", name, 0, 100 - i, "activation") for i in range(count)]
    return (*links, BusySpan("bus", name, 0, 1, "weights"), BusySpan("core0", name, 0, 50))


def test_many_links_share_a_row() -> None:
    cost = replace(fake.cost_report(fake.architecture()), busy=with_links(20))
    data = timeline(cost)
    assert len(data.links) == MAX_LINKS
    # The way off chip first, though it is hardly used; then the busiest.
    assert data.links[:2] == ("bus link", "n0 → n1")
    assert data.links[-1] == "10 other links"
    # Ten links are busy at the same time: that counts once.
    assert data.busy_cycles("10 other links") == 90
    few = timeline(replace(cost, busy=with_links(11)))
    assert len(few.links) == 12
    assert not any("other" in row for row in few.links)


def test_labels() -> None:
    assert link_label("core0->core1") == "core0 → core1"
    assert link_label("offchip") == "offchip link"


def test_busy_shares_by_hand() -> None:
    cost = fake.cost_report(fake.architecture())
    name, branch = cost.layers[0].name, next(x.name for x in cost.layers if x.role is Role.BRANCH)
    spans = (BusySpan("core0", name, 0, 30), BusySpan("core0", branch, 40, 50), BusySpan("bus", name, 0, 20, "weights"))
    stages = tuple(replace(stage, latency_to_exit_cycles=100.0) for stage in cost.stages)
    data = timeline(replace(cost, busy=spans, stages=stages, mapping="optimized"), ("core0", "idle"))
    rows = [[cell.text.replace("\u00a0", " ") for cell in row] for row in busy_table(data).rows]
    assert rows == [
        ["core0", "40.0 cycles", "40.0 %", "30.0 %", "10.0 %"],
        ["idle", "0 cycles", "0.0 %", "0.0 %", "0.0 %"],
        ["bus link", "20.0 cycles", "20.0 %", "20.0 %", "0.0 %"],
    ]
