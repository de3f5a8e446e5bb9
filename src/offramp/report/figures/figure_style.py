"""Style of all figures, in light colours."""

from typing import TYPE_CHECKING, Any

from offramp.report.figures import palette

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LEGEND_ROOM = 36
"""Part of the height and the top margin that the legend takes; the page writes its own legend instead."""


def base_layout(height: int) -> dict[str, Any]:
    """The layout that all figures share.

    Args:
        height: Height of the figure in pixels.

    Returns:
        A layout as plotly takes it.
    """
    axis = axis_style()
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


def axis_style() -> dict[str, Any]:
    """The style of all axes, as plotly takes it."""
    return {
        "automargin": True,
        "gridcolor": palette.LINE.light,
        "linecolor": palette.LINE.light,
        "zerolinecolor": palette.LINE.light,
        "title": {"font": {"size": 12, "color": palette.MUTED.light}, "standoff": 8},
        "tickfont": {"size": 12},
        "ticks": "",
    }


def style_axes(figure: "Figure") -> None:
    """Set the style of all axes of a figure.

    Args:
        figure: The figure; it is changed.
    """
    figure.update_xaxes(axis_style())
    figure.update_yaxes(axis_style())


def legend_on_top() -> dict[str, Any]:
    """A horizontal legend above the plot, as plotly takes it."""
    return {"orientation": "h", "yref": "container", "y": 1.0, "yanchor": "top", "x": 0, "traceorder": "normal"}


def rounded(value: float) -> float:
    """Round a coordinate to six digits: more than a screen shows, and the page stays small.

    Args:
        value: The coordinate.

    Returns:
        The rounded coordinate.
    """
    return float(f"{value:.6g}")


def shortened(text: str, length: int = 24) -> str:
    """Shorten a name in the middle; the last eight characters stay.

    Args:
        text: The name.
        length: Largest number of characters, at least 10.

    Returns:
        The name, with an ellipsis where it was longer.
    """
    return text if len(text) <= length else f"{text[: length - 9]}…{text[-8:]}"


def shortened_start(text: str, length: int = 24) -> str:
    """Shorten the name of a layer at its start, which it shares with other layers.

    Args:
        text: The name.
        length: Largest number of characters, at least 2.

    Returns:
        The name, with an ellipsis where it was longer.
    """
    return text if len(text) <= length else f"…{text[1 - length :]}"
