"""The figure of the Pareto front: accuracy against one cost."""

import html
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from offramp.report import units
from offramp.report.figures import palette
from offramp.report.figures.figure_style import base_layout, rounded, shortened
from offramp.report.figures.front_data import FrontPanel, Point
from offramp.report.figures.label_placement import PixelPoint, place_labels

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PHONE_PLOT_WIDTH = 270.0
"""Width of the plotting area on a phone, in pixels."""

PLOT_HEIGHT = 295.0
"""Height of the plotting area in pixels."""


def plot_front(panel: FrontPanel) -> "Figure":
    """Draw accuracy against one cost: candidates, both fronts, chosen networks linked to their matches.

    Args:
        panel: The networks.

    Returns:
        The figure; its cost axis is logarithmic where costs differ by more than five times.
    """
    import plotly.graph_objects as go

    scale = units.scale_for([p.cost for p in panel.points], panel.unit)
    figure = go.Figure(layout=base_layout(height=360))
    figure.update_layout(showlegend=False, margin={"t": 12, "r": 16})

    def add(points: Sequence[Point], name: str, **style: Any) -> None:
        if not points:
            return
        figure.add_trace(
            go.Scatter(
                x=[rounded(p.cost * scale.factor) for p in points],
                y=[rounded(100 * p.accuracy) for p in points],
                hovertext=[_front_hover(p, name, panel.unit) for p in points],
                hoverinfo="text",
                name=name,
                **style,
            )
        )

    faint = {"color": palette.FAINT.light, "size": 6, "opacity": 0.6}
    add(panel.candidates, "Tried", mode="markers", marker=faint)
    step = {"color": palette.BLUE.light, "width": 1.5, "shape": "hv"}
    if len(panel.nondominated) > 1:
        add(panel.nondominated, "Front", mode="lines", line=step)
    add(panel.front, "Front", mode="markers", marker={"color": palette.BLUE.light, "size": 8})
    if len(panel.static_nondominated) > 1:
        add(panel.static_nondominated, "Static front", mode="lines", line={**step, "color": palette.GREEN.light})
    square = {"color": palette.GREEN.light, "size": 7, "symbol": "square"}
    add(panel.static_front, "Static front", mode="markers", marker=square)
    for link in panel.match_links:
        solid = {"color": palette.TEXT.light, "width": 1}
        add((link.network, link.match), "Network and match", mode="lines", line=solid)
    for change in panel.fine_tuning:
        pair = (change.start, change.end)
        style = {"color": palette.VERMILION.light, "width": 1, "dash": "dot"}
        add(pair, "Before and after fine-tuning", mode="lines", line=style)
    edge = {"color": palette.BACKGROUND.light, "width": 1}
    star = {"color": palette.VERMILION.light, "size": 15, "symbol": "star", "line": edge}
    add(panel.chosen, "Chosen", mode="markers", marker=star)
    # Static networks are drawn last, so that a chosen network that is one of them shows both marks.
    own = {"color": palette.TEXT.light, "size": 10, "symbol": "diamond-open", "line": {"width": 2}}
    add(panel.matches, "Match", mode="markers", marker=own)
    static = {"color": palette.TEXT.light, "size": 10, "symbol": "diamond"}
    add((panel.largest,), "Largest static network", mode="markers", marker=static)
    costs = _cost_axis([p.cost * scale.factor for p in panel.points])
    accuracies = _padded([100 * p.accuracy for p in panel.framed_points], 100.0)
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
    """The cost axis, logarithmic where costs differ by more than five times, because ratios matter then."""
    if not values or min(values) <= 0.0 or max(values) < 5 * min(values):
        return _Axis(_padded(values), "linear")
    low, high = _padded([math.log10(value) for value in values], negative=True)
    steps = (1, 2, 5) if high - low < 2.5 else (1,)
    decades = range(math.floor(low), math.ceil(high) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return _Axis((low, high), "log", tuple(rounded(tick) for tick in ticks if low <= math.log10(tick) <= high))


def _label_points(
    figure: "Figure", panel: FrontPanel, factor: float, costs: _Axis, accuracies: tuple[float, float]
) -> None:
    """Label the chosen networks and the largest static one; labels are placed for the width of a phone."""

    def pixel_point(point: Point) -> PixelPoint:
        height = (100 * point.accuracy - accuracies[0]) / (accuracies[1] - accuracies[0])
        return PixelPoint(PHONE_PLOT_WIDTH * costs.share(point.cost * factor), PLOT_HEIGHT * height)

    named = [*panel.chosen, panel.largest]
    texts = [*(shortened(point.label) for point in panel.chosen), "largest static"]
    obstacles = [pixel_point(point) for point in (*panel.front, *panel.static_front, *panel.matches)]
    labels = place_labels(texts, [pixel_point(point) for point in named], obstacles, PHONE_PLOT_WIDTH, PLOT_HEIGHT)
    for point, label in zip(named, labels, strict=True):
        x = point.cost * factor
        figure.add_annotation(
            # Annotations on a logarithmic axis are placed by the exponent.
            x=rounded(math.log10(x) if costs.type == "log" else x),
            y=rounded(100 * point.accuracy),
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


def _padded(values: Sequence[float], limit: float = math.inf, *, negative: bool = False) -> tuple[float, float]:
    """Axis range with space around the outermost values, from 0 (unless ``negative``) to about ``limit``."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    pad = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    bottom = low - pad if negative else max(0.0, low - pad)
    # The marker of a point at the limit is drawn whole.
    beyond = limit + 0.03 * (limit - bottom) if math.isfinite(limit) else math.inf
    return rounded(bottom), rounded(min(high + pad, beyond))


def _wrapped(text: str, width: int = 44) -> str:
    return "<br>".join(html.escape(line) for line in textwrap.wrap(text, width))
