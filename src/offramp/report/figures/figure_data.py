"""Values that the figures show, without any drawing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from offramp.cost.expected import ExpectedCost
from offramp.cost.report import CostReport, LayerReport
from offramp.exits.exit_policy import ExitProfile
from offramp.numerics.dominance import covered, distinct_front
from offramp.objectives.evaluation import Evaluation, Objective, Status
from offramp.objectives.picking import rule_name
from offramp.records.run_summary import ChosenNetwork, RunSummary, StaticReference
from offramp.report import units
from offramp.report.architecture_layout import describe, exit_label
from offramp.workload.graph import Role

MAX_CANDIDATES = 2000
"""Candidates that a figure shows at most."""

MAX_SOURCES = 8
"""Sources of energy that are shown separately at most."""

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
class FrontPanel:
    """Validation accuracy against one cost.

    Attributes:
        metric: Name of the cost metric.
        title: Title of the cost axis.
        unit: Base unit of the cost.
        candidates: Networks of the search that are not on the front, thinned out to `MAX_CANDIDATES`.
        front: Members of the front.
        nondominated: Members that no other member dominates in accuracy and this cost alone.
        chosen: The chosen networks after fine-tuning.
        statics: The static reference, then the other static networks.
        fine_tuning: What fine-tuning changed of the chosen networks.
    """

    metric: str
    title: str
    unit: str
    candidates: tuple[Point, ...]
    front: tuple[Point, ...]
    nondominated: tuple[Point, ...]
    chosen: tuple[Point, ...]
    statics: tuple[Point, ...]
    fine_tuning: tuple[FineTuningChange, ...]

    @property
    def points(self) -> tuple[Point, ...]:
        """All networks."""
        return self.candidates + self.front + self.chosen + self.statics

    @property
    def framed_points(self) -> tuple[Point, ...]:
        """All networks but the tenth of the candidates with the lowest accuracy, which would stretch the axis."""
        ranked = sorted(self.candidates, key=lambda p: p.accuracy)
        return (*ranked[len(ranked) // 10 :], *self.front, *self.chosen, *self.statics)


@dataclass(frozen=True)
class ExitBar:
    """An exit on one split.

    Attributes:
        exit: Name of the exit.
        split: Name of the split.
        rate: Share of the samples that left there.
        accuracy: Accuracy on these, a share; None where no sample left.
    """

    exit: str
    split: str
    rate: float
    accuracy: float | None


@dataclass(frozen=True)
class EnergyPart:
    """Energy of a layer in one source.

    Attributes:
        source: Name of the source: a memory, ``arithmetic``, ``transfers``, or ``other`` for several.
        energy_pj: Energy in picojoule.
    """

    source: str
    energy_pj: float


@dataclass(frozen=True)
class LayerRow:
    """A layer; its energy and cycles are of one image that runs it.

    Attributes:
        name: Name of the layer.
        op: Its operation.
        core: Name of its core.
        stage: Index of its stage, from 0.
        role: Whether it belongs to the backbone or a branch.
        run_share: Share of the images that run it.
        parts: Its energy by source.
        busy_cycles: Clock cycles in which it keeps its core busy.
    """

    name: str
    op: str
    core: str
    stage: int
    role: Role
    run_share: float
    parts: tuple[EnergyPart, ...]
    busy_cycles: float

    @property
    def expected_energy_pj(self) -> float:
        """Mean energy per image in picojoule."""
        return self.run_share * sum(part.energy_pj for part in self.parts)

    @property
    def expected_cycles(self) -> float:
        """Mean busy cycles per image."""
        return self.run_share * self.busy_cycles


@dataclass(frozen=True)
class Breakdown:
    """Energy and busy cycles by layer and source.

    Attributes:
        sources: Names of the sources, from the largest expected energy to the smallest.
        layers: The layers in order of execution.
    """

    sources: tuple[str, ...]
    layers: tuple[LayerRow, ...]

    def expected_energy_pj(self, source: str, role: Role | None = None) -> float:
        """Mean energy of a source per image.

        Args:
            source: Name of the source.
            role: Only layers of this role count; None = all layers count.

        Returns:
            The energy in picojoule.
        """
        return sum(
            row.run_share * part.energy_pj
            for row in self.layers
            if role is None or row.role is role
            for part in row.parts
            if part.source == source
        )


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
    members = set(summary.front_indices)

    def point(index: int) -> Point | None:
        evaluation = summary.evaluations[index]
        cost = cost_of(evaluation, metric)
        accuracy = evaluation.values.get("accuracy")
        if evaluation.status is not Status.COMPLETE or cost is None or accuracy is None:
            return None
        return Point(cost * factor, accuracy, f"#{index + 1}", describe(evaluation.architecture, summary.max_depths))

    points = {index: found for index in range(len(summary.evaluations)) if (found := point(index)) is not None}
    others = [found for index, found in points.items() if index not in members]
    step = max(1, -(-len(others) // MAX_CANDIDATES))
    chosen = tuple(_chosen_point(network, metric, factor, summary.max_depths) for network in summary.chosen)
    by_architecture = {summary.evaluations[index].architecture: found for index, found in points.items()}
    fine_tuning = tuple(
        FineTuningChange(by_architecture[network.candidate], end)
        for network, end in zip(summary.chosen, chosen, strict=True)
        if network.candidate in by_architecture
    )
    front = tuple(points[index] for index in summary.front_indices if index in points)
    return FrontPanel(
        metric=metric,
        title=title,
        unit=unit,
        candidates=tuple(others[::step]),
        front=front,
        nondominated=_nondominated(front),
        chosen=_merge_equal(chosen),
        statics=tuple(_static_point(static, metric, factor, summary.max_depths) for static in static_networks(summary)),
        fine_tuning=fine_tuning,
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


def static_networks(summary: RunSummary) -> tuple[StaticReference, ...]:
    """The static networks of a run, each architecture once.

    Args:
        summary: The run.

    Returns:
        The static reference first, then the static versions of the chosen networks.
    """
    result = [summary.static_reference]
    for network in summary.chosen:
        if all(network.static.architecture != other.architecture for other in result):
            result.append(network.static)
    return tuple(result)


def _chosen_point(network: ChosenNetwork, metric: str, factor: float, max_depths: Sequence[int]) -> Point:
    cost = metric_of(network.expected_validation, metric) * factor
    hover = describe(network.architecture, max_depths)
    return Point(cost, network.validation.top1, rule_name(network.rule), hover)


def _static_point(static: StaticReference, metric: str, factor: float, max_depths: Sequence[int]) -> Point:
    hover = describe(static.architecture, max_depths)
    return Point(metric_of(static.expected, metric) * factor, static.accuracy_validation, static.name, hover)


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


def exit_bars(network: ChosenNetwork) -> tuple[ExitBar, ...]:
    """Rates and accuracies per exit and split.

    Args:
        network: The network.

    Returns:
        The exits on the validation samples, then those on the test samples where they were measured.
    """
    bars: list[ExitBar] = []
    splits: list[tuple[str, ExitProfile | None]] = [("validation", network.validation), ("test", network.test)]
    for split, profile in splits:
        if profile is None:
            continue
        for index, (rate, accuracy) in enumerate(zip(profile.rates, profile.accuracies, strict=True)):
            label = exit_label(index, network.num_exits)
            bars.append(ExitBar(label, split, rate, accuracy if rate > 0.0 else None))
    return tuple(bars)


def breakdown(cost: CostReport, exit_rates: Sequence[float]) -> Breakdown:
    """Energy by source and busy cycles of every layer.

    Args:
        cost: Cost report of the network.
        exit_rates: Share of the samples that leave at each exit; samples that left before a stage do not run it.

    Returns:
        The layers; of more than `MAX_SOURCES` sources, the smallest ones are merged into ``other``.
    """
    run_shares = [sum(exit_rates[stage:]) for stage in range(len(exit_rates))]
    busy = _busy_cycles(cost)
    layers = tuple(
        LayerRow(
            name=layer.name,
            op=layer.op,
            core=layer.core,
            stage=layer.stage,
            role=layer.role,
            run_share=run_shares[layer.stage],
            parts=energy_parts(layer),
            busy_cycles=busy.get(layer.name, layer.end_cycle - layer.start_cycle),
        )
        for layer in cost.layers
    )
    totals: dict[str, float] = {}
    for row in layers:
        for part in row.parts:
            totals[part.source] = totals.get(part.source, 0.0) + row.run_share * part.energy_pj
    ranked = sorted((source for source, total in totals.items() if total > 0.0), key=lambda s: (-totals[s], s))
    if len(ranked) <= MAX_SOURCES:
        return Breakdown(tuple(ranked), layers)
    kept = ranked[: MAX_SOURCES - 1]
    return Breakdown((*kept, "other"), tuple(_with_other(row, kept) for row in layers))


def _busy_cycles(cost: CostReport) -> dict[str, float]:
    """Cycles in which the busiest core of each layer computes, without waits; only layers that the schedule lists."""
    found: dict[tuple[str, str], float] = {}
    for span in cost.busy:
        if not span.carries:
            key = (span.layer, span.place)
            found[key] = found.get(key, 0.0) + span.end_cycle - span.start_cycle
    return {layer: max(found[key] for key in found if key[0] == layer) for layer, _ in found}


def energy_parts(layer: LayerReport) -> tuple[EnergyPart, ...]:
    """Split the energy of a layer by source.

    Args:
        layer: Report of the layer.

    Returns:
        Energy of each memory, of arithmetic and of transfers; together the energy of the layer.
    """
    parts: dict[str, float] = {}
    for item in layer.memory_energy:
        parts[item.memory] = parts.get(item.memory, 0.0) + item.energy_pj
    arithmetic = layer.compute_energy_pj - sum(parts.values())
    transfers = layer.transfer_energy_pj
    if arithmetic < -1e-9 * max(layer.energy_pj, 1.0):
        # The memories already include the transfers; the rest of the total is arithmetic.
        arithmetic, transfers = arithmetic + transfers, 0.0
    parts["arithmetic"] = max(arithmetic, 0.0)
    parts["transfers"] = transfers
    return tuple(EnergyPart(source, value) for source, value in parts.items() if value != 0.0)


def _with_other(row: LayerRow, kept: Sequence[str]) -> LayerRow:
    rest = sum(part.energy_pj for part in row.parts if part.source not in kept)
    parts = (*(part for part in row.parts if part.source in kept), EnergyPart("other", rest))
    return LayerRow(row.name, row.op, row.core, row.stage, row.role, row.run_share, parts, row.busy_cycles)


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


def layer_note(row: LayerRow) -> str:
    """Text about the share of images that run a layer.

    Args:
        row: The layer.

    Returns:
        A text for the hover box.
    """
    part = "backbone" if row.role is Role.BACKBONE else "branch"
    return f"{part}, run by {units.percent(row.run_share)} of the images"
