"""The headline of a run: whether early exits pay, and what the recommended network costs."""

from dataclasses import dataclass

from offramp.numerics.paired_bootstrap import Estimate
from offramp.objectives.picking import rule_name
from offramp.objectives.verdict import ENERGY, GAIN_METRICS, LATENCY, PRODUCT, GainMetric, Verdict
from offramp.records.run_summary import ChosenNetwork, RunSummary
from offramp.records.static_match import StaticMatch
from offramp.report import units
from offramp.report.wording import format_metric

_ANSWERS = {"pay": "early exits pay", "do not pay": "early exits do not pay", "undecided": "undecided"}


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


@dataclass(frozen=True)
class StoredGain:
    """A gain that was found before the networks were trained, without an interval.

    Attributes:
        metric: What less is taken of.
        ratio: Cost of the match over expected cost of the early-exit network.
    """

    metric: GainMetric
    ratio: float


def gain_text(ratio: float) -> str:
    """Write a gain in words.

    Args:
        ratio: Cost of the match over that of the network, above 0.

    Returns:
        For example "2.4× less", "1.1× more" or "the same".
    """
    return units.reduction(1.0, ratio)


def interval_text(gain: Estimate) -> str:
    """Write the interval of a gain, in the direction in which `gain_text` writes its value.

    Args:
        gain: The gain with its interval.

    Returns:
        For example "2.31 to 2.52".
    """
    low, high = (gain.low, gain.high) if gain.value >= 1.0 else (1.0 / gain.high, 1.0 / gain.low)
    return " to ".join(units.significant(end, 3) if end >= 10.0 else f"{end:.2f}" for end in (low, high))


def difference_text(difference: Estimate) -> str:
    """Write the interval of an accuracy difference in percentage points.

    Args:
        difference: The difference of two shares with its interval.

    Returns:
        For example "−0.8 to 1.9 points".
    """
    ends = " to ".join(_signed(100.0 * end) for end in (difference.low, difference.high))
    return f"{ends}{units.NBSP}points"


def _signed(value: float) -> str:
    text = f"{abs(value):.1f}"
    return f"−{text}" if value < 0.0 and float(text) else text


def verdict_text(network: ChosenNetwork) -> str:
    """Say in a few words whether a network's early exits pay.

    Args:
        network: The network.

    Returns:
        The verdict, or why there is none.
    """
    if network.num_exits == 1:
        return "static"
    if network.verdict is not None:
        return _ANSWERS[network.verdict.answer]
    if network.match is None:
        return "no match"
    return "not compared" if network.match.trained else "before training"


def gains_before_training(network: ChosenNetwork) -> tuple[StoredGain, ...]:
    """The gains over a match that was not trained, by the figures of the search.

    Args:
        network: The network.

    Returns:
        One gain per metric of `GAIN_METRICS`; empty where the search's figures are not known.
    """
    match, searched = network.match, network.searched
    if match is None or searched is None or any(metric not in searched.values for metric in GAIN_METRICS):
        return ()
    return tuple(
        StoredGain(metric, getattr(match.expected, metric) / searched.values[metric]) for metric in GAIN_METRICS
    )


@dataclass(frozen=True)
class Headline:
    """What stands above everything else in a report.

    Attributes:
        verdict: Whether early exits pay, in one sentence.
        details: The figures, in sentences.
    """

    verdict: str
    details: str


def headline(summary: RunSummary) -> Headline:
    """Say whether early exits pay, and by how much.

    Args:
        summary: The run.

    Returns:
        The verdict and its figures.
    """
    picked, recommended = summary.picked, summary.recommended
    if picked is None or recommended is None:
        return Headline(
            "No network was chosen.", "If there are constraints, they may be too strict for what was tried."
        )
    if picked.num_exits == 1 and picked.guarantee is not None and not picked.candidate.is_static:
        return Headline(
            "The guarantee could not be kept: the recommended network is static.",
            f"It has {_absolute(picked)}. No thresholds with which images leave early could be certified, so that its "
            "early exits were removed.",
        )
    if picked.num_exits == 1:
        return Headline(
            "This task needs no early exits: the recommended network is static.",
            f"It has {_absolute(picked)}. No network with early exits was better, or nearly all images left at one "
            "exit.",
        )
    if picked.verdict is None:
        return Headline(
            "Whether early exits pay is not known.",
            f"The recommended network has {_absolute(picked)}. {_leave_early(picked)} {_without_verdict(picked)}",
        )
    against = f"{_gains(picked.verdict)}, {_accuracy_clause(picked)}.{_at_cost(picked)}"
    if picked.verdict.answer == "pay":
        return Headline("Early exits pay.", f"Against the static match: {against} {_leave_early(picked)}")
    if picked.verdict.answer == "undecided":
        return Headline(
            "Undecided whether early exits pay.",
            f"{_reason(picked.verdict)} Against the static match: {against} {_leave_early(picked)}",
        )
    short = any("What to do: " in alert for alert in summary.alerts)
    learned = " Little was learned, as said above: a longer run may answer otherwise." if short else ""
    return Headline(
        "Early exits do not pay here: the recommended network is static.",
        f"It has {_absolute(recommended)}. It is exported and ready to deploy, as a network with early exits would be."
        f"{learned} The network with early exits, against the static match: {against}",
    )


def _gains(verdict: Verdict) -> str:
    """Energy and latency, and the product beside them."""
    energy, latency, product = (f"{gain_text(g.ratio.value)}{{}} ({interval_text(g.ratio)})" for g in verdict.gains)
    shown = f"{energy.format(' energy')} and {latency.format(' latency')}"
    return f"{shown}, product of both (of each image, then the mean) {product.format('')}"


def _accuracy_clause(network: ChosenNetwork) -> str:
    verdict, match = network.verdict, network.match
    if verdict is None or match is None:
        return ""
    difference = verdict.accuracy_difference
    sides = f"{units.percent(network.measured.profile.top1)}; {difference_text(difference)}"
    if abs(difference.value) < 0.0005:
        return f"at the same test accuracy ({sides})"
    word = "higher" if difference.value > 0 else "lower"
    return f"at {units.percentage_points(difference.value)} {word} test accuracy ({sides})"


def _at_cost(network: ChosenNetwork) -> str:
    """How much less accurate a static network of the same cost is."""
    verdict, second = network.verdict, network.match_at_cost
    if verdict is None or verdict.difference_at_cost is None or second is None or second.accuracy_test is None:
        return ""
    difference = verdict.difference_at_cost
    swapped = Estimate(-difference.value, -difference.high, -difference.low)
    shown = f"{units.percentage_points(difference.value)} {'lower' if difference.value > 0 else 'higher'}"
    if abs(difference.value) < 0.0005:
        shown = "the same"
    return (
        f" The most accurate static network that costs no more has {shown} test accuracy "
        f"({units.percent(second.accuracy_test)}; {difference_text(swapped)})."
    )


def _reason(verdict: Verdict) -> str:
    """Why the rule does not decide."""
    images = units.count(verdict.num_samples, "test image")
    second = verdict.difference_at_cost
    if second is not None and second.low <= 0.0 and second.value <= verdict.margin:
        text = f"{images} do not tell whether a static network that costs no more is as accurate"
    elif verdict.samples_to_decide is not None:
        text = f"{images} do not show that the accuracy is at most {units.percentage_points(verdict.margin)} lower"
    else:
        return _reason_of_costs(verdict)
    needed = verdict.samples_to_decide
    return f"{text}; about {needed} would." if needed is not None else f"{text}."


def _reason_of_costs(verdict: Verdict) -> str:
    energy, latency, product = (gain.ratio for gain in verdict.gains)
    if product.low > 1.0 and (energy.high < 1.0 or latency.high < 1.0):
        worse = "energy" if energy.high < 1.0 else "latency"
        return f"It takes more {worse} and less of the other."
    if product.low > 1.0:
        return "It costs less, but is less accurate than a network that it must equal."
    if product.high <= 1.0:
        return "It costs more, and is more accurate."
    return "Its costs may be lower or higher."


def _without_verdict(network: ChosenNetwork) -> str:
    match, gains = network.match, gains_before_training(network)
    if match is None:
        return "No static network was trained to compare it with."
    if match.trained or not gains:
        return "Its match was not measured on test images, so whether early exits pay is not known."
    energy, latency, product = (gain_text(gain.ratio) for gain in gains)
    return (
        f"The comparison is before training: in the search it took {energy} energy and {latency} latency (product of "
        f"both {product}) against the cheapest static network that was as accurate."
    )


def _absolute(network: ChosenNetwork) -> str:
    measured = network.measured
    energy = format_metric(ENERGY, measured.expected.energy_pj)
    latency = format_metric(LATENCY, measured.expected.latency_cycles)
    return f"{units.percent(measured.profile.top1)} {measured.split} accuracy at {energy} and {latency} per image"


def _leave_early(network: ChosenNetwork) -> str:
    early = units.percent(1.0 - network.measured.profile.rates[-1], 0)
    return f"{early} of the {network.measured.split} images leave before the final exit."


def cards(summary: RunSummary) -> tuple[Card, ...]:
    """Key figures of the recommended network, against its match where it has early exits.

    Args:
        summary: The run.

    Returns:
        The key figures: accuracy, energy, latency, their product, and who leaves early; empty where no network was
        chosen.
    """
    network = summary.recommended
    if network is None:
        return ()
    measured, verdict, match = network.measured, network.verdict, network.match
    accuracy = units.percent(measured.profile.top1)
    note = ""
    if verdict is not None and match is not None and match.accuracy_test is not None:
        note = f"match: {units.percent(match.accuracy_test)}; {difference_text(verdict.accuracy_difference)}"
    found = [Card(f"{measured.split.capitalize()} accuracy", accuracy, note)]
    for metric, label in ((ENERGY, "Energy per image"), (LATENCY, "Latency"), (PRODUCT, "Product of both")):
        found.append(_cost_card(network, metric, label, summary.clock_hz))
    if network.num_exits > 1:
        share = units.percent(1.0 - measured.profile.rates[-1], 0)
        exits = units.count(network.num_exits - 1, "early exit")
        found.append(Card("Leave early", share, f"of the {measured.split} images, at {exits}"))
    return tuple(found)


def _cost_card(network: ChosenNetwork, metric: GainMetric, label: str, clock_hz: float | None) -> Card:
    value = getattr(network.measured.expected, metric)
    shown, time = format_metric(metric, value), ""
    if metric == LATENCY and clock_hz:
        time = f"{units.wall_time(value, clock_hz)} at {units.si(clock_hz, 'Hz')}"
    if network.verdict is None or network.match is None:
        return Card(label, shown, time)
    gain = network.verdict.gain(metric)
    mean = "mean of the products of single images; " if metric == PRODUCT else ""
    note = f"{mean}{shown} against {format_metric(metric, getattr(network.match.expected, metric))}; 95{units.NBSP}%: "
    note += f"{interval_text(gain)}{f'; {time}' if time else ''}"
    return Card(label, gain_text(gain.value), note)


def static_roles(summary: RunSummary) -> dict[str, str]:
    """What each static network is compared with.

    Args:
        summary: The run.

    Returns:
        By the name of the network, its roles in words.
    """
    roles: dict[str, list[str]] = {}
    sources: dict[str, str] = {}
    for network in summary.chosen:
        for match, role in ((network.match, "match of"), (network.match_at_cost, "same cost as")):
            if match is not None:
                trained = "" if match.trained else ", not trained"
                roles.setdefault(match.name, []).append(f"{role} {rule_name(network.rule)}{trained}")
                sources[match.name] = f"; an exit of {rule_name(match.exit_of)} alone" if match.exit_of else ""
    return {name: f"{'; '.join(parts)}{sources[name]}" for name, parts in roles.items()}


def static_matches(summary: RunSummary) -> tuple[StaticMatch, ...]:
    """The static networks that chosen ones are compared with, each once, without those that are chosen themselves.

    Args:
        summary: The run.

    Returns:
        The networks.
    """
    chosen = {network.rule for network in summary.chosen}
    found = [match for item in summary.chosen for match in (item.match, item.match_at_cost) if match is not None]
    return tuple({match.name: match for match in found if match.name not in chosen}.values())


def match_sentence(network: ChosenNetwork) -> str:
    """Sentence about the static networks that a network is compared with.

    Args:
        network: The network.

    Returns:
        The sentence; empty where there is nothing to compare with.
    """
    parts = []
    if network.match is not None:
        parts.append(f"Its match is {_described(network.match)}: the cheapest static network that is as accurate")
    if network.match_at_cost is not None and network.match_at_cost != network.match:
        lead = "the" if parts else "The"
        parts.append(f"{lead} most accurate static network that costs no more is {_described(network.match_at_cost)}")
    return f"{'; '.join(parts)}." if parts else ""


def _described(match: StaticMatch) -> str:
    energy, latency = match.expected.energy_pj, match.expected.latency_cycles
    accuracy = f"{units.percent(match.accuracy_validation)} validation"
    if match.accuracy_test is not None:
        accuracy += f" and {units.percent(match.accuracy_test)} test"
    trained = "" if match.trained else ", not trained"
    part = f", an exit of “{rule_name(match.exit_of)}” alone" if match.exit_of else ""
    return f"“{match.name}”{part} ({accuracy} accuracy, {units.energy(energy)}, {units.cycles(latency)}{trained})"
