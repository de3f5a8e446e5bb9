"""The timeline as drawn."""

import pytest

from offramp.cost.mapping.optimized.optimized_model import OptimizedModel
from offramp.report.figures.timeline_data import Timeline, timeline
from offramp.report.figures.timeline_figure import plot_timeline
from tests.cost.mapping.optimized.test_mapping_steps import two_stages
from tests.cost.toys import ToyEngine
from tests.report import fake
from tests.report.figures.test_timeline_data import CORES, QUAD


def test_bars_last_as_long_as_their_layers() -> None:
    data = timeline(fake.cost_report(fake.architecture()), fake.CORES)
    figure = plot_timeline(data)
    drawn = sum(sum(trace.x) for trace in figure.data) * 1e3
    assert drawn == pytest.approx(sum(bar.end_cycle - bar.start_cycle for bar in data.bars), rel=1e-4)
    assert list(figure.layout.yaxis.ticktext) == list(fake.CORES)
    assert len(figure.layout.shapes) == 3


def test_links_lie_below_the_cores_in_thinner_rows() -> None:
    data = timeline(OptimizedModel(ToyEngine()).estimate(two_stages(), QUAD), CORES)
    figure = plot_timeline(data)
    heights = list(figure.layout.yaxis.tickvals)
    assert heights == sorted(heights)
    assert len(heights) == len(data.rows) == len(set(heights))
    assert list(figure.layout.yaxis.ticktext)[: len(CORES)] == list(CORES)
    bottom, top = figure.layout.yaxis.range
    assert all(top < height < bottom for height in heights)
    for trace in figure.data:
        for y, width, text in zip(trace.y, trace.width, trace.hovertext, strict=True):
            on_link = y > len(CORES) - 0.5
            assert (width < 0.5) == on_link == (" over " in text)
    # Neighbours in time are of two shades.
    assert {opacity for trace in figure.data for opacity in trace.marker.opacity} == {1.0, 0.62}


def test_backbone_and_branches_have_a_colour_each_also_on_the_links() -> None:
    data = timeline(OptimizedModel(ToyEngine()).estimate(two_stages(), QUAD), CORES)
    backbone, branches = plot_timeline(data).data
    assert backbone.marker.color != branches.marker.color
    assert max(branches.y) > len(CORES) - 0.5


def test_an_empty_schedule_can_be_drawn() -> None:
    figure = plot_timeline(Timeline((), (), (), ()))
    assert sum(len(trace.x) for trace in figure.data) == 0
