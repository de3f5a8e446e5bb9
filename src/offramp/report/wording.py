"""Sentences of the report: what was searched, the results, and the meaning of terms."""

from collections.abc import Callable
from dataclasses import dataclass

from offramp.exits.quality.quality_measures import RECALL
from offramp.objectives.evaluation import is_quality
from offramp.records.run_summary import ChosenNetwork, RunSummary
from offramp.report import units

METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "latency_cycles": "expected latency",
    "energy_pj": "expected energy",
    "macs": "expected MACs",
    "energy_delay_product_j_cycles": "energy-delay product",
    "memory_use": "use of the fullest memory",
}


MEASURE_NAMES = {
    "max_probability": "the largest class probability",
    "entropy": "one minus the normalised entropy",
    "margin": "the lead of the first class over the second",
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
    early = units.count(len(summary.front_indices), "network with early exits", "networks with early exits")
    static = units.count(len(summary.static_front), "static one", "static ones")
    front = (
        f"Of all that were tried, {early} and {static} are on their Pareto fronts: no other one of their kind is "
        "better in every respect."
    )
    if not summary.front_indices and not summary.static_front:
        front = "The Pareto front is empty: no network could be measured and kept the constraints."
    return (
        f"{tried} of the {backbone} family {'was' if len(summary.evaluations) == 1 else 'were'} tried on "
        f"{data.name} ({units.count(len(data.class_names), 'class', 'classes')}) with {summary.algorithm}{took}. "
        f"Energy and latency are estimates for the accelerator {summary.accelerator}.{wanted} {front}"
    )


def beyond_static_sentence(summary: RunSummary) -> str:
    """Sentence about what early exits add to the static front.

    Args:
        summary: The run.

    Returns:
        The sentence; empty where that was not computed.
    """
    volume = summary.volume_beyond_static
    if volume is None:
        return ""
    if volume <= 0.0:
        return "Early exits add nothing to the static front: its hypervolume stays the same."
    added = units.significant(volume)
    return f"Early exits add {added} to the hypervolume of the static front (the largest possible one is 1)."


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
    Term(
        "Static network",
        "A network with one classifier, at the end of its backbone or earlier: every image runs through all of it.",
    ),
    Term(
        "Match",
        "The cheapest static network that is at least as accurate on the validation images, fine-tuned in the same "
        "way. It answers what the task would cost without early exits.",
    ),
    Term(
        "Verdict",
        "Early exits pay if energy times latency is certainly lower than that of the match, neither of the two is "
        "certainly higher, and the accuracy is certainly higher than that of the most accurate static network that "
        "costs no more (or within one point of the match, where that network is measured more than one point below). "
        "They do not pay if energy times latency is certainly not lower, and the accuracy not certainly higher, or if "
        "a static network that costs no more is certainly as accurate within one point. Everything else is undecided. "
        "Certain means: by the interval of 95 %.",
    ),
    Term(
        "Interval of 95 %",
        "Where a figure would lie for 95 of 100 other sets of as many test images (paired bootstrap: both networks are "
        "compared on the same images).",
    ),
    Term("Largest static network", "The largest backbone of the search space, without early exits."),
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
