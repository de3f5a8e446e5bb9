"""The report of a run as one self-contained HTML page."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from offramp.errors import RunError
from offramp.files.safe_files import write_atomically
from offramp.objectives.picking import rule_name
from offramp.records.report_items import SampleDecision, TrainingCurve
from offramp.records.run_summary import ChosenNetwork, RunSummary
from offramp.report import units
from offramp.report import wording as words
from offramp.report.architecture_layout import exit_label
from offramp.report.figures import exit_breakdown_data, front_data
from offramp.report.figures import run_figures as figures
from offramp.report.figures.front_figure import plot_front
from offramp.report.figures.timeline_data import busy_table, timeline
from offramp.report.figures.timeline_figure import plot_timeline
from offramp.report.headline import cards, headline, match_sentence
from offramp.report.pages import diagram, tables
from offramp.report.pages.class_tables import classes_table, confusion_table
from offramp.report.pages.template import FigureBox, environment, figure_box
from offramp.report.table import Table

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class NetworkView:
    """What the template shows of a chosen network.

    Attributes:
        id: Anchor of its section.
        name: Name of the rules that picked it.
        comparison: Sentence about the static networks that it is compared with; empty = there are none.
        policy: Sentences about its exit policy.
        bundle: Path of its bundle; empty = there is none.
        diagram: Its block diagram.
        exits_figure: Exit rates and accuracies; None without early exits.
        exits_table: Its exits.
        class_tables: What each class gets, and the confusion matrix; those that were measured.
        split_figure: Energy by source.
        energy_table: Energy by source.
        energy_figure: Energy of each layer.
        cycles_figure: Busy cycles of each layer.
        timeline_figure: Its schedule.
        busy_table: Busy times of cores and links.
    """

    id: str
    name: str
    comparison: str
    policy: str
    bundle: str
    diagram: Markup
    exits_figure: FigureBox | None
    exits_table: Table
    class_tables: tuple[Table, ...]
    split_figure: FigureBox
    energy_table: Table
    energy_figure: FigureBox
    cycles_figure: FigureBox
    timeline_figure: FigureBox
    busy_table: Table


@dataclass(frozen=True)
class SampleView:
    """What the template shows of a test image.

    Attributes:
        image: The image, a PNG file as base64 text.
        truth: Name of its class.
        predicted: Name of the predicted class.
        correct: Whether the prediction is right.
        exit: Name of the exit at which it left.
        confidence: Confidence of this exit in percent.
    """

    image: str
    truth: str
    predicted: str
    correct: bool
    exit: str
    confidence: str


@dataclass(frozen=True)
class Link:
    """An entry of the table of contents.

    Attributes:
        id: Anchor of the section.
        title: Its title.
    """

    id: str
    title: str


def render_page(summary: RunSummary) -> str:
    """The page as text.

    Args:
        summary: What the page shows; everything in it is escaped.

    Returns:
        The HTML page.
    """
    network = summary.recommended
    progress = front_data.hypervolume_progress(summary.objectives, summary.evaluations)
    rules = {item.rule for item in (*summary.chosen, *summary.static_networks)}
    subject = f"{summary.data.name} on {summary.accelerator}"
    training = [_training_box(index, curve, rules) for index, curve in enumerate(summary.training) if curve.epochs]
    return (
        environment()
        .get_template("page.html")
        .render(
            summary=summary,
            byline="" if summary.title == subject else f"{subject}, ",
            created=summary.created.strftime("%d %B %Y").lstrip("0"),
            alerts=summary.alerts,
            headline=headline(summary),
            searched=words.search_sentences(summary),
            cards=cards(summary),
            has_verdict=network is not None and network.verdict is not None,
            recommended=rule_name(network.rule) if network else "",
            split=network.measured.split if network else "",
            warnings=_warnings(summary),
            contents=_contents(summary, bool(training), bool(progress)),
            front_figures=_front_boxes(summary),
            thinned=_thinned(summary),
            has_static_front=bool(summary.static_front),
            has_matches=any(item.match is not None and item.match.trained for item in summary.chosen),
            beyond_static=words.beyond_static_sentence(summary),
            front_table=tables.front_table(summary),
            static_front_table=tables.static_front_table(summary),
            chosen_table=tables.chosen_table(summary),
            networks=[_network_view(index, item, summary) for index, item in enumerate(summary.exported)],
            samples=[_sample_view(sample, summary) for sample in summary.samples],
            sample_network=rule_name(summary.samples[0].network) if summary.samples else "",
            training_figures=training,
            progress_figure=_progress_box(progress) if progress else None,
            facts_table=tables.facts_table(summary),
            glossary=words.glossary(),
        )
    )


def write_page(summary: RunSummary, path: Path) -> None:
    """Write the page to a file.

    Args:
        summary: What the page shows.
        path: The file; one that is there is replaced.

    Raises:
        RunError: The file cannot be written.
    """
    page = render_page(summary)
    try:
        write_atomically(path, page)
    except OSError as exc:
        raise RunError(f"The report cannot be written to '{path}': {exc}.") from exc


def _front_boxes(summary: RunSummary) -> list[FigureBox]:
    boxes = []
    for panel in front_data.front_panels(summary):
        named = [*panel.chosen, *panel.matches, panel.largest]
        marks = "; ".join(f"{p.label}: {units.percent(p.accuracy)} at {units.si(p.cost, panel.unit)}" for p in named)
        description = f"Scatter plot of validation accuracy against {panel.title.lower()}. {marks}."
        title = f"Accuracy against {panel.title[0].lower()}{panel.title[1:]}"
        boxes.append(figure_box(f"figure-front-{panel.metric}", plot_front(panel), title, description))
    return boxes


def _thinned(summary: RunSummary) -> str:
    others = len(summary.evaluations) - len(summary.front_indices)
    if others <= front_data.MAX_CANDIDATES:
        return ""
    drawn = -(-others // -(-others // front_data.MAX_CANDIDATES)) + len(summary.front_indices)
    return f"{drawn} of {len(summary.evaluations)}"


def _network_view(index: int, network: ChosenNetwork, summary: RunSummary) -> NetworkView:
    name = rule_name(network.rule)
    measured = network.measured
    parts = exit_breakdown_data.breakdown(network.cost, measured.profile.rates)
    bars = exit_breakdown_data.exit_bars(network)
    schedule = timeline(network.cost, summary.core_names)
    about = f"of the network {name}"
    rates = "; ".join(f"{bar.exit}, {bar.split}: {units.percent(bar.rate)} leave" for bar in bars)
    sources = "; ".join(f"{s}: {units.energy(parts.expected_energy_pj(s))}" for s in parts.sources)
    ends = "; ".join(f"{mark.label} at {units.cycles(mark.cycle)}" for mark in schedule.marks)

    def box(kind: str, figure: "Figure", title: str, description: str) -> FigureBox:
        return figure_box(f"figure-{index}-{kind}", figure, title, f"{description} {about}.")

    class_tables = (classes_table(network, summary), confusion_table(network, summary.data.class_names))
    exits = box("exits", figures.plot_exits(bars), "Who leaves where", f"Exit rates ({rates})")
    return NetworkView(
        id=f"network-{index}",
        name=name,
        comparison=match_sentence(network),
        policy=_policy_sentence(network),
        bundle=network.bundle,
        diagram=diagram.draw_diagram(network, summary.data, summary.max_depths),
        exits_figure=exits if network.num_exits > 1 else None,
        exits_table=tables.exits_table(network, summary.max_depths),
        class_tables=tuple(item for item in class_tables if item is not None),
        split_figure=box("split", figures.plot_energy_split(parts), "Energy by memory", f"Energy ({sources})"),
        energy_table=tables.energy_table(parts),
        energy_figure=box("energy", figures.plot_layer_energy(parts), "Energy per layer", "Energy of each layer"),
        cycles_figure=box("cycles", figures.plot_layer_cycles(parts), "Cycles per layer", "Cycles of each layer"),
        timeline_figure=box("timeline", plot_timeline(schedule), "", f"Schedule ({ends})"),
        busy_table=busy_table(schedule),
    )


def _policy_sentence(network: ChosenNetwork) -> str:
    if network.num_exits == 1:
        return "This network has no early exit: every image runs through all of it."
    measure = words.MEASURE_NAMES[network.policy.measure]
    scaled = ", each exit's logits divided by a temperature of its own" if network.policy.temperatures else ""
    by_class = ", shifted by an offset for each predicted class" if network.policy.class_offsets else ""
    sentence = (
        f"An image leaves at the first exit that is sure enough. Confidence is {measure}{scaled}{by_class}; "
        "the thresholds were chosen on the validation images."
    )
    return f"{sentence} {words.guarantee_sentence(network)}".rstrip()


def _sample_view(sample: SampleDecision, summary: RunSummary) -> SampleView:
    owner = next((item for item in summary.chosen if item.rule == sample.network), summary.recommended)
    num_exits = owner.num_exits if owner else sample.exit_index + 1
    return SampleView(
        image=sample.png_base64,
        truth=sample.true_label,
        predicted=sample.predicted_label,
        correct=sample.correct,
        exit=exit_label(sample.exit_index, num_exits),
        confidence=units.percent(sample.confidence, 0),
    )


def _training_box(index: int, curve: TrainingCurve, rules: Collection[str]) -> FigureBox:
    # A curve with the name of a network is of its fine-tuning.
    title = f"Fine-tuning: {rule_name(curve.name)}" if curve.name in rules else curve.name
    shown = f"loss {units.significant(curve.loss[-1])} after {units.count(len(curve.epochs), 'epoch')}"
    if curve.accuracies:
        shown += f", final exit {units.percent(curve.accuracies[-1][-1])}"
    figure = figures.plot_training(curve)
    title = title[:1].upper() + title[1:]
    return figure_box(f"figure-training-{index}", figure, title, f"Training curves of {curve.name}: {shown}.")


def _progress_box(points: tuple[front_data.ProgressPoint, ...]) -> FigureBox:
    caption = "The curve is flat where new networks no longer improve the front."
    return figure_box(
        "figure-progress",
        figures.plot_progress(points),
        "Hypervolume of the front",
        f"Hypervolume over {units.count(points[-1].num_evaluations, 'evaluation')}.",
        caption,
    )


def _warnings(summary: RunSummary) -> list[str]:
    """The run's own warnings and those of the cost engine, each once."""
    reports = [network.cost for network in summary.chosen] + [summary.static_reference.cost]
    return list(dict.fromkeys((*summary.warnings, *(text for report in reports for text in report.warnings))))


def _contents(summary: RunSummary, training: bool, progress: bool) -> list[Link]:
    entries = [
        (True, Link("front", "Pareto front")),
        (True, Link("chosen", "Chosen networks")),
        (bool(summary.chosen), Link("costs", "Energy and cycles")),
        (bool(summary.chosen), Link("schedule", "Schedule")),
        (bool(summary.samples), Link("samples", "Test images")),
        (training, Link("training", "Training")),
        (progress, Link("progress", "Progress")),
        (True, Link("settings", "Settings")),
        (True, Link("glossary", "Glossary")),
    ]
    return [link for shown, link in entries if shown]
