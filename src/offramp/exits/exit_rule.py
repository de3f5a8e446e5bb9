"""Ways to decide where a sample leaves, compared on the same cached logits.

`ExitPolicy` is what is searched and exported; the others are here for comparison.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.exits.threshold_combinations import ScoredSamples, with_slack
from offramp.exits.thresholds import ThresholdGrid, score_samples
from offramp.registry import Registry


class StoppingRule(Protocol):
    """Decides, from the logits of all exits, at which exit each sample leaves."""

    def decide(self, logits: Sequence[NDArray[np.floating]]) -> NDArray[np.intp]:
        """Exit index of each sample; ``logits`` holds one (samples, classes) array per exit, the final one included."""
        ...


class StepwiseRule(StoppingRule, Protocol):
    """A stopping rule that needs to know only the exits that a sample went through: what a runtime can follow."""

    @property
    def num_exits(self) -> int | None:
        """How many exits the rule is for, the final one included; None where it fits any number."""
        ...

    def leaves(self, logits: Sequence[NDArray[np.floating]]) -> NDArray[np.bool_]:
        """Whether each sample that has not left before leaves at the last of these exits, which is not the final one.

        ``logits`` holds one (samples, classes) array for each exit that the samples went through, this one included.
        """
        ...


@dataclass(frozen=True, eq=False)
class CachedOutputs:
    """What a network said about samples: logits (samples, classes) per exit, the final one last.

    ``costs``: what a sample costs that leaves at each exit, all branches on the way included. ``confidences``: learned
    ones from 0 to 1, (samples,) per early exit, for rules that use them. Raises InputError where parts do not fit.
    """

    logits: tuple[NDArray[np.floating], ...]
    labels: NDArray[np.integer]
    costs: tuple[float, ...]
    confidences: tuple[NDArray[np.floating], ...] | None = None

    def __post_init__(self) -> None:
        self.scored()
        if self.confidences is None:
            return
        shapes = [np.shape(item) for item in self.confidences]
        if shapes != [np.shape(self.labels)] * (len(self.logits) - 1):
            raise InputError(
                f"`confidences` must have one array of {len(self.labels)} samples per early exit "
                f"({len(self.logits) - 1}), got shapes {shapes}."
            )
        # Put this way round so that NaN fails.
        if not all(((item >= 0.0) & (item <= 1.0)).all() for item in self.confidences):
            raise InputError("`confidences` must be from 0 to 1.")

    def scored(self) -> ScoredSamples:
        """Largest probabilities as scores, correctness and costs."""
        return score_samples(self.logits, self.labels, self.costs, "max_probability")


@dataclass(frozen=True, eq=False)
class Proposal:
    """A rule and the exits (samples,) that it sends the cached samples to."""

    rule: StoppingRule
    exits: NDArray[np.intp]


class RuleFamily(Protocol):
    """All settings of one kind of rule that are worth trying on these samples."""

    def __call__(self, outputs: CachedOutputs, grid: ThresholdGrid) -> Iterable[Proposal]: ...


STOPPING_RULES: Registry[RuleFamily] = Registry("exit policy", "offramp.exits.rules", entry_points="offramp.exit_rules")


@dataclass(frozen=True)
class RulePoint:
    """A rule and what it reaches."""

    rule: StoppingRule
    accuracy: float
    expected_cost: float


@dataclass(frozen=True)
class RuleCurve:
    """The rules of one kind that no other of that kind beats in both accuracy and cost, cheapest first."""

    name: str
    points: tuple[RulePoint, ...]


def compare_policies(
    outputs: CachedOutputs, names: Sequence[str] | None = None, grid: ThresholdGrid | None = None
) -> tuple[RuleCurve, ...]:
    """The trade-off curve of each kind of policy on the same samples; all registered kinds where none are named."""
    samples = outputs.scored()
    curves = []
    for name in STOPPING_RULES if names is None else names:
        proposals = STOPPING_RULES.get(name)(outputs, grid or ThresholdGrid())
        curves.append(RuleCurve(name, _undominated([_measured(item, samples) for item in proposals])))
    return tuple(curves)


def _measured(proposal: Proposal, samples: ScoredSamples) -> RulePoint:
    right = samples.correct[proposal.exits, np.arange(samples.num_samples)]
    return RulePoint(proposal.rule, float(right.mean()), float(samples.costs[proposal.exits].mean()))


def _undominated(points: Sequence[RulePoint]) -> tuple[RulePoint, ...]:
    kept: list[RulePoint] = []
    for point in sorted(points, key=lambda item: (item.expected_cost, -item.accuracy)):
        if not kept or point.accuracy > kept[-1].accuracy:
            # Costs that differ by rounding alone are the same cost.
            if kept and point.expected_cost <= float(with_slack(np.asarray(kept[-1].expected_cost))):
                kept.pop()
            kept.append(point)
    return tuple(kept)
