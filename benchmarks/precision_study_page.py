"""A study of bit widths: one network at several settings beside published figures, as a table, a figure and a page."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from offramp.errors import RunError
from offramp.files.safe_files import write_atomically
from offramp.report import units
from offramp.report.figures import palette
from offramp.report.figures.figure_style import LEGEND_ROOM, base_layout, legend_on_top, rounded, style_axes
from offramp.report.pages.template import environment, figure_box
from offramp.report.table import Cell, Column, Table
from offramp.version import __version__

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_TEMPLATE = Path(__file__).with_name("precision_study.html")
_COLOURS = (palette.SLATE.light, palette.BLUE.light, palette.SKY.light)


@dataclass(frozen=True)
class StudyRow:
    """One network at one setting. ``cumulative_et`` and ``average_et`` are energy times latency in joule x cycles.

    ``exit_accuracies`` are of each exit on all images; None and empty = not known.
    """

    source: str
    exit_rates: tuple[float, ...]
    cumulative_et: tuple[float, ...]
    average_et: float
    average_latency_cycles: float
    average_energy_j: float
    accuracy: float | None = None
    exit_accuracies: tuple[float, ...] = ()


@dataclass(frozen=True)
class StudySetting:
    """A setting (bits of the backbone / of the branches) and the rows that are compared at it."""

    name: str
    rows: tuple[StudyRow, ...]


@dataclass(frozen=True)
class PrecisionStudy:
    """All settings in the order in which they are shown, and what a reader must know about them."""

    title: str
    about: str
    exits: tuple[str, ...]
    settings: tuple[StudySetting, ...]
    notes: tuple[str, ...] = ()

    def sources(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.source for setting in self.settings for row in setting.rows))


def study_table(study: PrecisionStudy) -> Table:
    """A row for each setting and source: average product and accuracy, then rates and products by exit."""
    columns = (
        Column("Backbone/branch bits", numeric=False),
        Column("Whose", numeric=False),
        Column("Average ET"),
        Column("Accuracy"),
        *(Column(f"Leave at {name}") for name in study.exits),
        *(Column(f"ET to {name}") for name in study.exits),
    )
    rows = []
    for setting in study.settings:
        for index, row in enumerate(setting.rows):
            accuracies = row.exit_accuracies or (None,) * len(study.exits)
            rates = [
                Cell(units.percent(rate), "" if accuracy is None else f"{units.percent(accuracy)} right alone")
                for rate, accuracy in zip(row.exit_rates, accuracies, strict=True)
            ]
            rows.append(
                (
                    Cell(setting.name if index == 0 else ""),
                    Cell(row.source),
                    Cell(units.significant(row.average_et)),
                    Cell("–" if row.accuracy is None else units.percent(row.accuracy)),
                    *rates,
                    *(Cell(units.significant(value)) for value in row.cumulative_et),
                )
            )
    return Table("Exit rates, accuracy, and energy times latency (ET, in joule x cycles)", columns, tuple(rows))


def plot_study(study: PrecisionStudy) -> "Figure":
    """Two panels over the settings: average ET, and who leaves before the last exit."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.12)
    figure.update_layout(base_layout(320 + LEGEND_ROOM), barmode="group", margin={"t": LEGEND_ROOM + 4})
    figure.update_layout(legend=legend_on_top())
    for colour, source in zip(_COLOURS, study.sources(), strict=False):
        mine = [(setting.name, row) for setting in study.settings for row in setting.rows if row.source == source]
        panels = ([row.average_et for _, row in mine], [100 * (1 - row.exit_rates[-1]) for _, row in mine])
        for column, values in enumerate(panels, start=1):
            figure.add_bar(
                x=[name for name, _ in mine],
                y=[rounded(value) for value in values],
                name=source,
                marker_color=colour,
                showlegend=column == 1,
                hovertemplate="%{x}: %{y:.4g}<extra></extra>",
                row=1,
                col=column,
            )
    style_axes(figure)
    figure.update_xaxes(type="category", title_text="Bits")
    # From 32 to 4 bits the products fall by more than an order of magnitude.
    figure.update_yaxes(type="log", title_text="Average ET (J x cycles)", dtick=1, row=1, col=1)
    figure.update_yaxes(title_text="Leave early (%)", range=[0, 100], row=1, col=2)
    return figure


def study_description(study: PrecisionStudy) -> str:
    """The figure in words, for those who cannot see it."""
    parts = (
        f"{setting.name}, {row.source}: {units.significant(row.average_et)}"
        for setting in study.settings
        for row in setting.rows
    )
    return f"Average energy times latency in joule x cycles ({'; '.join(parts)})."


def write_study_page(study: PrecisionStudy, path: Path) -> None:
    """One self-contained HTML page; RunError where it cannot be written."""
    text = (
        environment()
        .from_string(_TEMPLATE.read_text(encoding="utf-8"))
        .render(
            study=study,
            figure=figure_box("figure-study", plot_study(study), "", study_description(study)),
            study_table=study_table(study),
            version=__version__,
        )
    )
    try:
        write_atomically(path, text)
    except OSError as exc:
        raise RunError(f"The study cannot be written to '{path}': {exc}.") from exc
