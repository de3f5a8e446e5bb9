import re
from dataclasses import replace
from typing import Any

import pytest

from offramp.records.report_items import TrainingCurve
from offramp.records.run_summary import RunSummary
from offramp.report.figures import exit_breakdown_data, front_data, palette
from offramp.report.figures import run_figures as figures
from offramp.report.figures.front_data import ProgressPoint
from offramp.report.figures.front_figure import plot_front
from offramp.report.figures.timeline_data import timeline
from offramp.report.figures.timeline_figure import plot_timeline
from tests.report import fake

LIGHT = {colour.light for colour in palette.COLOURS}


@pytest.fixture(scope="module")
def summary() -> RunSummary:
    return fake.fake_summary()


def all_figures(summary: RunSummary) -> list[Any]:
    network = summary.chosen[0]
    parts = exit_breakdown_data.breakdown(network.cost, network.validation.rates)
    return [
        *(plot_front(panel) for panel in front_data.front_panels(summary)),
        figures.plot_exits(exit_breakdown_data.exit_bars(network)),
        figures.plot_layer_energy(parts),
        figures.plot_layer_cycles(parts),
        figures.plot_energy_split(parts),
        plot_timeline(timeline(network.cost, summary.core_names)),
        figures.plot_training(summary.training[0]),
        figures.plot_progress(front_data.hypervolume_progress(summary.objectives, summary.evaluations)),
    ]


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in strings(item)]
    return []


def test_figures_use_only_colours_that_the_page_can_exchange(summary: RunSummary) -> None:
    for figure in all_figures(summary):
        data = figure.to_plotly_json()
        data["layout"].pop("template", None)
        used = {text for text in strings(data) if re.fullmatch(r"#[0-9a-fA-F]{3,8}", text)}
        assert used <= LIGHT | {text for text in used if re.fullmatch(r"#\d{1,3}", text)}
        assert used & LIGHT


def test_stacked_energies_add_up(summary: RunSummary) -> None:
    network = summary.chosen[0]
    parts = exit_breakdown_data.breakdown(network.cost, network.validation.rates)
    figure = figures.plot_layer_energy(parts)
    drawn = sum(sum(trace.x) for trace in figure.data)
    expected = network.expected_validation.energy_pj * 1e-12
    assert "(nJ)" in figure.layout.xaxis.title.text
    assert drawn * 1e-9 == pytest.approx(expected, rel=1e-4)
    split = figures.plot_energy_split(parts)
    assert sum(sum(trace.x) for trace in split.data) * 1e-6 == pytest.approx(expected, rel=1e-4)


def test_every_layer_has_a_row_even_if_names_shorten_to_the_same(summary: RunSummary) -> None:
    cost = fake.cost_report(fake.architecture(), prefix="a.very.long.prefix.that.is.cut.in.the.middle.")
    parts = exit_breakdown_data.breakdown(cost, (0.5, 0.3, 0.2))
    figure = figures.plot_layer_cycles(parts)
    assert sum(len(trace.y) for trace in figure.data) == len(cost.layers)
    assert len(figure.layout.yaxis.ticktext) == len(cost.layers)
    assert max(len(text) for text in figure.layout.yaxis.ticktext) <= 24
    # The end of a name tells layers apart.
    assert figure.layout.yaxis.ticktext[0].startswith("…")
    assert figure.layout.yaxis.ticktext[0].endswith(".blocks.0.depthwise")
    assert figure.layout.height > 20 * len(cost.layers)


def test_exits_show_rates_and_accuracies_of_both_splits(summary: RunSummary) -> None:
    network = summary.chosen[0]
    figure = figures.plot_exits(exit_breakdown_data.exit_bars(network))
    assert [trace.name for trace in figure.data] == ["Validation", "Validation", "Test", "Test"]
    assert sum(figure.data[0].x) == pytest.approx(100.0, abs=1e-3)
    assert network.test is not None
    assert list(figure.data[3].x) == pytest.approx([100 * value for value in network.test.accuracies], abs=1e-3)


def test_an_exit_that_nobody_takes_says_so(summary: RunSummary) -> None:
    network = summary.chosen[0]
    rates = (0.0,) * (network.num_exits - 1) + (1.0,)
    closed = replace(network, validation=replace(network.validation, rates=rates), test=None, expected_test=None)
    figure = figures.plot_exits(exit_breakdown_data.exit_bars(closed))
    assert figure.data[1].text[0] == "nobody"


def test_a_supernet_with_many_exits_keeps_its_legend_short() -> None:
    curve = TrainingCurve("supernet", (1, 2), (2.0, 1.0), tuple((0.1 * e, 0.1 * e) for e in range(10)))
    figure = figures.plot_training(curve)
    shown = [trace.name for trace in figure.data if trace.showlegend]
    assert shown == ["Early exits", "Final exit"]
    assert len(figure.data) == 11


def test_a_curve_without_accuracies_is_one_panel() -> None:
    figure = figures.plot_training(TrainingCurve("loss only", (1,), (2.0,)))
    assert len(figure.data) == 1
    assert figure.data[0].mode == "lines+markers"


def test_progress_of_a_single_point_is_a_marker() -> None:
    figure = figures.plot_progress((ProgressPoint(1, 1.0, 1),))
    assert figure.data[0].mode == "markers"


def test_names_cannot_bring_markup_of_their_own(summary: RunSummary) -> None:
    network = summary.chosen[0]
    evil = '<a href="x">&'
    layers = tuple(replace(layer, name=evil, core=evil, op=evil) for layer in network.cost.layers)
    cost = replace(network.cost, layers=layers)
    parts = exit_breakdown_data.breakdown(cost, network.validation.rates)
    drawn = [
        figures.plot_layer_energy(parts),
        figures.plot_layer_cycles(parts),
        plot_timeline(timeline(cost)),
    ]
    texts = [text for figure in drawn for text in strings(figure.to_plotly_json())]
    assert any("&lt;a href" in text for text in texts)
    assert not any("<a" in text for text in texts)
