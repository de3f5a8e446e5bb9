"""The timeline as a plotly figure: a row per core, below them thinner rows for the links."""

import html
from typing import TYPE_CHECKING

from offramp.report import units
from offramp.report.figures import palette
from offramp.report.figures.figure_style import LEGEND_ROOM, base_layout, legend_on_top, rounded, shortened
from offramp.report.figures.run_figures import ROLE_COLOURS, ROLE_NAMES
from offramp.report.figures.timeline_data import Timeline, TimelineBar
from offramp.workload.graph import Role

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LINK_HEIGHT = 0.62
"""Height of a link's row relative to a core's."""

PALE_OPACITY = 0.62
"""Opacity of every second layer, which separates neighbours without lines."""


def plot_timeline(data: Timeline) -> "Figure":
    """Draw layers on cores and transfers over links; a vertical line marks the time at which an exit has its result.

    Args:
        data: The timeline.

    Returns:
        The figure.
    """
    import plotly.graph_objects as go

    scale = units.scale_for([bar.end_cycle for bar in data.bars], "cycles")
    places = _places(data)
    bottom = max(places.values(), default=0.0) + 0.5
    figure = go.Figure(layout=base_layout(height=round(120 + 38 * bottom)))
    order = {name: number for number, name in enumerate(dict.fromkeys(bar.name for bar in data.bars))}
    for role in Role:
        mine = [bar for bar in data.bars if bar.role is role]
        figure.add_bar(
            base=[rounded(bar.start_cycle * scale.factor) for bar in mine],
            x=[rounded((bar.end_cycle - bar.start_cycle) * scale.factor) for bar in mine],
            y=[places[bar.row] for bar in mine],
            orientation="h",
            width=[0.4 if bar.carries else 0.66 for bar in mine],
            name=ROLE_NAMES[role],
            marker={
                "color": ROLE_COLOURS[role],
                "opacity": [PALE_OPACITY if order[bar.name] % 2 else 1.0 for bar in mine],
                "line": {"width": 0},
            },
            hovertext=[_hover(bar) for bar in mine],
            hoverinfo="text",
        )
    for number, mark in enumerate(data.marks):
        x = mark.cycle * scale.factor
        figure.add_vline(x=x, line={"color": palette.MUTED.light, "width": 1, "dash": "dash"})
        # Labels alternate between two rows, so that those of close exits stay readable.
        figure.add_annotation(
            x=x, y=1, yref="paper", yanchor="bottom", yshift=1 + 14 * (number % 2), text=mark.label, showarrow=False,
            xanchor="right", font={"size": 11, "color": palette.MUTED.light},
        )  # fmt: skip
    figure.update_layout(barmode="overlay", margin={"t": LEGEND_ROOM + 34}, legend=legend_on_top())
    labels = [html.escape(shortened(row)) for row in places]
    figure.update_yaxes(tickvals=list(places.values()), ticktext=labels, tickfont={"size": 11})
    figure.update_yaxes(range=[bottom, -0.5], showgrid=False, zeroline=False)
    figure.update_xaxes(title_text=f"Time ({scale.unit})", rangemode="tozero")
    return figure


def _places(data: Timeline) -> dict[str, float]:
    """Middle of each row, from the top."""
    places = {row: float(number) for number, row in enumerate(data.cores)}
    for number, row in enumerate(data.links):
        places[row] = len(data.cores) - 0.5 + LINK_HEIGHT * (number + 0.5) + 0.15
    return places


def _hover(bar: TimelineBar) -> str:
    what = f"{bar.carries} over" if bar.carries else "on"
    times = f"{units.cycles(bar.start_cycle)} to {units.cycles(bar.end_cycle)}"
    return f"<b>{html.escape(bar.name)}</b> ({html.escape(bar.op)}), {what} {html.escape(bar.row)}<br>{times}"
