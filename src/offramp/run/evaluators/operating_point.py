"""Choice of a candidate's thresholds from validation logits and costs per exit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from offramp.cost.expected import ExpectedCost, expected_cost
from offramp.cost.report import CostReport
from offramp.exits.accuracy_guarantee import Guarantee, GuaranteeTarget
from offramp.exits.calibration import calibrated, fit_temperatures
from offramp.exits.exit_policy import ExitPolicy, ExitProfile, profile
from offramp.exits.risk_control import certified_policies
from offramp.exits.thresholds import shared_trade_off_curve, trade_off_curve
from offramp.objectives.evaluation import Constraint
from offramp.space.architecture import PolicyChoice


@dataclass(frozen=True)
class OperatingPoint:
    """An exit policy with its measurements on samples.

    Attributes:
        policy: Confidence measure, thresholds and temperatures.
        profile: Exit rates and accuracies of the policy on the samples.
        expected: The average cost of a sample at these exit rates.
        memory_use: The largest share of a memory that the network needs.
    """

    policy: ExitPolicy
    profile: ExitProfile
    expected: ExpectedCost
    memory_use: float = 0.0

    def values(self) -> dict[str, float]:
        """The value of every metric that objectives and constraints may name."""
        return {
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
    logits: Sequence[NDArray[np.floating]], labels: NDArray[np.integer], policy: ExitPolicy, cost: CostReport
) -> OperatingPoint:
    """Measure a fixed policy on samples.

    Args:
        logits: One array (samples, classes) per exit, the final one last.
        labels: The true classes (samples,).
        policy: The exit policy.
        cost: Costs of the network to each exit.

    Returns:
        The policy with its measurements.
    """
    achieved = profile(logits, labels, policy)
    return OperatingPoint(policy, achieved, expected_cost(cost, achieved.rates), cost.memory_use)


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
) -> OperatingPoint:
    """Choose the cheapest point of the trade-off curve whose accuracy is close enough to the best one.

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

    Returns:
        The chosen point.
    """
    if len(logits) == 1:
        return measure_point(logits, labels, ExitPolicy(choice.measure, ()), cost)
    temperatures = fit_temperatures(logits, labels) if calibrate else ()
    scaled = calibrated(logits, temperatures) if calibrate else logits
    draw = shared_trade_off_curve if shared_threshold else trade_off_curve
    curve = [
        replace(point, policy=replace(point.policy, temperatures=temperatures))
        for point in draw(scaled, labels, cost.products_to_exits_j_cycles, choice.measure)
    ]
    curve = [point for point in curve if point.expected_cost <= most_product] or curve[:1]
    floor = max(point.accuracy for point in curve) - choice.accuracy_drop - 1e-12
    near = sorted((p for p in curve if p.accuracy >= floor), key=lambda p: p.expected_cost)
    if not constraints:
        return measure_point(logits, labels, near[0].policy, cost)
    # The cheapest point may miss a bound on accuracy and the most accurate one a bound on cost: look at all.
    rest = sorted((p for p in curve if p.accuracy < floor), key=lambda p: -p.accuracy)
    points = [measure_point(logits, labels, p.policy, cost) for p in [*near, *rest]]
    return min(points, key=lambda point: sum(point.violations(constraints)))


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
    seen: NDArray[np.bool_] | None = None,
) -> CertifiedPoint:
    """Choose the cheapest policy for which an accuracy guarantee holds.

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
        seen: Which samples the search has used, (samples,); None = none of them. See `certified_policies`.

    Returns:
        The policy with its guarantee and its measurements on all samples.
    """
    products = cost.products_to_exits_j_cycles
    found = certified_policies(
        logits, labels, products, choice.measure, target, seed=seed, calibrate=calibrate, seen=seen
    )
    points = [
        CertifiedPoint(measure_point(logits, labels, item.policy, cost), item.guarantee) for item in reversed(found)
    ]
    return min(points, key=lambda item: sum(item.point.violations(constraints)))
