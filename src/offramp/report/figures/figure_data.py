"""Data of the figures, without any drawing."""

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
MAX_SOURCES = 8

AXES = (
    ("energy_pj", "Expected energy per image", "J", 1e-12),
    ("latency_cycles", "Expected latency", "cycles", 1.0),
    ("energy_delay_product_j_cycles", "Energy-delay product", "J·cycles", 1.0),
    ("macs", "Expected MACs per image", "MACs", 1.0),
)


@dataclass(frozen=True)
class Point:
    """A network in a front figure: cost in the base unit, accuracy 0..1, a short label and a long one."""

    cost: float
    accuracy: float
    label: str
    hover: str


@dataclass(frozen=True)
class Move:
    """From the candidate as the search saw it to the same network after fine-tuning."""

    start: Point
    end: Point


@dataclass(frozen=True)
class FrontPanel:
    """Validation accuracy against one cost. ``best`` are the candidates that nobody beats in these two alone."""

    metric: str
    title: str
    unit: str
    candidates: tuple[Point, ...]
    front: tuple[Point, ...]
    best: tuple[Point, ...]
    chosen: tuple[Point, ...]
    statics: tuple[Point, ...]
    moves: tuple[Move, ...]

    @property
    def points(self) -> tuple[Point, ...]:
        return self.candidates + self.front + self.chosen + self.statics

    @property
    def in_frame(self) -> tuple[Point, ...]:
        """All points but the tenth of the candidates with the lowest accuracy, which would squeeze the others."""
        ranked = sorted(self.candidates, key=lambda p: p.accuracy)
        return (*ranked[len(ranked) // 10 :], *self.front, *self.chosen, *self.statics)


@dataclass(frozen=True)
class ExitBar:
    """An exit on one split: the share that left there and how often it was right (None where nobody left)."""

    exit: str
    split: str
    rate: float
    accuracy: float | None


@dataclass(frozen=True)
class EnergyPart:
    """Energy of a layer that one source (a memory, the arithmetic, transfers) takes."""

    source: str
    energy_pj: float


@dataclass(frozen=True)
class LayerRow:
    """A layer; ``reach`` is the share of images that run it. Energy and cycles are of one image that does."""

    name: str
    op: str
    core: str
    stage: int
    role: Role
    reach: float
    parts: tuple[EnergyPart, ...]
    busy_cycles: float

    @property
    def expected_energy_pj(self) -> float:
        return self.reach * sum(part.energy_pj for part in self.parts)

    @property
    def expected_cycles(self) -> float:
        return self.reach * self.busy_cycles


@dataclass(frozen=True)
class Breakdown:
    """Where energy and cycles go: layers in execution order, sources from the largest to the smallest."""

    sources: tuple[str, ...]
    layers: tuple[LayerRow, ...]

    def expected_energy_pj(self, source: str, role: Role | None = None) -> float:
        """Energy of a source per image, weighted by how many images run each layer."""
        return sum(
            row.reach * part.energy_pj
            for row in self.layers
            if role is None or row.role is role
            for part in row.parts
            if part.source == source
        )


@dataclass(frozen=True)
class ProgressPoint:
    """Hypervolume after ``num_evaluations``, as a share of the final one, and the size of the front."""

    num_evaluations: int
    share: float
    front_size: int


def front_panels(summary: RunSummary) -> tuple[FrontPanel, ...]:
    """Accuracy against energy, latency, their product and MACs."""
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
    moves = tuple(
        Move(by_architecture[network.candidate], end)
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
        best=_undominated(front),
        chosen=_merge_equal(chosen),
        statics=tuple(_static_point(static, metric, factor, summary.max_depths) for static in statics_of(summary)),
        moves=moves,
    )


def cost_of(evaluation: Evaluation, metric: str) -> float | None:
    """A metric of an evaluation, from its values or from what stands behind them."""
    if metric in evaluation.values:
        return evaluation.values[metric]
    return None if evaluation.details is None else metric_of(evaluation.details.expected, metric)


def metric_of(expected: ExpectedCost, metric: str) -> float:
    """One figure of an expected cost by its name."""
    return float(getattr(expected, metric))


def statics_of(summary: RunSummary) -> tuple[StaticReference, ...]:
    """The static reference first, then the static versions of the chosen networks that differ from it."""
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
    """Points at one place become one point with both labels."""
    merged: dict[tuple[float, float], Point] = {}
    for item in points:
        place = (item.cost, item.accuracy)
        label = f"{merged[place].label}, {item.label}" if place in merged else item.label
        merged[place] = Point(item.cost, item.accuracy, label, item.hover)
    return tuple(merged.values())


def _undominated(points: Sequence[Point]) -> tuple[Point, ...]:
    goals = np.array([[point.cost, -point.accuracy] for point in points]).reshape(-1, 2)
    return tuple(points[index] for index in distinct_front(goals))


def exit_bars(network: ChosenNetwork) -> tuple[ExitBar, ...]:
    """Rates and accuracies per exit, validation first and test after it where there is one."""
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
    """Energy by source and busy cycles of every layer; those of stage ``s`` are run by who did not leave before."""
    reach = [sum(exit_rates[stage:]) for stage in range(len(exit_rates))]
    busy = _busy_cycles(cost)
    layers = tuple(
        LayerRow(
            name=layer.name,
            op=layer.op,
            core=layer.core,
            stage=layer.stage,
            role=layer.role,
            reach=reach[layer.stage],
            parts=energy_parts(layer),
            busy_cycles=busy.get(layer.name, layer.end_cycle - layer.start_cycle),
        )
        for layer in cost.layers
    )
    totals: dict[str, float] = {}
    for row in layers:
        for part in row.parts:
            totals[part.source] = totals.get(part.source, 0.0) + row.reach * part.energy_pj
    ranked = sorted((source for source, total in totals.items() if total > 0.0), key=lambda s: (-totals[s], s))
    if len(ranked) <= MAX_SOURCES:
        return Breakdown(tuple(ranked), layers)
    kept = ranked[: MAX_SOURCES - 1]
    return Breakdown((*kept, "other"), tuple(_with_other(row, kept) for row in layers))


def _busy_cycles(cost: CostReport) -> dict[str, float]:
    """Per layer the cycles that its busiest core computes, where the schedule tells; waits in between left out."""
    found: dict[tuple[str, str], float] = {}
    for span in cost.busy:
        if not span.carries:
            key = (span.layer, span.place)
            found[key] = found.get(key, 0.0) + span.end_cycle - span.start_cycle
    return {layer: max(found[key] for key in found if key[0] == layer) for layer, _ in found}


def energy_parts(layer: LayerReport) -> tuple[EnergyPart, ...]:
    """The energy of a layer by memory, arithmetic and transfers; the parts add up to all of it."""
    parts: dict[str, float] = {}
    for item in layer.memory_energy:
        parts[item.memory] = parts.get(item.memory, 0.0) + item.energy_pj
    arithmetic = layer.compute_energy_pj - sum(parts.values())
    transfers = layer.transfer_energy_pj
    if arithmetic < -1e-9 * max(layer.energy_pj, 1.0):
        # The memories already hold the transfers: what is left of the total is arithmetic.
        arithmetic, transfers = arithmetic + transfers, 0.0
    parts["arithmetic"] = max(arithmetic, 0.0)
    parts["transfers"] = transfers
    return tuple(EnergyPart(source, value) for source, value in parts.items() if value != 0.0)


def _with_other(row: LayerRow, kept: Sequence[str]) -> LayerRow:
    rest = sum(part.energy_pj for part in row.parts if part.source not in kept)
    parts = (*(part for part in row.parts if part.source in kept), EnergyPart("other", rest))
    return LayerRow(row.name, row.op, row.core, row.stage, row.role, row.reach, parts, row.busy_cycles)


def progress(objectives: Sequence[Objective], evaluations: Sequence[Evaluation]) -> tuple[ProgressPoint, ...]:
    """Growth of the front's hypervolume, each objective scaled to the range that feasible networks span."""
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
    # The reference lies a little beyond the worst values, so that the extreme points count too.
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


def reach_note(row: LayerRow) -> str:
    """Who runs a layer, for a hover text."""
    part = "backbone" if row.role is Role.BACKBONE else "branch"
    return f"{part}, run by {units.percent(row.reach)} of the images"
