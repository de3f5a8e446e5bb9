"""Plotly figures of the values in ``figure_data``; drawn in light colours, which the page exchanges for dark ones."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from offramp.report import palette, units
from offramp.report.figure_data import (
    Breakdown,
    ExitBar,
    FrontPanel,
    LayerRow,
    Point,
    ProgressPoint,
    Timeline,
    reach_note,
)
from offramp.report.labels import Spot, place_labels
from offramp.report.summary import TrainingCurve
from offramp.workload.graph import Role

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
ROW_HEIGHT = 20
MAX_CURVES = 6
LEGEND_ROOM = 36
"""Part of the height and the top margin that the legend takes; the page writes its own legend instead."""
PHONE_PLOT_WIDTH = 270.0
PLOT_HEIGHT = 295.0
ROLE_COLOURS = {Role.BACKBONE: palette.BLUE.light, Role.BRANCH: palette.VERMILION.light}
ROLE_NAMES = {Role.BACKBONE: "Backbone", Role.BRANCH: "Exit branches"}
SPLIT_COLOURS = {"validation": palette.SKY.light, "test": palette.BLUE.light}


def plot_front(panel: FrontPanel) -> "Figure":
    """Accuracy against one cost: candidates faint, front members and chosen networks on top, static ones marked."""
    import plotly.graph_objects as go

    scale = units.scale_for([p.cost for p in panel.points], panel.unit)
    figure = go.Figure(layout=_layout(height=360))
    figure.update_layout(showlegend=False, margin={"t": 12, "r": 16})

    def add(points: Sequence[Point], name: str, **style: Any) -> None:
        if not points:
            return
        figure.add_trace(
            go.Scatter(
                x=[_short(p.cost * scale.factor) for p in points],
                y=[_short(100 * p.accuracy) for p in points],
                hovertext=[_front_hover(p, name, panel.unit) for p in points],
                hoverinfo="text",
                name=name,
                **style,
            )
        )

    faint = {"color": palette.FAINT.light, "size": 6, "opacity": 0.6}
    add(panel.candidates, "Tried", mode="markers", marker=faint)
    step = {"color": palette.BLUE.light, "width": 1.5, "shape": "hv"}
    if len(panel.best) > 1:
        add(panel.best, "Front", mode="lines", line=step)
    add(panel.front, "Front", mode="markers", marker={"color": palette.BLUE.light, "size": 8})
    for move in panel.moves:
        pair = (move.start, move.end)
        style = {"color": palette.VERMILION.light, "width": 1, "dash": "dot"}
        add(pair, "Before and after fine-tuning", mode="lines", line=style)
    edge = {"color": palette.BACKGROUND.light, "width": 1}
    static = {"color": palette.TEXT.light, "size": 10, "symbol": "diamond"}
    add(panel.statics[:1], "Static reference", mode="markers", marker=static)
    own = {"color": palette.TEXT.light, "size": 9, "symbol": "diamond-open"}
    add(panel.statics[1:], "Static network", mode="markers", marker=own)
    star = {"color": palette.VERMILION.light, "size": 15, "symbol": "star", "line": edge}
    add(panel.chosen, "Chosen", mode="markers", marker=star)
    costs = _cost_axis([p.cost * scale.factor for p in panel.points])
    accuracies = _padded([100 * p.accuracy for p in panel.in_frame], 100.0)
    _label_points(figure, panel, scale.factor, costs, accuracies)
    figure.update_xaxes(title_text=f"{panel.title} ({scale.unit})", range=list(costs.range), type=costs.type)
    if costs.ticks:
        figure.update_xaxes(tickvals=list(costs.ticks), ticktext=[units.significant(tick, 1) for tick in costs.ticks])
    figure.update_yaxes(title_text="Validation accuracy (%)", range=list(accuracies))
    return figure


@dataclass(frozen=True)
class _Axis:
    """Range as plotly wants it (powers of ten on a logarithmic axis), type and ticks (empty: plotly's own)."""

    range: tuple[float, float]
    type: Literal["linear", "log"]
    ticks: tuple[float, ...] = ()

    def share(self, value: float) -> float:
        """How far along the axis a value lies, 0..1."""
        place = math.log10(value) if self.type == "log" else value
        return (place - self.range[0]) / (self.range[1] - self.range[0])


def _cost_axis(values: Sequence[float]) -> _Axis:
    """Logarithmic where costs differ by more than five times: what counts there is the ratio."""
    if not values or min(values) <= 0.0 or max(values) < 5 * min(values):
        return _Axis(_padded(values), "linear")
    low, high = _padded([math.log10(value) for value in values], negative=True)
    steps = (1, 2, 5) if high - low < 2.5 else (1,)
    decades = range(math.floor(low), math.ceil(high) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return _Axis((low, high), "log", tuple(_short(tick) for tick in ticks if low <= math.log10(tick) <= high))


def _label_points(
    figure: "Figure", panel: FrontPanel, factor: float, costs: _Axis, accuracies: tuple[float, float]
) -> None:
    """Name the chosen networks and the static reference beside their markers, as it fits on a phone."""

    def spot(point: Point) -> Spot:
        height = (100 * point.accuracy - accuracies[0]) / (accuracies[1] - accuracies[0])
        return Spot(PHONE_PLOT_WIDTH * costs.share(point.cost * factor), PLOT_HEIGHT * height)

    statics = panel.statics[:1]
    named = [*panel.chosen, *statics]
    texts = [_shortened(point.label) for point in panel.chosen] + ["static reference" for _ in statics]
    obstacles = [spot(point) for point in (*panel.front, *panel.statics[1:])]
    labels = place_labels(texts, [spot(point) for point in named], obstacles, PHONE_PLOT_WIDTH, PLOT_HEIGHT)
    for point, label in zip(named, labels, strict=True):
        x = point.cost * factor
        figure.add_annotation(
            # Annotations on a logarithmic axis are placed by the exponent.
            x=_short(math.log10(x) if costs.type == "log" else x),
            y=_short(100 * point.accuracy),
            text=f"<b>{html.escape(label.text)}</b>",
            showarrow=False,
            xanchor=label.anchor,
            xshift=label.shift_x,
            yshift=label.shift_y,
            font={"size": 12, "color": palette.TEXT.light},
        )


def _front_hover(point: Point, name: str, unit: str) -> str:
    cost = html.escape(units.si(point.cost, unit))
    head = f"<b>{html.escape(name)}: {html.escape(point.label)}</b>"
    return f"{head}<br>{units.percent(point.accuracy)}, {cost}<br>{_wrapped(point.hover)}"


def plot_exits(bars: Sequence[ExitBar]) -> "Figure":
    """Two panels over the exits: who left there, and how many of those were right."""
    from plotly.subplots import make_subplots

    exits = list(dict.fromkeys(bar.exit for bar in bars))
    splits = list(dict.fromkeys(bar.split for bar in bars))
    titles = ("Leave here (%)", "Right, of those (%)")
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.06)
    height = 60 + LEGEND_ROOM + len(exits) * (22 + 18 * len(splits))
    figure.update_layout(_layout(height), barmode="group", bargap=0.3, margin={"t": LEGEND_ROOM + 4})
    figure.update_layout(legend=_legend_on_top())
    for split in splits:
        mine = [bar for bar in bars if bar.split == split]
        for column, values in ((1, [bar.rate for bar in mine]), (2, [bar.accuracy for bar in mine])):
            figure.add_bar(
                x=[0.0 if value is None else _short(100 * value) for value in values],
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
    _style_axes(figure)
    for column, title in enumerate(titles, start=1):
        # Room behind a bar of 100 % for its label, also on a phone.
        figure.update_xaxes(title_text=title, range=[0, 138], tickvals=[0, 50, 100], row=1, col=column)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def plot_layer_energy(data: Breakdown) -> "Figure":
    """Expected energy of each layer as a bar, stacked by where it goes."""
    import plotly.graph_objects as go

    rows = data.layers
    scale = units.scale_for([row.expected_energy_pj * 1e-12 for row in rows], "J")
    figure = go.Figure(layout=_layout(height=90 + ROW_HEIGHT * max(len(rows), 4)))
    for index, source in enumerate(data.sources):
        values = [sum(p.energy_pj for p in row.parts if p.source == source) * row.reach * 1e-12 for row in rows]
        figure.add_bar(
            x=[_short(value * scale.factor) for value in values],
            y=list(range(len(rows))),
            orientation="h",
            name=html.escape(source),
            marker_color=palette.series_colour(index),
            hovertext=[_layer_hover(row, f"{source}: {units.si(v, 'J')}") for row, v in zip(rows, values, strict=True)],
            hoverinfo="text",
        )
    _layer_axis(figure, rows)
    figure.update_layout(barmode="stack", legend=_legend_on_top())
    figure.update_xaxes(title_text=f"Energy per image ({scale.unit})")
    return figure


def plot_layer_cycles(data: Breakdown) -> "Figure":
    """Expected busy cycles of each layer, backbone and branches in their own colours."""
    import plotly.graph_objects as go

    rows = data.layers
    scale = units.scale_for([row.expected_cycles for row in rows], "cycles")
    figure = go.Figure(layout=_layout(height=90 + ROW_HEIGHT * max(len(rows), 4)))
    for role in Role:
        mine = [(place, row) for place, row in enumerate(rows) if row.role is role]
        figure.add_bar(
            x=[_short(row.expected_cycles * scale.factor) for _, row in mine],
            y=[place for place, _ in mine],
            orientation="h",
            name=ROLE_NAMES[role],
            marker_color=ROLE_COLOURS[role],
            hovertext=[_layer_hover(row, f"{units.cycles(row.busy_cycles)} on {row.core}") for _, row in mine],
            hoverinfo="text",
        )
    _layer_axis(figure, rows)
    figure.update_layout(barmode="overlay", legend=_legend_on_top())
    figure.update_xaxes(title_text=f"Busy time per image ({scale.unit})")
    return figure


def _layer_hover(row: LayerRow, figure_text: str) -> str:
    return f"<b>{html.escape(row.name)}</b> ({html.escape(row.op)})<br>{html.escape(figure_text)}<br>{reach_note(row)}"


def _layer_axis(figure: "Figure", rows: Sequence[LayerRow]) -> None:
    # Positions are numbers, so that two layers whose shortened names are equal keep their own bars.
    labels = [_shortened(row.name) if row.role is Role.BACKBONE else f"↳ {_shortened(row.name, 20)}" for row in rows]
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=[html.escape(x) for x in labels])
    figure.update_yaxes(range=[len(rows) - 0.4, -0.6], showgrid=False, tickfont={"size": 11}, zeroline=False)
    figure.update_xaxes(rangemode="tozero")
    figure.update_layout(bargap=0.25, margin={"t": LEGEND_ROOM + 4})


def plot_energy_split(data: Breakdown) -> "Figure":
    """Two stacked bars, backbone and branches: expected energy by where it goes."""
    import plotly.graph_objects as go

    values = {(s, role): data.expected_energy_pj(s, role) * 1e-12 for s in data.sources for role in Role}
    totals = [sum(values[s, role] for s in data.sources) for role in Role]
    scale = units.scale_for(totals, "J")
    whole = sum(totals) or 1.0
    figure = go.Figure(layout=_layout(height=210))
    for index, source in enumerate(data.sources):
        mine = [values[source, role] for role in Role]
        figure.add_bar(
            x=[_short(value * scale.factor) for value in mine],
            y=[ROLE_NAMES[role] for role in Role],
            orientation="h",
            name=html.escape(source),
            marker_color=palette.series_colour(index),
            hovertext=[html.escape(f"{source}: {units.si(v, 'J')}, {units.percent(v / whole)} of all") for v in mine],
            hoverinfo="text",
        )
    figure.update_layout(barmode="stack", bargap=0.35, legend=_legend_on_top(), margin={"t": LEGEND_ROOM + 4})
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(title_text=f"Energy per image ({scale.unit})", rangemode="tozero")
    return figure


def plot_timeline(data: Timeline) -> "Figure":
    """Which core runs which layer when; vertical lines where an exit has its answer."""
    import plotly.graph_objects as go

    scale = units.scale_for([bar.end_cycle for bar in data.bars], "cycles")
    figure = go.Figure(layout=_layout(height=120 + 42 * max(len(data.cores), 1)))
    places = {core: place for place, core in enumerate(data.cores)}
    for role in Role:
        mine = [bar for bar in data.bars if bar.role is role]
        figure.add_bar(
            base=[_short(bar.start_cycle * scale.factor) for bar in mine],
            x=[_short((bar.end_cycle - bar.start_cycle) * scale.factor) for bar in mine],
            y=[places[bar.core] for bar in mine],
            orientation="h",
            width=0.62,
            name=ROLE_NAMES[role],
            marker={"color": ROLE_COLOURS[role], "line": {"color": palette.BACKGROUND.light, "width": 1}},
            hovertext=[
                f"<b>{html.escape(bar.name)}</b> ({html.escape(bar.op)}) on {html.escape(bar.core)}<br>"
                f"{units.cycles(bar.start_cycle)} to {units.cycles(bar.end_cycle)}"
                for bar in mine
            ],
            hoverinfo="text",
        )
    for number, mark in enumerate(data.marks):
        x = mark.cycle * scale.factor
        figure.add_vline(x=x, line={"color": palette.MUTED.light, "width": 1, "dash": "dash"})
        # Two rows of labels: exits that follow each other closely stay readable.
        figure.add_annotation(
            x=x, y=1, yref="paper", yanchor="bottom", yshift=1 + 14 * (number % 2), text=mark.label, showarrow=False,
            xanchor="right", font={"size": 11, "color": palette.MUTED.light},
        )  # fmt: skip
    figure.update_layout(barmode="overlay", margin={"t": LEGEND_ROOM + 34}, legend=_legend_on_top())
    figure.update_yaxes(tickvals=list(places.values()), ticktext=[html.escape(_shortened(c)) for c in places])
    figure.update_yaxes(range=[len(places) - 0.5, -0.5], showgrid=False, zeroline=False)
    figure.update_xaxes(title_text=f"Time ({scale.unit})", rangemode="tozero")
    return figure


def plot_training(curve: TrainingCurve) -> "Figure":
    """Loss above, validation accuracy per exit below, over the epochs."""
    from plotly.subplots import make_subplots

    rows = 2 if curve.accuracies else 1
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    figure.update_layout(_layout(height=380 if rows == 2 else 240), margin={"t": LEGEND_ROOM + 4})
    figure.update_layout(legend=_legend_on_top())
    mode = "lines" if len(curve.epochs) > 12 else "lines+markers"
    loss_line = {"color": palette.SLATE.light, "width": 2}
    figure.add_scatter(x=curve.epochs, y=curve.loss, mode=mode, line=loss_line, name="Loss", showlegend=False)
    figure.update_yaxes(title_text="Training loss", rangemode="tozero", row=1, col=1)
    final = len(curve.accuracies) - 1
    # A supernet may have an exit after every block: too many for a colour each.
    crowded = final > MAX_CURVES
    for index, values in enumerate(curve.accuracies):
        colour = palette.FAINT.light if crowded else palette.series_colour(index)
        name = "Early exits" if crowded else f"Exit {index + 1}"
        figure.add_scatter(
            x=curve.epochs,
            y=[_short(100 * value) for value in values],
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
    _style_axes(figure)
    return figure


def plot_progress(points: Sequence[ProgressPoint]) -> "Figure":
    """Growth of the hypervolume over the evaluations."""
    import plotly.graph_objects as go

    figure = go.Figure(layout=_layout(height=280))
    figure.add_scatter(
        x=[p.num_evaluations for p in points],
        y=[_short(100 * p.share) for p in points],
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


def _layout(height: int) -> dict[str, Any]:
    axis = _axis_style()
    return {
        "template": "none",
        "height": height,
        "font": {"family": FONT, "size": 13, "color": palette.TEXT.light},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 12, "t": 24, "b": 8},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": palette.MUTED.light, "activecolor": palette.TEXT.light},
        "hoverlabel": {
            "bgcolor": palette.SURFACE.light,
            "bordercolor": palette.LINE.light,
            "font": {"color": palette.TEXT.light, "family": FONT, "size": 12},
            "align": "left",
        },
        "xaxis": axis,
        "yaxis": axis,
    }


def _axis_style() -> dict[str, Any]:
    return {
        "automargin": True,
        "gridcolor": palette.LINE.light,
        "linecolor": palette.LINE.light,
        "zerolinecolor": palette.LINE.light,
        "title": {"font": {"size": 12, "color": palette.MUTED.light}, "standoff": 8},
        "tickfont": {"size": 12},
        "ticks": "",
    }


def _style_axes(figure: "Figure") -> None:
    figure.update_xaxes(_axis_style())
    figure.update_yaxes(_axis_style())


def _legend_on_top() -> dict[str, Any]:
    return {"orientation": "h", "yref": "container", "y": 1.0, "yanchor": "top", "x": 0, "traceorder": "normal"}


def _padded(values: Sequence[float], limit: float = math.inf, *, negative: bool = False) -> tuple[float, float]:
    """Axis range with room around the outermost values, not beyond 0 and ``limit``; one value gets a range too."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    pad = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    bottom = low - pad if negative else max(0.0, low - pad)
    # Even a point at the very limit keeps its whole marker.
    return _short(bottom), _short(min(high + pad, limit + 0.3 * pad))


def _short(value: float) -> float:
    """Six digits are more than a screen shows, and keep the page small."""
    return float(f"{value:.6g}")


def _shortened(text: str, length: int = 24) -> str:
    return text if len(text) <= length else f"{text[: length - 9]}…{text[-8:]}"


def _wrapped(text: str, width: int = 44) -> str:
    import textwrap

    return "<br>".join(html.escape(line) for line in textwrap.wrap(text, width))
