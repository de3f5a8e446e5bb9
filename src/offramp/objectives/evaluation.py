"""Evaluation: objectives, constraint violations and status of one architecture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

from offramp.cost.expected import ExpectedCost
from offramp.cost.report import CostReport
from offramp.exits.exit_policy import ExitPolicy, ExitProfile
from offramp.exits.quality.quality_measures import ACCURACY, BALANCED_ACCURACY, MACRO_F1, RECALL
from offramp.space.architecture import Architecture

Direction = Literal["minimize", "maximize"]
Metric = str
"""Name of a metric: one of `METRICS`, or ``recall:`` and the name of a class."""
QUALITY_METRICS: tuple[Metric, ...] = (ACCURACY, BALANCED_ACCURACY, MACRO_F1)
METRICS: tuple[Metric, ...] = (
    *QUALITY_METRICS,
    "latency_cycles",
    "energy_pj",
    "macs",
    "energy_delay_product_j_cycles",
    "memory_use",
)


def is_quality(metric: Metric) -> bool:
    """Whether a metric says how good the answers are: a share from 0 to 1, and more is better.

    Args:
        metric: Name of the metric.

    Returns:
        False for costs.
    """
    return metric in QUALITY_METRICS or metric.startswith(RECALL)


def _check_metric(metric: Metric) -> None:
    if metric not in METRICS and not (metric.startswith(RECALL) and len(metric) > len(RECALL)):
        raise ValueError(f"a metric must be one of {', '.join(METRICS)} or {RECALL}NAME, got {metric!r}.")


@dataclass(frozen=True)
class Objective:
    """A metric and the direction in which it is better.

    Attributes:
        metric: the metric.
        direction: ``minimize`` or ``maximize``.
    """

    metric: Metric
    direction: Direction

    def __post_init__(self) -> None:
        _check_metric(self.metric)

    def to_minimize(self, value: float) -> float:
        """Change the sign of a value so that smaller is better.

        Args:
            value: a value of the metric.

        Returns:
            The value, negated if the metric is maximised.
        """
        return value if self.direction == "minimize" else -value


@dataclass(frozen=True)
class Constraint:
    """A bound on a metric, for example accuracy >= 0.9.

    Attributes:
        metric: the metric.
        relation: whether the bound is an upper (``<=``) or a lower one (``>=``).
        bound: the bound, in the unit of the metric.
    """

    metric: Metric
    relation: Literal["<=", ">="]
    bound: float

    def __post_init__(self) -> None:
        _check_metric(self.metric)

    def violation(self, value: float) -> float:
        """Measure how far a value violates the constraint.

        Args:
            value: a value of the metric.

        Returns:
            The excess relative to the bound; 0 if the constraint holds.
        """
        excess = value - self.bound if self.relation == "<=" else self.bound - value
        return max(0.0, excess / max(abs(self.bound), 1e-12))


class Status(StrEnum):
    """COMPLETE: all values are finite. FAILED: ``error`` says why there are none."""

    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True)
class Details:
    """Measurements behind the values of a complete evaluation, on the validation split.

    Attributes:
        policy: the exit policy that was chosen for the architecture.
        profile: exit rates and accuracies with this policy.
        expected: the expected costs at these exit rates.
        cost: the costs to each exit.
    """

    policy: ExitPolicy
    profile: ExitProfile
    expected: ExpectedCost
    cost: CostReport


@dataclass(frozen=True)
class Evaluation:
    """An architecture with its metrics and constraint violations.

    Attributes:
        architecture: the evaluated architecture.
        status: whether the evaluation is complete or failed.
        values: metrics on the validation split, finite if the evaluation is complete.
        violations: relative violation of each constraint, 0 where it holds.
        details: measurements behind the values; None if the evaluation failed.
        error: the reason of a failure.
        statics: evaluations of static networks that came along: for an early-exit network, those that end at its exits
            (`offramp.space.cut_networks.static_at`), the one at which nearly all samples leave among them.
    """

    architecture: Architecture
    status: Status
    values: dict[str, float]
    violations: tuple[float, ...] = ()
    details: Details | None = None
    error: str | None = None
    statics: tuple["Evaluation", ...] = ()

    def __post_init__(self) -> None:
        if self.status is Status.COMPLETE and not all(math.isfinite(v) for v in self.values.values()):
            raise ValueError(f"values of a complete evaluation must be finite, got {self.values}.")
        if not all(item.architecture.is_static for item in self.statics):
            raise ValueError("`statics` must be evaluations of networks without early exits.")

    @property
    def feasible(self) -> bool:
        """Whether the evaluation is complete and no constraint is violated."""
        return self.status is Status.COMPLETE and not any(self.violations)


@runtime_checkable
class Evaluator(Protocol):
    """Evaluates architectures."""

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Evaluate an architecture.

        Args:
            architecture: a member of the search space.

        Returns:
            The evaluation, which contains the architecture.
        """
        ...


class SearchAlgorithm(Protocol):
    """Proposes architectures.

    Its proposals depend only on the space, the objectives, the seed and the evaluations that it received, so that a run
    is resumed by passing the stored evaluations again.
    """

    def ask(self, count: int) -> list[Architecture]:
        """Propose architectures without an evaluation.

        Args:
            count: the largest number of architectures.

        Returns:
            New architectures; an empty list ends the search.
        """
        ...

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Receive the evaluations of a whole batch.

        Args:
            evaluations: one per proposed architecture, in the order of the proposals.
        """
        ...


def quality_metric(objectives: Sequence[Objective]) -> Metric:
    """The measure of good answers that a search goes by.

    Args:
        objectives: Metrics to optimise.

    Returns:
        The first objective that is one, such as ``accuracy`` or ``balanced_accuracy``; accuracy where there is none.
    """
    return next((objective.metric for objective in objectives if is_quality(objective.metric)), ACCURACY)
