import re
from dataclasses import replace
from typing import Any

import pytest

from offramp.report import figure_data, figures, palette
from offramp.report.figure_data import FrontPanel, Point, ProgressPoint
from offramp.report.summary import RunSummary, TrainingCurve
from tests.report import fake

LIGHT = {colour.light for colour in palette.COLOURS}


@pytest.fixture(scope="module")
def summary() -> RunSummary:
    return fake.fake_summary()


def all_figures(summary: RunSummary) -> list[Any]:
    network = summary.chosen[0]
    parts = figure_data.breakdown(network.cost, network.validation.rates)
    return [
        *(figures.plot_front(panel) for panel in figure_data.front_panels(summary)),
        figures.plot_exits(figure_data.exit_bars(network)),
        figures.plot_layer_energy(parts),
        figures.plot_layer_cycles(parts),
        figures.plot_energy_split(parts),
        figures.plot_timeline(figure_data.timeline(network.cost, summary.core_names)),
        figures.plot_training(summary.training[0]),
        figures.plot_progress(figure_data.progress(summary.objectives, summary.evaluations)),
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


def panel_of(points: list[Point], chosen: list[Point] | None = None) -> FrontPanel:
    return FrontPanel("energy_pj", "Energy", "J", (), tuple(points), tuple(points), tuple(chosen or ()), (), ())


def test_axes_have_units_and_numbers_fit_them() -> None:
    figure = figures.plot_front(panel_of([Point(2e-6, 0.9, "a", "x"), Point(4e-6, 0.95, "b", "y")]))
    assert figure.layout.xaxis.title.text == "Energy (µJ)"
    assert figure.layout.yaxis.title.text == "Validation accuracy (%)"
    assert list(figure.data[0].x) == [2.0, 4.0]
    assert list(figure.data[0].y) == [90.0, 95.0]
    assert figure.layout.xaxis.type == "linear"


def test_costs_that_differ_by_much_get_a_logarithmic_axis() -> None:
    points = [Point(1e-6, 0.9, "a", "x"), Point(30e-6, 0.95, "b", "y")]
    figure = figures.plot_front(panel_of(points, chosen=points[1:]))
    low, high = figure.layout.xaxis.range
    assert figure.layout.xaxis.type == "log"
    assert 10**low < 1.0 < 30.0 < 10**high
    assert list(figure.layout.xaxis.ticktext) == ["1", "2", "5", "10", "20"]
    assert figure.layout.annotations[0].x == pytest.approx(1.47712, abs=1e-5)


@pytest.mark.parametrize("count", [0, 1])
def test_few_points_get_a_frame_around_them(count: int) -> None:
    figure = figures.plot_front(panel_of([Point(3e-6, 0.9, "a", "x")][:count]))
    for axis, value in ((figure.layout.xaxis, 3.0), (figure.layout.yaxis, 90.0)):
        assert axis.range[0] < axis.range[1]
        assert count == 0 or axis.range[0] < value < axis.range[1]


def test_zero_cost_stays_on_a_linear_axis() -> None:
    figure = figures.plot_front(panel_of([Point(0.0, 0.5, "a", "x"), Point(3e-6, 0.9, "b", "y")]))
    assert figure.layout.xaxis.type == "linear"
    assert figure.layout.xaxis.range[0] == 0.0


def test_chosen_networks_and_the_reference_are_named(summary: RunSummary) -> None:
    figure = figures.plot_front(figure_data.front_panels(summary)[0])
    names = [note.text for note in figure.layout.annotations]
    assert names == ["<b>knee</b>", "<b>most accurate</b>", "<b>cheapest</b>", "<b>static reference</b>"]


def test_hover_tells_the_architecture(summary: RunSummary) -> None:
    figure = figures.plot_front(figure_data.front_panels(summary)[0])
    front = next(trace for trace in figure.data if trace.name == "Front" and trace.mode == "markers")
    assert all("mobilenet_v2" in text and "depths" in text for text in front.hovertext)


def test_stacked_energies_add_up(summary: RunSummary) -> None:
    network = summary.chosen[0]
    parts = figure_data.breakdown(network.cost, network.validation.rates)
    figure = figures.plot_layer_energy(parts)
    drawn = sum(sum(trace.x) for trace in figure.data)
    expected = network.expected_validation.energy_pj * 1e-12
    assert "(nJ)" in figure.layout.xaxis.title.text
    assert drawn * 1e-9 == pytest.approx(expected, rel=1e-4)
    split = figures.plot_energy_split(parts)
    assert sum(sum(trace.x) for trace in split.data) * 1e-6 == pytest.approx(expected, rel=1e-4)


def test_every_layer_has_a_row_even_if_names_shorten_to_the_same(summary: RunSummary) -> None:
    cost = fake.cost_report(fake.architecture(), prefix="a.very.long.prefix.that.is.cut.in.the.middle.")
    parts = figure_data.breakdown(cost, (0.5, 0.3, 0.2))
    figure = figures.plot_layer_cycles(parts)
    assert sum(len(trace.y) for trace in figure.data) == len(cost.layers)
    assert len(figure.layout.yaxis.ticktext) == len(cost.layers)
    assert max(len(text) for text in figure.layout.yaxis.ticktext) <= 24
    assert figure.layout.height > 20 * len(cost.layers)


def test_exits_show_rates_and_accuracies_of_both_splits(summary: RunSummary) -> None:
    network = summary.chosen[0]
    figure = figures.plot_exits(figure_data.exit_bars(network))
    assert [trace.name for trace in figure.data] == ["Validation", "Validation", "Test", "Test"]
    assert sum(figure.data[0].x) == pytest.approx(100.0, abs=1e-3)
    assert network.test is not None
    assert list(figure.data[3].x) == pytest.approx([100 * value for value in network.test.accuracies], abs=1e-3)


def test_an_exit_that_nobody_takes_says_so(summary: RunSummary) -> None:
    network = summary.chosen[0]
    rates = (0.0,) * (network.num_exits - 1) + (1.0,)
    closed = replace(network, validation=replace(network.validation, rates=rates), test=None, expected_test=None)
    figure = figures.plot_exits(figure_data.exit_bars(closed))
    assert figure.data[1].text[0] == "nobody"


def test_timeline_bars_last_as_long_as_their_layers(summary: RunSummary) -> None:
    data = figure_data.timeline(fake.cost_report(fake.architecture()), fake.CORES)
    figure = figures.plot_timeline(data)
    drawn = sum(sum(trace.x) for trace in figure.data) * 1e3
    assert drawn == pytest.approx(sum(bar.end_cycle - bar.start_cycle for bar in data.bars), rel=1e-4)
    assert list(figure.layout.yaxis.ticktext) == list(fake.CORES)
    assert len(figure.layout.shapes) == 3


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
    parts = figure_data.breakdown(cost, network.validation.rates)
    drawn = [
        figures.plot_layer_energy(parts),
        figures.plot_layer_cycles(parts),
        figures.plot_timeline(figure_data.timeline(cost)),
        figures.plot_front(panel_of([Point(1e-6, 0.9, evil, evil)], [Point(1e-6, 0.9, evil, evil)])),
    ]
    texts = [text for figure in drawn for text in strings(figure.to_plotly_json())]
    assert any("&lt;a href" in text for text in texts)
    assert not any("<a" in text for text in texts)
