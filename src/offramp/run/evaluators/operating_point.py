"""Choice of the thresholds that a candidate is evaluated with, from validation logits and costs per exit."""

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
    """Thresholds, what they did to the samples they were chosen on, and what that costs on average."""

    policy: ExitPolicy
    profile: ExitProfile
    expected: ExpectedCost

    def values(self) -> dict[str, float]:
        """Every metric that objectives and constraints may name."""
        return {
            "accuracy": self.profile.top1,
            "latency_cycles": self.expected.latency_cycles,
            "energy_pj": self.expected.energy_pj,
            "macs": self.expected.macs,
            "energy_delay_product_j_cycles": self.expected.energy_delay_product_j_cycles,
        }

    def violations(self, constraints: Sequence[Constraint]) -> tuple[float, ...]:
        values = self.values()
        return tuple(constraint.violation(values[constraint.metric]) for constraint in constraints)


def measure_point(
    logits: Sequence[NDArray[np.floating]], labels: NDArray[np.integer], policy: ExitPolicy, cost: CostReport
) -> OperatingPoint:
    """What a fixed policy does on these samples."""
    achieved = profile(logits, labels, policy)
    return OperatingPoint(policy, achieved, expected_cost(cost, achieved.rates))


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
    """The cheapest point of the trade-off curve that gives up at most ``choice.accuracy_drop`` of the best accuracy.

    Cost means the expected energy-delay product; points dearer than ``most_product`` (J x cycles) do not count,
    unless there are no others: then the cheapest is all there is. Points that keep all constraints come first; where
    none does, the point that violates them least is taken. ``calibrate`` fits a temperature per exit on the same
    samples first. With ``shared_threshold`` all exits have the same one.
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
    """An operating point and what is promised for it."""

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
    """The cheapest policy that keeps ``target``; among several, those that keep all constraints come first.

    ``target`` takes the place of ``choice.accuracy_drop``. ``seed``, ``calibrate`` and ``seen`` as for
    `certified_policies`.
    """
    products = cost.products_to_exits_j_cycles
    found = certified_policies(
        logits, labels, products, choice.measure, target, seed=seed, calibrate=calibrate, seen=seen
    )
    points = [
        CertifiedPoint(measure_point(logits, labels, item.policy, cost), item.guarantee) for item in reversed(found)
    ]
    return min(points, key=lambda item: sum(item.point.violations(constraints)))
