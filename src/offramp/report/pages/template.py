"""Templates, styles and figure embedding of all pages."""

import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from offramp.report.figures import palette
from offramp.report.figures.figure_style import LEGEND_ROOM

if TYPE_CHECKING:
    from jinja2 import Environment
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class LegendEntry:
    """An entry of a legend.

    Attributes:
        name: Name of the series.
        colour: Name of its colour in the palette.
    """

    name: Markup
    colour: str


@dataclass(frozen=True)
class FigureBox:
    """A figure for the template.

    Attributes:
        id: Identifier of the HTML element.
        title: Its title; empty = none.
        description: Text for readers who cannot see the figure.
        spec: The figure as plotly's JSON.
        height: Its height in pixels.
        legend: Entries of its legend; empty = it has none.
        caption: Text below the figure; empty = none.
    """

    id: str
    title: str
    description: str
    spec: dict[str, Any]
    height: int
    legend: tuple[LegendEntry, ...] = ()
    caption: str = ""


def environment() -> "Environment":
    """The templates of the pages; they escape all values and know the palette, the style, the scripts and plotly."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    templates = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals.update(
        colours=palette.COLOURS,
        dark_colours={colour.light: colour.dark for colour in palette.COLOURS},
        css=Markup(_source("page.css")),
        js=Markup(_source("page.js")),
        plotly_js=Markup(get_plotlyjs()),
    )
    return templates


def _source(name: str) -> str:
    """A template, style or script of the report."""
    return resources.files("offramp.report.pages").joinpath(name).read_text(encoding="utf-8")


def figure_box(name: str, figure: "Figure", title: str, description: str, caption: str = "") -> FigureBox:
    """Prepare a figure for a template; its legend becomes HTML.

    Args:
        name: Identifier of the HTML element.
        figure: The figure.
        title: Its title; empty = none.
        description: Text for readers who cannot see the figure.
        caption: Text below the figure; empty = none.

    Returns:
        The figure for the template.
    """
    spec = json.loads(str(figure.to_json()))
    layout = spec["layout"]
    # The page has its own style; plotly's template would only make it longer.
    layout.pop("template", None)
    legend = _legend_of(spec)
    if layout.get("showlegend", True):
        layout["showlegend"] = False
        layout["height"] -= LEGEND_ROOM
        layout["margin"]["t"] -= LEGEND_ROOM
    return FigureBox(name, title, description, spec, int(layout["height"]), legend, caption)


def _legend_of(spec: dict[str, Any]) -> tuple[LegendEntry, ...]:
    """The series of a figure for a legend in HTML, which wraps on narrow screens and follows the theme."""
    if not spec["layout"].get("showlegend", True):
        return ()
    names = {colour.light: colour.name for colour in palette.COLOURS}
    entries: dict[str, LegendEntry] = {}
    for trace in spec["data"]:
        if trace.get("showlegend", True) and trace.get("name"):
            colour = trace.get("marker", {}).get("color") or trace.get("line", {}).get("color")
            # Names in figures are escaped already: plotly reads them as markup.
            entries[trace["name"]] = LegendEntry(Markup(trace["name"]), names.get(colour, "slate"))
    return tuple(entries.values())
