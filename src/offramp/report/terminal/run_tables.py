"""Results of a run: tables for the terminal, and plain data for JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offramp import jsonio
from offramp.cost.capacity import MemoryNeed
from offramp.cost.expected import ExpectedCost
from offramp.cost.report import CostReport
from offramp.exits.quality.quality_measures import ACCURACY
from offramp.objectives.evaluation import Evaluation, Objective, is_quality
from offramp.objectives.fronts import Fronts
from offramp.objectives.pareto import ParetoFront
from offramp.objectives.picking import rule_name
from offramp.records.run_summary import RunSummary
from offramp.report import units
from offramp.report.figures.front_data import cost_of
from offramp.report.headline import static_matches, verdict_text
from offramp.report.terminal.terminal_style import plain_text, simple_table
from offramp.report.wording import metric_name
from offramp.space.architecture import Architecture

if TYPE_CHECKING:
    from rich.table import Table as RichTable

COST_HEADINGS = ("Energy", "Latency", "Product", "MACs")
"""Headings of the columns of `cost_cells`."""

EARLY_FRONT, STATIC_FRONT = "Front of networks with early exits", "Front of static networks"

UNITS = "latency in cycles, energy-delay product in J·cycles"
"""Units that the cells of `cost_cells` leave out."""

_SHORT_NAMES = {"balanced_accuracy": "Bal. acc."}
"""Names of metrics that are too long for the heading of a narrow column."""


@dataclass(frozen=True)
class FrontCosts:
    """Expected costs of a network on the front; None = unknown.

    Attributes:
        latency_cycles: Latency in clock cycles.
        energy_pj: Energy in picojoule.
        macs: Multiply-accumulate operations.
        energy_delay_product_j_cycles: Energy-delay product in joule times clock cycles.
    """

    latency_cycles: float | None
    energy_pj: float | None
    macs: float | None
    energy_delay_product_j_cycles: float | None


@dataclass(frozen=True)
class FrontPoint:
    """A network on the front; all figures are of the validation split.

    Attributes:
        architecture: Its architecture.
        validation_accuracy: Its accuracy, a share; None = unknown.
        exit_rates: Share of the samples that leave at each exit; empty = unknown.
        thresholds: Threshold of each early exit; empty = unknown.
        expected: Its expected costs.
        values: All its metrics by name, among them those that the search optimised.
    """

    architecture: Architecture
    validation_accuracy: float | None
    exit_rates: tuple[float, ...]
    thresholds: tuple[float, ...]
    expected: FrontCosts
    values: dict[str, float]


def front_point(evaluation: Evaluation) -> FrontPoint:
    """The figures of a member of the front.

    Args:
        evaluation: The member.

    Returns:
        Its figures.
    """
    details = evaluation.details
    return FrontPoint(
        architecture=evaluation.architecture,
        validation_accuracy=evaluation.values.get("accuracy"),
        exit_rates=details.profile.rates if details else (),
        thresholds=details.policy.thresholds if details else (),
        expected=FrontCosts(
            latency_cycles=cost_of(evaluation, "latency_cycles"),
            energy_pj=cost_of(evaluation, "energy_pj"),
            macs=cost_of(evaluation, "macs"),
            energy_delay_product_j_cycles=cost_of(evaluation, "energy_delay_product_j_cycles"),
        ),
        values=dict(evaluation.values),
    )


def fronts_json(fronts: Fronts) -> dict[str, Any]:
    """Both fronts as plain data.

    Args:
        fronts: The fronts.

    Returns:
        Data that ``json.dumps`` takes: ``early_exit`` and ``static``, one object per member, and
        ``volume_beyond_static``.
    """
    return {
        "early_exit": [jsonio.to_data(front_point(evaluation)) for evaluation in fronts.early_exit],
        "static": [jsonio.to_data(front_point(evaluation)) for evaluation in fronts.static],
        "volume_beyond_static": fronts.volume_beyond(),
    }


def fronts_tables(fronts: Fronts) -> "tuple[RichTable | str, ...]":
    """Both fronts as tables, and what early exits add.

    Args:
        fronts: The fronts.

    Returns:
        What the console prints, in order.
    """
    parts: list[RichTable | str] = []
    for title, members in ((EARLY_FRONT, fronts.early_exit), (STATIC_FRONT, fronts.static)):
        ranked = sorted(members, key=lambda item: -item.values.get("accuracy", 0.0))
        parts.append(evaluations_table(ranked, fronts.objectives, title=title))
    added = units.significant(fronts.volume_beyond())
    return (*parts, f"Hypervolume that early exits add to the static front, of 1 at most: {added}")


def evaluations_table(
    front: Sequence[Evaluation],
    objectives: Sequence[Objective] = (),
    *,
    title: str = "Pareto front",
) -> "RichTable":
    """Table of evaluations.

    Args:
        front: The evaluations.
        objectives: Objectives of the search; each measure of classes among them gets a column.
        title: What the networks are.

    Returns:
        The table, one row per evaluation in the given order.
    """
    table = simple_table(f"{title}: validation accuracy, expected costs per image; {UNITS}")
    measures = [item.metric for item in objectives if is_quality(item.metric) and item.metric != ACCURACY]
    names = [_SHORT_NAMES.get(name, metric_name(name)) for name in measures]
    for heading in ("Accuracy", *names, *COST_HEADINGS, "Exit rates (%)", "Exits at"):
        table.add_column(plain_text(heading), justify="right", overflow="fold")
    for evaluation in front:
        point = front_point(evaluation)
        shares = (point.values.get(name) for name in (ACCURACY, *measures))
        quality = (units.NO_VALUE if share is None else units.percent(share) for share in shares)
        rates = "/".join(f"{100 * rate:.0f}" for rate in point.exit_rates) or units.NO_VALUE
        cells = (*quality, *cost_cells(point.expected), rates, _places(point.architecture))
        table.add_row(*map(plain_text, cells))
    _note_what_does_not_fit(table, (item.details.cost for item in front if item.details is not None))
    return table


def _note_what_does_not_fit(table: "RichTable", reports: Iterable[CostReport]) -> None:
    """Say below a table of networks which memories are too small for how many of them, and by how much at worst."""
    worst: dict[tuple[str, str], list[MemoryNeed]] = {}
    for need in (need for report in reports for need in report.memory if not need.fits):
        worst.setdefault((need.memory, need.content), []).append(need)
    notes = [
        f"{units.count(len(needs), 'network')} of {table.row_count}: {max(needs, key=lambda need: need.share).sentence}"
        for needs in worst.values()
    ]
    if notes:
        table.caption = plain_text("\n".join(notes))


def cost_cells(costs: FrontCosts | ExpectedCost) -> tuple[str, ...]:
    """Write costs without the words that stand in the headings already.

    Args:
        costs: Costs of a sample; a figure may be unknown.

    Returns:
        Energy, latency, energy-delay product and MACs, in the order of ``COST_HEADINGS``.
    """
    shown = (
        (costs.energy_pj, units.energy),
        (costs.latency_cycles, units.cycles),
        (costs.energy_delay_product_j_cycles, units.energy_delay_product),
        (costs.macs, units.macs),
    )
    texts = (units.NO_VALUE if value is None else write(value) for value, write in shown)
    return tuple(text.removesuffix("J·cycles").removesuffix("cycles").removesuffix("MACs").rstrip() for text in texts)


def _places(architecture: Architecture) -> str:
    """Taps of the early exits; of a network without any, where it ends if that is not the end of its backbone."""
    if architecture.exits:
        return "tap " + ", ".join(str(choice.tap) for choice in architecture.exits)
    return "none" if architecture.head is None else f"end: tap {architecture.head.tap}"


def summary_fronts(summary: RunSummary) -> Fronts:
    """Both fronts of a finished run.

    Args:
        summary: The run.

    Returns:
        The fronts.
    """
    early = ParetoFront(summary.objectives, summary.front)
    return Fronts(early, ParetoFront(summary.objectives, summary.static_front))


def chosen_table(summary: RunSummary) -> "RichTable":
    """Table of the chosen networks, their matches and the largest static network.

    Args:
        summary: The run.

    Returns:
        The table; costs are at the exit rates of the test samples, or of the validation samples where there are none.
    """
    table = simple_table(f"Chosen networks and their static matches: accuracy, expected costs per image; {UNITS}")
    table.add_column("Network")
    for heading in ("Val.", "Test", *COST_HEADINGS, "Verdict"):
        table.add_column(heading, justify="right", overflow="fold")
    rows: list[tuple[str, ...]] = []
    for network in summary.chosen:
        expected = network.measured.expected
        accuracies = _accuracies(network.validation.top1, None if network.test is None else network.test.top1)
        rows.append((rule_name(network.rule), *accuracies, *cost_cells(expected), verdict_text(network)))
    for match in static_matches(summary):
        accuracies = _accuracies(match.accuracy_validation, match.accuracy_test)
        rows.append((match.name, *accuracies, *cost_cells(match.expected), "static"))
    for row in rows:
        table.add_row(*map(plain_text, row))
    table.add_section()
    reference = summary.static_reference
    accuracies = _accuracies(reference.accuracy_validation, reference.accuracy_test)
    table.add_row(*map(plain_text, (reference.name, *accuracies, *cost_cells(reference.expected), "largest")))
    _note_what_does_not_fit(table, [*(network.cost for network in summary.chosen), reference.cost])
    return table


def _accuracies(validation: float, test: float | None) -> tuple[str, str]:
    return units.percent(validation), units.NO_VALUE if test is None else units.percent(test)
