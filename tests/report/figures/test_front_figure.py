import pytest

from offramp.records.run_summary import RunSummary
from offramp.report.figures import front_data
from offramp.report.figures.front_data import FrontPanel, Point
from offramp.report.figures.front_figure import plot_front
from tests.report import fake


@pytest.fixture(scope="module")
def summary() -> RunSummary:
    return fake.fake_summary()


def panel_of(points: list[Point], chosen: list[Point] | None = None) -> FrontPanel:
    largest = points[-1] if points else Point(3e-6, 0.9, "largest", "z")
    return FrontPanel(
        metric="energy_pj",
        title="Energy",
        unit="J",
        candidates=(),
        front=tuple(points),
        nondominated=tuple(points),
        static_front=(),
        static_nondominated=(),
        chosen=tuple(chosen or ()),
        matches=(),
        largest=largest,
        fine_tuning=(),
        match_links=(),
    )


def test_axes_have_units_and_numbers_fit_them() -> None:
    figure = plot_front(panel_of([Point(2e-6, 0.9, "a", "x"), Point(4e-6, 0.95, "b", "y")]))
    assert figure.layout.xaxis.title.text == "Energy (µJ)"
    assert figure.layout.yaxis.title.text == "Validation accuracy (%)"
    assert list(figure.data[0].x) == [2.0, 4.0]
    assert list(figure.data[0].y) == [90.0, 95.0]
    assert figure.layout.xaxis.type == "linear"


def test_costs_that_differ_by_much_get_a_logarithmic_axis() -> None:
    points = [Point(1e-6, 0.9, "a", "x"), Point(30e-6, 0.95, "b", "y")]
    figure = plot_front(panel_of(points, chosen=points[1:]))
    low, high = figure.layout.xaxis.range
    assert figure.layout.xaxis.type == "log"
    assert 10**low < 1.0 < 30.0 < 10**high
    assert list(figure.layout.xaxis.ticktext) == ["1", "2", "5", "10", "20"]
    assert figure.layout.annotations[0].x == pytest.approx(1.47712, abs=1e-5)


@pytest.mark.parametrize("count", [0, 1])
def test_few_points_get_a_frame_around_them(count: int) -> None:
    figure = plot_front(panel_of([Point(3e-6, 0.9, "a", "x")][:count]))
    for axis, value in ((figure.layout.xaxis, 3.0), (figure.layout.yaxis, 90.0)):
        assert axis.range[0] < axis.range[1]
        assert count == 0 or axis.range[0] < value < axis.range[1]


def test_an_accuracy_axis_ends_at_about_a_hundred_percent() -> None:
    figure = plot_front(panel_of([Point(3e-6, 1.0, "a", "x")]))
    assert 100.0 < figure.layout.yaxis.range[1] < 101.0


def test_zero_cost_stays_on_a_linear_axis() -> None:
    figure = plot_front(panel_of([Point(0.0, 0.5, "a", "x"), Point(3e-6, 0.9, "b", "y")]))
    assert figure.layout.xaxis.type == "linear"
    assert figure.layout.xaxis.range[0] == 0.0


def test_chosen_networks_and_the_reference_are_named(summary: RunSummary) -> None:
    figure = plot_front(front_data.front_panels(summary)[0])
    names = [note.text for note in figure.layout.annotations]
    assert names == ["<b>knee</b>", "<b>most accurate</b>", "<b>cheapest</b>", "<b>largest static</b>"]


def test_both_fronts_are_drawn_and_each_chosen_network_is_linked_to_its_match(summary: RunSummary) -> None:
    panel = front_data.front_panels(summary)[0]
    figure = plot_front(panel)
    lines = {trace.name: trace for trace in figure.data if trace.mode == "lines"}
    assert lines["Front"].line.color != lines["Static front"].line.color
    assert len(lines["Static front"].x) == len(panel.static_nondominated) > 1
    links = [trace for trace in figure.data if trace.name == "Network and match"]
    assert len(links) == 3
    # The labels hold numbers of a few digits.
    assert list(links[0].y) == pytest.approx(
        [100 * panel.chosen[0].accuracy, 100 * panel.matches[0].accuracy], rel=1e-3
    )


def test_hover_tells_the_architecture(summary: RunSummary) -> None:
    figure = plot_front(front_data.front_panels(summary)[0])
    front = next(trace for trace in figure.data if trace.name == "Front" and trace.mode == "markers")
    assert all("mobilenet_v2" in text and "depths" in text for text in front.hovertext)


def test_names_cannot_bring_markup_of_their_own() -> None:
    point = Point(1e-6, 0.9, '<a href="x">&', '<a href="x">&')
    figure = plot_front(panel_of([point], [point]))
    texts = [note.text for note in figure.layout.annotations]
    texts += [text for trace in figure.data for text in trace.hovertext]
    assert not any("<a" in text for text in texts)
    # The chosen point's label, and the hover texts of the front, of the chosen and of the largest network.
    assert sum("&lt;a href" in text for text in texts) == 4
