"""Sentences of the report: what was searched, the results, and the meaning of terms."""

from collections.abc import Callable
from dataclasses import dataclass

from offramp.exits.quality.quality_measures import RECALL
from offramp.objectives.evaluation import is_quality
from offramp.records.run_summary import ChosenNetwork, RunSummary, StaticReference
from offramp.report import units

METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "latency_cycles": "expected latency",
    "energy_pj": "expected energy",
    "macs": "expected MACs",
    "energy_delay_product_j_cycles": "energy-delay product",
    "memory_use": "share of a memory that is needed",
}


MEASURE_NAMES = {
    "max_probability": "largest class probability",
    "entropy": "one minus the normalised entropy",
    "margin": "lead of the first class over the second",
}


@dataclass(frozen=True)
class Term:
    """A glossary entry.

    Attributes:
        name: The term.
        meaning: What it means.
    """

    name: str
    meaning: str


@dataclass(frozen=True)
class Card:
    """A key figure.

    Attributes:
        label: What it is.
        value: The figure with its unit.
        note: What it is compared with.
    """

    label: str
    value: str
    note: str


def format_metric(metric: str, value: float) -> str:
    """Write the value of a metric with its unit.

    Args:
        metric: Name of the metric.
        value: The value in the metric's base unit.

    Returns:
        The value as text; a metric that is not known has no unit.
    """
    formats: dict[str, Callable[[float], str]] = {
        "latency_cycles": units.cycles,
        "energy_pj": units.energy,
        "macs": units.macs,
        "energy_delay_product_j_cycles": units.energy_delay_product,
        "memory_use": units.percent,
    }
    if is_quality(metric):
        return units.percent(value)
    return formats[metric](value) if metric in formats else units.significant(value)


def metric_name(metric: str) -> str:
    """Name a metric in words.

    Args:
        metric: Name of the metric.

    Returns:
        The words; a metric that is not known stays as it is.
    """
    if metric.startswith(RECALL):
        return f"recall of “{metric.removeprefix(RECALL)}”"
    return METRIC_NAMES.get(metric, metric)


def search_sentences(summary: RunSummary) -> str:
    """Sentences about what was searched, on what data, and how.

    Args:
        summary: The run.

    Returns:
        The sentences.
    """
    data = summary.data
    tried = units.count(len(summary.evaluations), "network")
    took = f" in {units.duration(summary.duration_s)}" if summary.duration_s is not None else ""
    backbone = summary.static_reference.architecture.backbone
    goals = [
        f"{'higher' if goal.direction == 'maximize' else 'lower'} {metric_name(goal.metric)}"
        for goal in summary.objectives
    ]
    limits = [
        f"{metric_name(limit.metric)} {'at most' if limit.relation == '<=' else 'at least'} "
        f"{format_metric(limit.metric, limit.bound).removesuffix(f'{units.NBSP}MACs')}"
        for limit in summary.constraints
    ]
    bounds = f", with {_joined(limits)}" if limits else ""
    wanted = f" The search looked for {_joined(goals)}{bounds}." if goals else ""
    on_front = units.count(len(summary.front_indices), "network is", "networks are")
    front = f"{on_front} on the Pareto front: no other one tried is better in every respect."
    if not summary.front_indices:
        front = "The Pareto front is empty: no network could be measured and kept the constraints."
    return (
        f"{tried} of the {backbone} family {'was' if len(summary.evaluations) == 1 else 'were'} tried on "
        f"{data.name} ({units.count(len(data.class_names), 'class', 'classes')}) with {summary.algorithm}{took}. "
        f"Energy and latency are estimates for the accelerator {summary.accelerator}.{wanted} {front}"
    )


def result_sentence(summary: RunSummary) -> str:
    """Sentences about the gains and losses of the recommended network against the static reference.

    Args:
        summary: The run.

    Returns:
        The sentences.
    """
    network = summary.recommended
    if network is None:
        return "No network was chosen. If there are constraints, they may be too strict for what was tried."
    reference = summary.static_reference
    measured = network.measured
    ratio = units.reduction(
        measured.expected.energy_delay_product_j_cycles, reference.expected.energy_delay_product_j_cycles
    )
    early = 1.0 - measured.profile.rates[-1]
    accuracy = f"{_accuracy_clause(network, reference)} ({units.percent(measured.profile.top1)})."
    if ratio in (units.NO_VALUE, "the same"):
        sentence = f"About the same energy-delay product as the static network, {accuracy}"
    else:
        sentence = f"{ratio} energy-delay product than the static network, {accuracy}"
    if network.num_exits == 1:
        return f"{sentence} It has no early exit: every image runs through the whole network."
    return f"{sentence} {units.percent(early, 0)} of the {measured.split} images leave before the final exit."


def _accuracy_clause(network: ChosenNetwork, reference: StaticReference) -> str:
    measured = network.measured
    static_accuracy = network.static_accuracy(reference)
    if static_accuracy is None:
        return f"at this {measured.split} accuracy"
    difference = measured.profile.top1 - static_accuracy
    if abs(difference) < 0.0005:
        return f"at the same {measured.split} accuracy"
    return (
        f"at {units.percentage_points(difference)} {'higher' if difference > 0 else 'lower'} {measured.split} accuracy"
    )


def cards(summary: RunSummary) -> tuple[Card, ...]:
    """Key figures of the recommended network.

    Args:
        summary: The run.

    Returns:
        The key figures; empty where no network was chosen.
    """
    network = summary.recommended
    if network is None:
        return ()
    reference = summary.static_reference
    measured = network.measured
    mine, static = measured.expected, reference.expected
    static_accuracy = network.static_accuracy(reference)
    result = [
        Card(
            f"{measured.split.capitalize()} accuracy",
            units.percent(measured.profile.top1),
            "static network: " + (units.percent(static_accuracy) if static_accuracy is not None else "not measured"),
        )
    ]
    for label, metric in (
        ("Energy-delay product", "energy_delay_product_j_cycles"),
        ("Energy per image", "energy_pj"),
        ("Latency", "latency_cycles"),
        ("MACs per image", "macs"),
    ):
        value, other = getattr(mine, metric), getattr(static, metric)
        note = f"{format_metric(metric, value)} against {format_metric(metric, other)}"
        if metric == "latency_cycles" and summary.clock_hz:
            note += f"; {units.wall_time(value, summary.clock_hz)} at {units.si(summary.clock_hz, 'Hz')}"
        result.append(Card(label, units.reduction(value, other), note))
    if network.num_exits > 1:
        share = units.percent(1.0 - measured.profile.rates[-1], 0)
        exits = units.count(network.num_exits - 1, "early exit")
        result.append(Card("Leave early", share, f"of the {measured.split} images, at {exits}"))
    return tuple(result)


def guarantee_sentence(network: ChosenNetwork) -> str:
    """Sentence about what was certified for a network with early exits.

    Args:
        network: The network.

    Returns:
        The sentence; empty where there is no guarantee or no early exit.
    """
    guarantee = network.guarantee
    if guarantee is None or network.num_exits == 1:
        return ""
    held_back = f"{units.count(guarantee.num_calibration_samples, 'validation image')} held back for it"
    lost = f"{units.significant(100.0 * guarantee.epsilon)} percentage points of {metric_name(guarantee.measure)}"
    sure = units.percent(1.0 - guarantee.delta)
    if not guarantee.leaves_early:
        return (
            f"The promise to lose at most {lost} with a confidence of {sure} could not be made for any "
            f"thresholds that let images leave early ({held_back}), so no image does."
        )
    sentence = (
        f"With a confidence of {sure}, leaving early costs at most {lost} against running every image to "
        f"the final exit, on images of the same kind ({guarantee.method} test on {held_back}"
    )
    if guarantee.num_seen:
        some = "all" if guarantee.num_seen == guarantee.num_calibration_samples else str(guarantee.num_seen)
        sentence += f", {some} of which the search had seen"
    if network.test is None or not network.test.full_accuracies or guarantee.measure != "accuracy":
        return f"{sentence})."
    measured = network.test.full_accuracies[-1] - network.test.top1
    return f"{sentence}); on the test images it costs {units.significant(100.0 * measured)}."


def glossary() -> tuple[Term, ...]:
    """The terms of the page with their meanings."""
    return _GLOSSARY


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


_GLOSSARY = (
    Term("Backbone", "The chain of blocks that every image runs through until it leaves."),
    Term(
        "Branch",
        "The classifier at an exit, the final one too. It costs something even when the image does not leave there.",
    ),
    Term(
        "Early exit",
        "A place in the middle of a network where an image may leave with an answer, if the network is sure enough.",
    ),
    Term("Exit rate", "The share of images that leave at an exit. The rates of all exits add up to 100 %."),
    Term(
        "Confidence and threshold",
        "How sure an exit is of its answer, from 0 to 1. An image leaves at the first exit whose confidence reaches "
        "the threshold of that exit; the final exit takes the rest.",
    ),
    Term(
        "Expected cost",
        "The mean over the images: each one is charged for all the blocks and branches it ran through before it left.",
    ),
    Term(
        "Energy-delay product",
        "Energy of an image times its latency, in joule times clock cycles, averaged over the images. It is small "
        "only if a network is both frugal and quick.",
    ),
    Term("Static network", "A backbone with its final classifier alone: every image runs through all of it."),
    Term(
        "Static reference",
        "The one static network that every reduction on this page is measured against; priced by the same engine.",
    ),
    Term("MAC", "Multiply-accumulate operation: one multiplication and one addition."),
    Term("Cycle", "One tick of the accelerator's clock."),
    Term(
        "Pareto front",
        "The networks for which no other one that was tried is at least as good in every objective and better in one.",
    ),
    Term("Knee", "The point of the front where giving up a little accuracy stops saving a lot of cost."),
    Term(
        "Training, validation and test images",
        "Weights are learnt on the first, networks and thresholds are chosen on the second, and the third are looked "
        "at once, at the very end.",
    ),
    Term(
        "Hypervolume",
        "How much of the space between the worst values and the ideal the front covers; it grows as the search finds "
        "better networks.",
    ),
    Term("Utilisation", "The share of the multipliers of a core that do useful work while a layer runs."),
)
