"""Choice of a candidate's thresholds from validation logits and costs per exit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from offramp.cost.expected import ExpectedCost, expected_cost
from offramp.cost.report import CostReport
from offramp.exits.accuracy_guarantee import Guarantee, GuaranteeTarget
from offramp.exits.calibration.class_offsets import ClassOffsets, fit_class_offsets
from offramp.exits.calibration.temperatures import calibrated, fit_temperatures
from offramp.exits.confidence_measures import Measure
from offramp.exits.exit_policy import ExitPolicy, ExitProfile, profile
from offramp.exits.exit_rule import answers_at
from offramp.exits.quality.quality_measures import (
    ACCURACY,
    MACRO_F1,
    RECALL,
    ConfusionMatrix,
    QualityMeasures,
    confusion_matrix,
)
from offramp.exits.risk_control import certified_policies
from offramp.exits.thresholds import ThresholdChoice, shared_trade_off_curve, trade_off_curve
from offramp.objectives.evaluation import Constraint
from offramp.space.architecture import PolicyChoice


@dataclass(frozen=True)
class OperatingPoint:
    """An exit policy with its measurements on samples.

    Attributes:
        policy: Confidence measure, thresholds and temperatures.
        profile: Exit rates and accuracies of the policy on the samples.
        expected: The average cost of a sample at these exit rates.
        quality: Value of each measure of good answers, by name.
        memory_use: The largest share of a memory that the network needs.
    """

    policy: ExitPolicy
    profile: ExitProfile
    expected: ExpectedCost
    quality: Mapping[str, float]
    memory_use: float = 0.0

    def values(self) -> dict[str, float]:
        """The value of every metric that objectives and constraints may name."""
        return {
            **self.quality,
            "accuracy": self.profile.top1,
            "latency_cycles": self.expected.latency_cycles,
            "energy_pj": self.expected.energy_pj,
            "macs": self.expected.macs,
            "energy_delay_product_j_cycles": self.expected.energy_delay_product_j_cycles,
            "memory_use": self.memory_use,
        }

    def violations(self, constraints: Sequence[Constraint]) -> tuple[float, ...]:
        """Compare the values with constraints.

        Args:
            constraints: The constraints.

        Returns:
            The violation of each constraint, 0 where it is kept; see `Constraint.violation`.
        """
        values = self.values()
        return tuple(constraint.violation(values[constraint.metric]) for constraint in constraints)


def measure_point(
    logits: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    policy: ExitPolicy,
    cost: CostReport,
    measures: QualityMeasures | None = None,
) -> OperatingPoint:
    """Measure a fixed policy on samples.

    Args:
        logits: One array (samples, classes) per exit, the final one last.
        labels: The true classes (samples,).
        policy: The exit policy.
        cost: Costs of the network to each exit.
        measures: The measures of good answers; None = those of all classes together.

    Returns:
        The policy with its measurements.
    """
    achieved = profile(logits, labels, policy)
    quality = (measures or QualityMeasures()).values(_answered(logits, labels, policy))
    return OperatingPoint(policy, achieved, expected_cost(cost, achieved.rates), quality, cost.memory_use)


def _answered(
    logits: Sequence[NDArray[np.floating]], labels: NDArray[np.integer], policy: ExitPolicy
) -> ConfusionMatrix:
    answers = answers_at(logits, policy.decide(logits))
    return confusion_matrix(labels, answers, logits[-1].shape[1])


def choose_operating_point(
    logits: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    cost: CostReport,
    choice: PolicyChoice,
    constraints: Sequence[Constraint] = (),
    *,
    calibrate: bool = False,
    most_product: float = math.inf,
    shared_threshold: bool = False,
    by_class: bool = False,
    measures: QualityMeasures | None = None,
) -> OperatingPoint:
    """Choose the cheapest point of the trade-off curve whose accuracy is close enough to the best one.

    Where ``measures`` names another measure to choose by, it takes the place of accuracy.

    The cost of a point is its expected energy-delay product. Points that keep all constraints come first. If there are
    none, the point with the smallest sum of violations is chosen.

    Args:
        logits: One array (samples, classes) per exit, the final one last.
        labels: The true classes (samples,).
        cost: Costs of the network to each exit.
        choice: The confidence measure, and how much accuracy may be lost against the most accurate point.
        constraints: The constraints of the search.
        calibrate: Whether a temperature per exit is fitted on the same samples first.
        most_product: The largest expected energy-delay product (J x cycles) that is considered. If all points are
            above it, the cheapest one is chosen.
        shared_threshold: Whether all exits have the same threshold.
        by_class: Whether thresholds differ by predicted class; see `fit_class_offsets`.
        measures: The measures of good answers; None = accuracy decides.

    Returns:
        The chosen point.
    """
    measures = measures or QualityMeasures()
    if len(logits) == 1:
        return measure_point(logits, labels, ExitPolicy(choice.measure, ()), cost, measures)
    temperatures = fit_temperatures(logits, labels) if calibrate else ()
    scaled = calibrated(logits, temperatures) if calibrate else logits
    offsets = fit_class_offsets(scaled, labels, choice.measure) if by_class else ()
    drawn = _trade_off_curve(
        scaled, labels, cost, choice.measure, measures, shared_threshold=shared_threshold, class_offsets=offsets
    )
    curve = [replace(point, policy=replace(point.policy, temperatures=temperatures)) for point in drawn]
    curve = [point for point in curve if point.expected_cost <= most_product] or curve[:1]
    floor = max(point.accuracy for point in curve) - choice.accuracy_drop - 1e-12
    near = sorted((p for p in curve if p.accuracy >= floor), key=lambda p: p.expected_cost)
    if all(constraint.metric == "memory_use" for constraint in constraints):
        # No policy changes what the network needs of a memory.
        return measure_point(logits, labels, near[0].policy, cost, measures)
    # The cheapest point may miss a bound on accuracy and the most accurate one a bound on cost: look at all.
    rest = sorted((p for p in curve if p.accuracy < floor), key=lambda p: -p.accuracy)
    points = [measure_point(logits, labels, p.policy, cost, measures) for p in [*near, *rest]]
    return min(points, key=lambda point: sum(point.violations(constraints)))


def _trade_off_curve(
    logits: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    cost: CostReport,
    measure: Measure,
    measures: QualityMeasures,
    *,
    shared_threshold: bool,
    class_offsets: ClassOffsets,
) -> list[ThresholdChoice]:
    """Policies of the trade-off curve in the measure that decides, and in those that constraints bound, cheapest first.

    The accuracy of each is its value of the measure that decides.
    """
    costs = cost.products_to_exits_j_cycles

    def draw(name: str) -> tuple[ThresholdChoice, ...]:
        weights = measures.sample_weights(name, labels)
        if shared_threshold:
            return shared_trade_off_curve(logits, labels, costs, measure, weights, class_offsets)
        return trade_off_curve(logits, labels, costs, measure, weights=weights, class_offsets=class_offsets)

    decides = measures.chosen_by
    curve = list(draw(decides))
    others = [point for name in measures.bounded if name != decides for point in draw(name)]
    if decides == MACRO_F1:
        # It is no mean over samples: the curves of accuracy and of balanced accuracy are searched for its best points.
        others += [*curve, *draw(ACCURACY)]
        curve = []
    known = {point.policy for point in curve}
    for point in dict.fromkeys(others):
        if point.policy not in known:
            known.add(point.policy)
            value = measures.value(decides, _answered(logits, labels, point.policy))
            curve.append(replace(point, accuracy=value))
    return sorted(curve, key=lambda point: point.expected_cost)


@dataclass(frozen=True)
class CertifiedPoint:
    """An operating point with an accuracy guarantee.

    Attributes:
        point: The operating point.
        guarantee: The guarantee.
    """

    point: OperatingPoint
    guarantee: Guarantee


def choose_certified_point(
    logits: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    cost: CostReport,
    choice: PolicyChoice,
    target: GuaranteeTarget,
    constraints: Sequence[Constraint] = (),
    *,
    seed: int,
    calibrate: bool = False,
    by_class: bool = False,
    seen: NDArray[np.bool_] | None = None,
    guaranteed: str = ACCURACY,
    measures: QualityMeasures | None = None,
) -> CertifiedPoint:
    """Choose the cheapest policy for which an accuracy guarantee holds.

    A guarantee on the recall of a class is one on the accuracy on its samples: these alone are tested on.

    Policies that keep all constraints come first. If there are none, the policy with the smallest sum of violations is
    chosen.

    Args:
        logits: One array (samples, classes) per exit, the final one last.
        labels: The true classes (samples,).
        cost: Costs of the network to each exit.
        choice: The confidence measure. Its accuracy drop does not matter: ``target`` takes its place.
        target: What the guarantee must state.
        constraints: The constraints of the search.
        seed: Seed of the random split of the samples.
        calibrate: Whether a temperature per exit is fitted first.
        by_class: Whether thresholds differ by predicted class; see `fit_class_offsets`.
        seen: Which samples the search has used, (samples,); None = none of them. See `certified_policies`.
        guaranteed: What the guarantee is about: ``accuracy``, or ``recall:NAME``.
        measures: The measures of good answers; None = those of all classes together.

    Returns:
        The policy with its guarantee and its measurements on all samples.
    """
    measures, products = measures or QualityMeasures(), cost.products_to_exits_j_cycles
    rows = np.ones(len(labels), dtype=bool)
    if guaranteed.startswith(RECALL):
        rows = labels == measures.class_index(guaranteed)
    found = certified_policies(
        [item[rows] for item in logits],
        labels[rows],
        products,
        choice.measure,
        target,
        seed=seed,
        calibrate=calibrate,
        by_class=by_class,
        seen=None if seen is None else seen[rows],
        others=[item[~rows] for item in logits] if not rows.all() else (),
    )
    points = [
        CertifiedPoint(
            measure_point(logits, labels, item.policy, cost, measures), replace(item.guarantee, measure=guaranteed)
        )
        for item in reversed(found)
    ]
    return min(points, key=lambda item: sum(item.point.violations(constraints)))
