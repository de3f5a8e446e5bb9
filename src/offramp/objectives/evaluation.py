"""Evaluation: objectives, constraint violations and status of one architecture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

from offramp.cost.expected import ExpectedCost
from offramp.cost.report import CostReport
from offramp.exits.exit_policy import ExitPolicy, ExitProfile
from offramp.space.architecture import Architecture

Direction = Literal["minimize", "maximize"]
Metric = Literal["accuracy", "latency_cycles", "energy_pj", "macs", "energy_delay_product_j_cycles"]


@dataclass(frozen=True)
class Objective:
    """A metric and which way is better."""

    metric: Metric
    direction: Direction

    def to_minimize(self, value: float) -> float:
        """The value with its sign such that smaller is better."""
        return value if self.direction == "minimize" else -value


@dataclass(frozen=True)
class Constraint:
    """A bound on a metric, for example accuracy >= 0.9."""

    metric: Metric
    relation: Literal["<=", ">="]
    bound: float

    def violation(self, value: float) -> float:
        """How far the value is on the wrong side, relative to the bound; 0 where the constraint holds."""
        excess = value - self.bound if self.relation == "<=" else self.bound - value
        return max(0.0, excess / max(abs(self.bound), 1e-12))


class Status(StrEnum):
    """COMPLETE: all values are finite. FAILED: ``error`` says why there are none."""

    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True)
class Details:
    """What stands behind the values of a complete evaluation, measured on the validation split."""

    policy: ExitPolicy
    profile: ExitProfile
    expected: ExpectedCost
    cost: CostReport


@dataclass(frozen=True)
class Evaluation:
    """An architecture with its metrics (validation split), constraint violations, and what stands behind them."""

    architecture: Architecture
    status: Status
    values: dict[str, float]
    violations: tuple[float, ...] = ()
    details: Details | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        if self.status is Status.COMPLETE and not all(math.isfinite(v) for v in self.values.values()):
            raise ValueError(f"values of a complete evaluation must be finite, got {self.values}.")

    @property
    def feasible(self) -> bool:
        return self.status is Status.COMPLETE and not any(self.violations)


@runtime_checkable
class Evaluator(Protocol):
    """Tries architectures; the evaluation carries its own architecture."""

    def evaluate(self, architecture: Architecture) -> Evaluation: ...


class SearchAlgorithm(Protocol):
    """Proposes architectures. A function of (space, objectives, seed, what it was told): resume = replay the tells."""

    def ask(self, count: int) -> list[Architecture]:
        """At most so many that were not told about yet; none when there are no more."""
        ...

    def tell(self, evaluations: Sequence[Evaluation]) -> None: ...
