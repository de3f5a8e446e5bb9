"""Figures of the run, drawn in light colours; the page replaces these in the dark theme."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from offramp.records.report_items import TrainingCurve
from offramp.report import units
from offramp.report.figures import palette
from offramp.report.figures.exit_breakdown_data import Breakdown, ExitBar, LayerRow, layer_note
from offramp.report.figures.figure_style import (
    LEGEND_ROOM,
    base_layout,
    legend_on_top,
    rounded,
    shortened_start,
    style_axes,
)
from offramp.report.figures.front_data import ProgressPoint
from offramp.workload.graph import Role

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

ROW_HEIGHT = 20
MAX_CURVES = 6
"""Early exits with their own colours at most, in a figure of a training."""

ROLE_COLOURS = {Role.BACKBONE: palette.BLUE.light, Role.BRANCH: palette.VERMILION.light}
ROLE_NAMES = {Role.BACKBONE: "Backbone", Role.BRANCH: "Exit branches"}
SPLIT_COLOURS = {"validation": palette.SKY.light, "test": palette.BLUE.light}


def plot_exits(bars: Sequence[ExitBar]) -> "Figure":
    """Draw exit rates and accuracies of the exits in two panels.

    Args:
        bars: Exits on one or two splits.

    Returns:
        The figure.
    """
    from plotly.subplots import make_subplots

    exits = list(dict.fromkeys(bar.exit for bar in bars))
    splits = list(dict.fromkeys(bar.split for bar in bars))
    titles = ("Leave here (%)", "Right, of those (%)")
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.06)
    height = 60 + LEGEND_ROOM + len(exits) * (22 + 18 * len(splits))
    figure.update_layout(base_layout(height), barmode="group", bargap=0.3, margin={"t": LEGEND_ROOM + 4})
    figure.update_layout(legend=legend_on_top())
    for split in splits:
        mine = [bar for bar in bars if bar.split == split]
        for column, values in ((1, [bar.rate for bar in mine]), (2, [bar.accuracy for bar in mine])):
            figure.add_bar(
                x=[0.0 if value is None else rounded(100 * value) for value in values],
                y=[bar.exit for bar in mine],
                orientation="h",
                text=["nobody" if value is None else f"{100 * value:.1f}" for value in values],
                textposition="outside",
                textfont={"size": 11, "color": palette.TEXT.light},
                cliponaxis=False,
                constraintext="none",
                name=split.capitalize(),
                marker_color=SPLIT_COLOURS[split],
                showlegend=column == 1,
                hovertemplate=f"%{{y}}, {split}: %{{text}} %<extra></extra>",
                row=1,
                col=column,
            )
    style_axes(figure)
    for column, title in enumerate(titles, start=1):
        # A bar of 100 % needs space for its label, also on a phone.
        figure.update_xaxes(title_text=title, range=[0, 138], tickvals=[0, 50, 100], row=1, col=column)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def plot_layer_energy(data: Breakdown) -> "Figure":
    """Draw the expected energy of each layer as a bar, stacked by source.

    Args:
        data: Energies of the layers.

    Returns:
        The figure.
    """
    import plotly.graph_objects as go

    rows = data.layers
    scale = units.scale_for([row.expected_energy_pj * 1e-12 for row in rows], "J")
    figure = go.Figure(layout=base_layout(height=90 + ROW_HEIGHT * max(len(rows), 4)))
    for index, source in enumerate(data.sources):
        values = [sum(p.energy_pj for p in row.parts if p.source == source) * row.run_share * 1e-12 for row in rows]
        figure.add_bar(
            x=[rounded(value * scale.factor) for value in values],
            y=list(range(len(rows))),
            orientation="h",
            name=html.escape(source),
            marker_color=palette.series_colour(index),
            hovertext=[_layer_hover(row, f"{source}: {units.si(v, 'J')}") for row, v in zip(rows, values, strict=True)],
            hoverinfo="text",
        )
    _layer_axis(figure, rows)
    figure.update_layout(barmode="stack", legend=legend_on_top())
    figure.update_xaxes(title_text=f"Energy per image ({scale.unit})")
    return figure


def plot_layer_cycles(data: Breakdown) -> "Figure":
    """Draw the expected busy cycles of each layer, in the colours of backbone and branches.

    Args:
        data: Busy cycles of the layers.

    Returns:
        The figure.
    """
    import plotly.graph_objects as go

    rows = data.layers
    scale = units.scale_for([row.expected_cycles for row in rows], "cycles")
    figure = go.Figure(layout=base_layout(height=90 + ROW_HEIGHT * max(len(rows), 4)))
    for role in Role:
        mine = [(place, row) for place, row in enumerate(rows) if row.role is role]
        figure.add_bar(
            x=[rounded(row.expected_cycles * scale.factor) for _, row in mine],
            y=[place for place, _ in mine],
            orientation="h",
            name=ROLE_NAMES[role],
            marker_color=ROLE_COLOURS[role],
            hovertext=[_layer_hover(row, f"{units.cycles(row.busy_cycles)} on {row.core}") for _, row in mine],
            hoverinfo="text",
        )
    _layer_axis(figure, rows)
    figure.update_layout(barmode="overlay", legend=legend_on_top())
    figure.update_xaxes(title_text=f"Busy per image ({scale.unit})")
    return figure


def _layer_hover(row: LayerRow, figure_text: str) -> str:
    return f"<b>{html.escape(row.name)}</b> ({html.escape(row.op)})<br>{html.escape(figure_text)}<br>{layer_note(row)}"


def _layer_axis(figure: "Figure", rows: Sequence[LayerRow]) -> None:
    # Positions are numbers, so that layers with the same shortened name have separate bars.
    labels = [
        shortened_start(row.name) if row.role is Role.BACKBONE else f"↳ {shortened_start(row.name, 22)}" for row in rows
    ]
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=[html.escape(x) for x in labels])
    figure.update_yaxes(range=[len(rows) - 0.4, -0.6], showgrid=False, tickfont={"size": 11}, zeroline=False)
    figure.update_xaxes(rangemode="tozero")
    figure.update_layout(bargap=0.25, margin={"t": LEGEND_ROOM + 4})


def plot_energy_split(data: Breakdown) -> "Figure":
    """Draw the expected energy of backbone and branches as two bars, stacked by source.

    Args:
        data: Energies of the layers.

    Returns:
        The figure.
    """
    import plotly.graph_objects as go

    values = {(s, role): data.expected_energy_pj(s, role) * 1e-12 for s in data.sources for role in Role}
    totals = [sum(values[s, role] for s in data.sources) for role in Role]
    scale = units.scale_for(totals, "J")
    whole = sum(totals) or 1.0
    figure = go.Figure(layout=base_layout(height=210))
    for index, source in enumerate(data.sources):
        mine = [values[source, role] for role in Role]
        figure.add_bar(
            x=[rounded(value * scale.factor) for value in mine],
            y=[ROLE_NAMES[role] for role in Role],
            orientation="h",
            name=html.escape(source),
            marker_color=palette.series_colour(index),
            hovertext=[html.escape(f"{source}: {units.si(v, 'J')}, {units.percent(v / whole)} of all") for v in mine],
            hoverinfo="text",
        )
    figure.update_layout(barmode="stack", bargap=0.35, legend=legend_on_top(), margin={"t": LEGEND_ROOM + 4})
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(title_text=f"Energy per image ({scale.unit})", rangemode="tozero")
    return figure


def plot_training(curve: TrainingCurve) -> "Figure":
    """Draw loss (above) and validation accuracy per exit (below) over the epochs.

    Args:
        curve: Curves of a training of at least one epoch.

    Returns:
        The figure; without accuracies it has one panel.
    """
    from plotly.subplots import make_subplots

    rows = 2 if curve.accuracies else 1
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    figure.update_layout(base_layout(height=380 if rows == 2 else 240), margin={"t": LEGEND_ROOM + 4})
    figure.update_layout(legend=legend_on_top())
    mode = "lines" if len(curve.epochs) > 12 else "lines+markers"
    loss_line = {"color": palette.SLATE.light, "width": 2}
    figure.add_scatter(x=curve.epochs, y=curve.loss, mode=mode, line=loss_line, name="Loss", showlegend=False)
    figure.update_yaxes(title_text="Training loss", rangemode="tozero", row=1, col=1)
    final = len(curve.accuracies) - 1
    # A supernet may have an exit after every block, which is too many for separate colours.
    crowded = final > MAX_CURVES
    for index, values in enumerate(curve.accuracies):
        colour = palette.FAINT.light if crowded else palette.series_colour(index)
        name = "Early exits" if crowded else f"Exit {index + 1}"
        figure.add_scatter(
            x=curve.epochs,
            y=[rounded(100 * value) for value in values],
            mode=mode,
            line={"color": palette.TEXT.light if index == final else colour, "width": 2},
            name="Final exit" if index == final else name,
            showlegend=index == final or index == 0 or not crowded,
            hovertext="Final exit" if index == final else f"Exit {index + 1}",
            row=2,
            col=1,
        )
    if rows == 2:
        figure.update_yaxes(title_text="Validation accuracy (%)", row=2, col=1)
    figure.update_xaxes(title_text="Epoch", row=rows, col=1)
    style_axes(figure)
    return figure


def plot_progress(points: Sequence[ProgressPoint]) -> "Figure":
    """Draw the growth of the hypervolume over the evaluations.

    Args:
        points: States of the front.

    Returns:
        The figure.
    """
    import plotly.graph_objects as go

    figure = go.Figure(layout=base_layout(height=280))
    figure.add_scatter(
        x=[p.num_evaluations for p in points],
        y=[rounded(100 * p.share) for p in points],
        mode="lines" if len(points) > 1 else "markers",
        line={"color": palette.BLUE.light, "width": 2, "shape": "hv"},
        hovertext=[
            f"after {units.count(p.num_evaluations, 'evaluation')}: {units.percent(p.share)}, "
            f"front of {units.count(p.front_size, 'network')}"
            for p in points
        ],
        hoverinfo="text",
    )
    figure.update_layout(margin={"t": 12}, showlegend=False)
    figure.update_xaxes(title_text="Networks tried", rangemode="tozero")
    figure.update_yaxes(title_text="Hypervolume (% of the final one)", range=[0, 105])
    return figure
