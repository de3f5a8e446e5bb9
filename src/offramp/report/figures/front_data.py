"""Values of the figures about the search: the Pareto front and its progress."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from offramp.cost.expected import ExpectedCost
from offramp.numerics.dominance import covered, distinct_front
from offramp.objectives.evaluation import Evaluation, Objective, Status
from offramp.objectives.picking import rule_name
from offramp.records.run_summary import ChosenNetwork, RunSummary, StaticReference
from offramp.records.static_match import StaticMatch
from offramp.report.architecture_layout import describe
from offramp.report.headline import static_matches

MAX_CANDIDATES = 2000
"""Candidates that a figure shows at most."""

_FAR_BELOW = 0.03
"""Accuracy below all others at which a static network does not stretch the axis, a share."""

AXES = (
    ("energy_pj", "Expected energy per image", "J", 1e-12),
    ("latency_cycles", "Expected latency", "cycles", 1.0),
    ("energy_delay_product_j_cycles", "Energy-delay product", "J·cycles", 1.0),
    ("macs", "Expected MACs per image", "MACs", 1.0),
)
"""Cost metrics with the title of their axis, the unit shown, and the factor from the metric's unit to it."""


@dataclass(frozen=True)
class Point:
    """A network in a figure of the front.

    Attributes:
        cost: Its cost in the base unit of the panel.
        accuracy: Its validation accuracy, a share.
        label: A short name.
        hover: A description.
    """

    cost: float
    accuracy: float
    label: str
    hover: str


@dataclass(frozen=True)
class FineTuningChange:
    """A candidate of the search and the same network after fine-tuning.

    Attributes:
        start: The candidate.
        end: The network after fine-tuning.
    """

    start: Point
    end: Point


@dataclass(frozen=True)
class MatchLink:
    """A chosen network and the static network that it is compared with.

    Attributes:
        network: The chosen network after fine-tuning.
        match: Its match.
    """

    network: Point
    match: Point


@dataclass(frozen=True)
class FrontPanel:
    """Validation accuracy against one cost.

    Attributes:
        metric: Name of the cost metric.
        title: Title of the cost axis.
        unit: Base unit of the cost.
        candidates: Networks of the search that are not on the front, thinned out to `MAX_CANDIDATES`.
        front: Members of the front of networks with early exits.
        nondominated: Members that no other member dominates in accuracy and this cost alone.
        static_front: Members of the front of static networks.
        static_nondominated: Those that no other one of them dominates in accuracy and this cost alone.
        chosen: The chosen networks after fine-tuning.
        matches: The trained static networks that chosen ones are compared with, each once.
        largest: The largest static network.
        fine_tuning: What fine-tuning changed of the chosen networks.
        match_links: The chosen networks with their matches.
    """

    metric: str
    title: str
    unit: str
    candidates: tuple[Point, ...]
    front: tuple[Point, ...]
    nondominated: tuple[Point, ...]
    static_front: tuple[Point, ...]
    static_nondominated: tuple[Point, ...]
    chosen: tuple[Point, ...]
    matches: tuple[Point, ...]
    largest: Point
    fine_tuning: tuple[FineTuningChange, ...]
    match_links: tuple[MatchLink, ...]

    @property
    def points(self) -> tuple[Point, ...]:
        """All networks."""
        return (*self.candidates, *self._marked)

    @property
    def framed_points(self) -> tuple[Point, ...]:
        """All networks but those that would stretch the axis: the least accurate candidates and static networks.

        Left out are a tenth of the candidates, and the static front far below everything else.
        """
        ranked = sorted(self.candidates, key=lambda p: p.accuracy)
        framed = (*ranked[len(ranked) // 10 :], *self.front, *self.chosen, *self.matches, self.largest)
        lowest = min(point.accuracy for point in framed) - _FAR_BELOW
        return (*framed, *(point for point in self.static_front if point.accuracy >= lowest))

    @property
    def _marked(self) -> tuple[Point, ...]:
        return (*self.front, *self.static_front, *self.chosen, *self.matches, self.largest)


@dataclass(frozen=True)
class ProgressPoint:
    """State of the front during the search.

    Attributes:
        num_evaluations: Number of evaluations so far.
        share: Hypervolume as a share of the final one.
        front_size: Number of members.
    """

    num_evaluations: int
    share: float
    front_size: int


def front_panels(summary: RunSummary) -> tuple[FrontPanel, ...]:
    """Panels of the front: accuracy against energy, latency, their product and MACs.

    Args:
        summary: The run.

    Returns:
        One panel per entry of `AXES`.
    """
    return tuple(_front_panel(summary, metric, title, unit, factor) for metric, title, unit, factor in AXES)


def _front_panel(summary: RunSummary, metric: str, title: str, unit: str, factor: float) -> FrontPanel:
    def point(evaluation: Evaluation, label: str) -> Point | None:
        cost, accuracy = cost_of(evaluation, metric), evaluation.values.get("accuracy")
        if evaluation.status is not Status.COMPLETE or cost is None or accuracy is None:
            return None
        return Point(cost * factor, accuracy, label, describe(evaluation.architecture))

    tried = [(index, point(item, f"#{index + 1}")) for index, item in enumerate(summary.evaluations)]
    points = {index: found for index, found in tried if found is not None}
    members = set(summary.front_indices)
    static = [point(item, f"static #{number}") for number, item in enumerate(summary.static_front, start=1)]
    static_front = tuple(found for found in static if found is not None)
    on_static_front = {item.architecture for item in summary.static_front}
    others = [
        found
        for index, found in points.items()
        if index not in members and summary.evaluations[index].architecture not in on_static_front
    ]
    step = max(1, -(-len(others) // MAX_CANDIDATES))
    chosen = tuple(_chosen_point(network, metric, factor) for network in summary.chosen)
    by_architecture = {summary.evaluations[index].architecture: found for index, found in points.items()}
    front = tuple(points[index] for index in summary.front_indices if index in points)
    links = tuple(
        MatchLink(end, _match_point(network.match, metric, factor))
        for network, end in zip(summary.chosen, chosen, strict=True)
        if network.match is not None and network.match.trained
    )
    return FrontPanel(
        metric=metric,
        title=title,
        unit=unit,
        candidates=tuple(others[::step]),
        front=front,
        nondominated=_nondominated(front),
        static_front=static_front,
        static_nondominated=_nondominated(static_front),
        chosen=_merge_equal(chosen),
        matches=tuple(_match_point(item, metric, factor) for item in static_matches(summary) if item.trained),
        largest=_static_point(summary.static_reference, metric, factor),
        fine_tuning=tuple(
            FineTuningChange(by_architecture[network.candidate], end)
            for network, end in zip(summary.chosen, chosen, strict=True)
            if network.candidate in by_architecture
        ),
        match_links=links,
    )


def cost_of(evaluation: Evaluation, metric: str) -> float | None:
    """A cost metric of an evaluation, from its values or else from its details.

    Args:
        evaluation: The evaluation.
        metric: Name of the metric, a field of `ExpectedCost`.

    Returns:
        The value in the metric's base unit; None = unknown.
    """
    if metric in evaluation.values:
        return evaluation.values[metric]
    return None if evaluation.details is None else metric_of(evaluation.details.expected, metric)


def metric_of(expected: ExpectedCost, metric: str) -> float:
    """A cost metric by its name.

    Args:
        expected: The expected cost.
        metric: Name of the metric, a field of `ExpectedCost`.

    Returns:
        The value in the metric's base unit.
    """
    return float(getattr(expected, metric))


def _chosen_point(network: ChosenNetwork, metric: str, factor: float) -> Point:
    cost = metric_of(network.expected_validation, metric) * factor
    hover = describe(network.architecture)
    return Point(cost, network.validation.top1, rule_name(network.rule), hover)


def _static_point(static: StaticReference, metric: str, factor: float) -> Point:
    hover = describe(static.architecture)
    return Point(metric_of(static.expected, metric) * factor, static.accuracy_validation, static.name, hover)


def _match_point(match: StaticMatch, metric: str, factor: float) -> Point:
    hover = describe(match.architecture)
    return Point(metric_of(match.expected, metric) * factor, match.accuracy_validation, match.name, hover)


def _merge_equal(points: Iterable[Point]) -> tuple[Point, ...]:
    """Merge points at the same place into one point with all labels."""
    merged: dict[tuple[float, float], Point] = {}
    for item in points:
        place = (item.cost, item.accuracy)
        label = f"{merged[place].label}, {item.label}" if place in merged else item.label
        merged[place] = Point(item.cost, item.accuracy, label, item.hover)
    return tuple(merged.values())


def _nondominated(points: Sequence[Point]) -> tuple[Point, ...]:
    goals = np.array([[point.cost, -point.accuracy] for point in points]).reshape(-1, 2)
    return tuple(points[index] for index in distinct_front(goals))


def hypervolume_progress(
    objectives: Sequence[Objective], evaluations: Sequence[Evaluation]
) -> tuple[ProgressPoint, ...]:
    """Growth of the front's hypervolume; each objective is scaled to the range of the feasible networks.

    Args:
        objectives: Objectives of the search.
        evaluations: Evaluations in the order of the proposals.

    Returns:
        The state after each evaluation that changed the front, and after the last one; empty where no network is
        feasible or has all objectives.
    """
    from pymoo.indicators.hv import HV

    usable: list[tuple[int, list[float]]] = []
    for number, item in enumerate(evaluations, start=1):
        values = [(goal, cost_of(item, goal.metric)) for goal in objectives]
        known = [goal.to_minimize(value) for goal, value in values if value is not None]
        if item.feasible and len(known) == len(objectives):
            usable.append((number, known))
    if not usable or not objectives:
        return ()
    raw = np.array([known for _, known in usable], dtype=np.float64)
    span = np.where(np.ptp(raw, axis=0) > 0.0, np.ptp(raw, axis=0), 1.0)
    scaled = (raw - raw.min(axis=0)) / span
    # The reference point is slightly worse than the worst values, so that extreme points count too.
    indicator = HV(ref_point=np.full(len(objectives), 1.1))
    front = np.empty((0, len(objectives)))
    grown: list[tuple[int, float, int]] = []
    for (number, _), row in zip(usable, scaled, strict=True):
        if covered(row[None], front)[0]:
            continue
        front = np.vstack([front[~covered(front, row[None])], row])
        grown.append((number, float(indicator(front)), len(front)))
    final = grown[-1][1]
    points = [ProgressPoint(number, volume / final, size) for number, volume, size in grown]
    if points[-1].num_evaluations < len(evaluations):
        points.append(ProgressPoint(len(evaluations), 1.0, points[-1].front_size))
    return tuple(points)
