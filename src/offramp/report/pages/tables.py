"""Tables of the report of a run."""

from collections.abc import Sequence

from offramp.cost.expected import ExpectedCost
from offramp.exits.exit_policy import ExitProfile
from offramp.objectives.evaluation import Evaluation, Status
from offramp.objectives.picking import rule_name
from offramp.records.run_summary import ChosenNetwork, RunSummary, StaticReference
from offramp.records.static_match import StaticMatch
from offramp.report import units
from offramp.report.architecture_layout import describe, layout_of
from offramp.report.figures.exit_breakdown_data import Breakdown
from offramp.report.figures.front_data import cost_of
from offramp.report.headline import gain_text, interval_text, static_matches, static_roles, verdict_text
from offramp.report.table import Cell, Column, Table
from offramp.report.wording import format_metric, metric_name
from offramp.workload.graph import Role

COST_METRICS = ("energy_pj", "latency_cycles", "energy_delay_product_j_cycles", "macs")
_SHORT_NAMES = {
    "energy_pj": "Energy",
    "latency_cycles": "Latency",
    "energy_delay_product_j_cycles": "Energy-delay product",
    "macs": "MACs",
}


def chosen_table(summary: RunSummary) -> Table:
    """Table of the chosen networks, their matches and the largest static network: accuracies, costs and verdicts.

    Args:
        summary: The run.

    Returns:
        The table; gains are over the match of the same row.
    """
    splits = {network.measured.split for network in summary.chosen}
    split = "test" if splits == {"test"} else "validation" if splits == {"validation"} else "test (or validation)"
    roles = static_roles(summary)
    rows = [_network_row(network, roles.get(network.rule, "")) for network in summary.chosen]
    rows += [_match_row(match, roles[match.name], summary) for match in static_matches(summary)]
    rows.append(_static_row(summary.static_reference, summary))
    caption = "Chosen networks, the static networks that they are compared with, and the largest static network."
    if summary.chosen:
        caption += f" Expected costs are means over the {split} images; below them, the gain over the match."
    headings = ("Validation accuracy", "Test accuracy", *(_SHORT_NAMES[metric] for metric in COST_METRICS))
    columns = (Column("Network", numeric=False), Column("Verdict", numeric=False), *map(Column, headings))
    return Table(caption, columns, tuple(rows))


def _network_row(network: ChosenNetwork, role: str) -> tuple[Cell, ...]:
    return (
        Cell(rule_name(network.rule), describe(network.architecture)),
        Cell(verdict_text(network), role),
        _accuracy_cell(network.validation.top1, network.validation.num_samples),
        Cell("not measured") if network.test is None else _accuracy_cell(network.test.top1, network.test.num_samples),
        *_cost_cells(network.measured.expected, network),
    )


def _match_row(match: StaticMatch, role: str, summary: RunSummary) -> tuple[Cell, ...]:
    test = match.accuracy_test
    return (
        Cell(match.name, describe(match.architecture)),
        Cell("static", role),
        _accuracy_cell(match.accuracy_validation, summary.data.num_validation),
        Cell("not measured") if test is None else _accuracy_cell(test, summary.data.num_test),
        *_cost_cells(match.expected),
    )


def _static_row(static: StaticReference, summary: RunSummary) -> tuple[Cell, ...]:
    test = static.accuracy_test
    return (
        Cell(static.name, describe(static.architecture)),
        Cell("static", "largest network"),
        _accuracy_cell(static.accuracy_validation, summary.data.num_validation),
        Cell("not measured") if test is None else _accuracy_cell(test, summary.data.num_test),
        *_cost_cells(static.expected),
    )


def _accuracy_cell(accuracy: float, num_samples: int) -> Cell:
    return Cell(units.percent(accuracy), interval(accuracy, num_samples))


def _cost_cells(expected: ExpectedCost, network: ChosenNetwork | None = None) -> tuple[Cell, ...]:
    """Costs, with the gains over the match where there is a verdict."""
    gains = {} if network is None or network.verdict is None else {g.metric: g.ratio for g in network.verdict.gains}
    cells = []
    for metric in COST_METRICS:
        gain = next((ratio for name, ratio in gains.items() if name == metric), None)
        note = "" if gain is None else f"{gain_text(gain.value)} ({interval_text(gain)})"
        cells.append(Cell(format_metric(metric, getattr(expected, metric)), note))
    return tuple(cells)


def interval(share: float, num_samples: int) -> str:
    """The 95 % Wilson interval of a share.

    Args:
        share: The share, from 0 to 1.
        num_samples: Number of samples on which it was counted.

    Returns:
        The interval in percent; empty where there are no samples or ``share`` is out of range.
    """
    from scipy.stats import binomtest

    if num_samples < 1 or not 0.0 <= share <= 1.0:
        return ""
    bounds = binomtest(round(share * num_samples), num_samples).proportion_ci(method="wilson")
    return f"{100 * bounds.low:.1f} to {100 * bounds.high:.1f}{units.NBSP}%"


def exits_table(network: ChosenNetwork, max_depths: Sequence[int]) -> Table:
    """Table of the exits of a network: position, threshold, exit rate, accuracies and the cost up to each.

    Args:
        network: The network.
        max_depths: Largest depth of each stage in the search space.

    Returns:
        The table, one row per exit.
    """
    shares = ("Threshold", "Leave here", "Right, of those", "Right if all left here")
    costs = ("Energy to here", "Latency to here", "MACs to here")
    rows = []
    for index, place in enumerate(layout_of(network.architecture, max_depths).exits):
        shown = _profile_texts(network.measured.profile, index)
        other = _profile_texts(network.validation, index)
        notes = ["" if network.test is None else f"validation {text}" for text in other]
        stage = network.cost.stages[index]
        rows.append((
            Cell(place.label, f"{place.position}, {place.branch}"),
            Cell(threshold(network, index)),
            *(Cell(text, note) for text, note in zip(shown, notes, strict=True)),
            Cell(units.energy(stage.energy_to_exit_pj)),
            Cell(units.cycles(stage.latency_to_exit_cycles)),
            Cell(units.macs(stage.macs_to_exit)),
        ))  # fmt: skip
    caption = f"Exits of the network “{rule_name(network.rule)}”, measured on the {network.measured.split} images."
    return Table(caption, (Column("Exit", numeric=False), *map(Column, (*shares, *costs))), tuple(rows))


def _profile_texts(profile: ExitProfile, index: int) -> tuple[str, str, str]:
    right = units.percent(profile.accuracies[index]) if profile.rates[index] > 0.0 else units.NO_VALUE
    full = units.percent(profile.full_accuracies[index]) if index < len(profile.full_accuracies) else units.NO_VALUE
    return units.percent(profile.rates[index]), right, full


def threshold(network: ChosenNetwork, index: int) -> str:
    """Write the threshold of an exit.

    Args:
        network: The network.
        index: Index of the exit, from 0.

    Returns:
        The number, or words for the final exit and for an exit at which no image leaves.
    """
    if index == network.num_exits - 1:
        return "takes the rest"
    value = network.policy.thresholds[index]
    return "closed" if value > 1.0 else f"{value:.3f}"


def front_table(summary: RunSummary) -> Table:
    """Table of the Pareto front of networks with early exits, before fine-tuning.

    Args:
        summary: The run.

    Returns:
        The table, one row per member, from the most to the least accurate.
    """
    members = [(f"#{index + 1}", summary.evaluations[index]) for index in summary.front_indices]
    return _front_table(members, summary, "Networks with early exits on their Pareto front")


def static_front_table(summary: RunSummary) -> Table:
    """Table of the Pareto front of static networks, before fine-tuning.

    Args:
        summary: The run.

    Returns:
        The table, one row per member, from the most to the least accurate.
    """
    members = [(f"static #{number}", item) for number, item in enumerate(summary.static_front, start=1)]
    return _front_table(members, summary, "Static networks on their Pareto front")


def _front_table(members: Sequence[tuple[str, Evaluation]], summary: RunSummary, title: str) -> Table:
    columns = [Column("Network", numeric=False), Column("Validation accuracy")]
    columns += [Column(_SHORT_NAMES[metric]) for metric in COST_METRICS]
    columns += [Column("Exit rates"), Column("Architecture", numeric=False)]
    rows = []
    for name, item in sorted(members, key=lambda member: -member[1].values.get("accuracy", 0.0)):
        accuracy = item.values.get("accuracy")
        costs = [(metric, cost_of(item, metric)) for metric in COST_METRICS]
        rates = item.details.profile.rates if item.details is not None else ()
        rows.append((
            Cell(name),
            Cell(units.NO_VALUE if accuracy is None else units.percent(accuracy)),
            *(Cell(units.NO_VALUE if value is None else format_metric(metric, value)) for metric, value in costs),
            Cell(" / ".join(units.percent(rate, 0) for rate in rates) or units.NO_VALUE),
            Cell(describe(item.architecture)),
        ))  # fmt: skip
    caption = f"{title}, as the search saw them: weights of the supernet, validation images."
    return Table(caption, tuple(columns), tuple(rows))


def energy_table(data: Breakdown) -> Table:
    """Table of the expected energy by source, separately for the backbone and the branches.

    Args:
        data: Energies of the layers.

    Returns:
        The table, one row per source and one for their sum.
    """
    values = {source: [data.expected_energy_pj(source, role) for role in Role] for source in data.sources}
    sums = [sum(column) for column in zip(*values.values(), strict=True)] or [0.0 for _ in Role]
    values["all"] = sums
    rows = []
    for source, parts in values.items():
        together = sum(parts)
        share = together / sum(sums) if sum(sums) else 0.0
        rows.append((Cell(source), *(Cell(units.energy(x)) for x in (*parts, together)), Cell(units.percent(share))))
    columns = (Column("Where", numeric=False), *map(Column, ("Backbone", "Exit branches", "Together", "Share")))
    return Table("Expected energy per image by memory.", columns, tuple(rows))


def facts_table(summary: RunSummary) -> Table:
    """Table of the settings of the run: data, accelerator, engine, search, versions.

    Args:
        summary: The run.

    Returns:
        The table, one row per setting.
    """
    data = summary.data
    failed = sum(item.status is Status.FAILED for item in summary.evaluations)
    outside = sum(item.status is Status.COMPLETE and not item.feasible for item in summary.evaluations)
    tried = f"{len(summary.evaluations)} ({failed} failed, {outside} broke a constraint)"
    goals = ", ".join(f"{goal.direction} {metric_name(goal.metric)}" for goal in summary.objectives)
    limits = ", ".join(
        f"{metric_name(limit.metric)} {limit.relation} {format_metric(limit.metric, limit.bound)}"
        for limit in summary.constraints
    )
    shape = " × ".join(str(size) for size in data.input_shape)
    facts = [
        ("Data", f"{data.name}, {units.count(len(data.class_names), 'class', 'classes')}, input {shape}"),
        ("Training images", f"{data.num_train:,}".replace(",", units.NBSP)),
        ("Validation images", f"{data.num_validation:,}".replace(",", units.NBSP)),
        ("Test images", f"{data.num_test:,}".replace(",", units.NBSP)),
        ("Data fingerprint", data.fingerprint),
        ("Accelerator", summary.accelerator),
        ("Clock", units.si(summary.clock_hz, "Hz") if summary.clock_hz else "not given"),
        ("Cost engine", f"{summary.engine} {summary.engine_version}"),
        ("Convention", summary.convention),
        ("Objectives", goals or "none"),
        ("Constraints", limits or "none"),
        ("Search algorithm", summary.algorithm),
        ("Networks tried", tried),
        ("Static networks judged", str(summary.num_static_candidates)),
        ("Seed", str(summary.seed)),
        ("Duration", "not recorded" if summary.duration_s is None else units.duration(summary.duration_s)),
        ("Made", summary.created.strftime("%Y-%m-%d %H:%M %Z").strip()),
        ("offramp", summary.offramp_version),
        *((item.name, item.value) for item in summary.environment),
    ]
    columns = (Column("Setting", numeric=False), Column("Value", numeric=False))
    return Table("How this run was made.", columns, tuple((Cell(name), Cell(value)) for name, value in facts))
