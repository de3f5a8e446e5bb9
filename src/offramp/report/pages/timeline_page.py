"""The timeline of a network as one self-contained HTML page."""

from pathlib import Path

from offramp.cost.priced_model import PricedModel
from offramp.cost.report import CostReport
from offramp.errors import InputError
from offramp.files.safe_files import write_atomically
from offramp.report import units
from offramp.report.figures.timeline_data import Timeline, busy_table, timeline
from offramp.report.figures.timeline_figure import plot_timeline
from offramp.report.pages.template import environment, figure_box
from offramp.report.table import Cell, Column, Table
from offramp.report.terminal.cost_table import engine_name, mapping_name
from offramp.version import __version__


def render_timeline_page(priced: PricedModel) -> str:
    """Render the page of a priced model.

    Args:
        priced: The model and its cost report.

    Returns:
        The page as text; names from files are escaped.
    """
    report = priced.report
    data = timeline(priced.report, priced.core_names)
    return (
        environment()
        .get_template("timeline.html")
        .render(
            title=f"{Path(priced.model).name} on {report.accelerator}",
            byline=f"{engine_name(report)}, convention {report.convention}, {mapping_name(report)}",
            warnings=priced.warnings,
            leaves_out=report.leaves_out,
            figure=figure_box("figure-timeline", plot_timeline(data), "", _description(data)),
            busy_table=busy_table(data),
            exits_table=_exits_table(report),
            version=__version__,
        )
    )


def write_timeline_page(priced: PricedModel, path: Path) -> None:
    """Write the page of a priced model.

    Args:
        priced: The model and its cost report.
        path: The HTML file; one that exists is replaced.

    Raises:
        InputError: The file cannot be written.
    """
    page = render_timeline_page(priced)
    try:
        write_atomically(path, page)
    except OSError as exc:
        reason = exc.strerror or exc
        raise InputError(f"The timeline cannot be written to '{path}': {reason}. Its folder must exist.") from exc


def _description(data: Timeline) -> str:
    ends = "; ".join(f"{mark.label} at {units.cycles(mark.cycle)}" for mark in data.marks)
    return f"Schedule of {units.count(len(data.cores), 'core')} and {units.count(len(data.links), 'link')} ({ends})."


def _exits_table(report: CostReport) -> Table:
    columns = ("To exit", "Latency", "Energy", "MACs")
    rows = tuple(
        (
            Cell(stage.exit),
            Cell(units.cycles(stage.latency_to_exit_cycles)),
            Cell(units.energy(stage.energy_to_exit_pj)),
            Cell(units.macs(stage.macs_to_exit)),
        )
        for stage in report.stages
    )
    headings = tuple(Column(heading, numeric=index > 0) for index, heading in enumerate(columns))
    return Table("Latency and energy from the input to the answer of each exit", headings, rows)
