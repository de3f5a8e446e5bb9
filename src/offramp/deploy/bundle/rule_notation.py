"""The stopping rules that a bundle can hold, in one notation: a score per exit, and a threshold for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.exits.confidence_measures import Measure, confidence, tempered
from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.exit_rule import StepwiseRule
from offramp.exits.rules.cumulative import CumulativeConfidence, accumulated
from offramp.exits.rules.patience import Patience
from offramp.jsonio import shortened

RuleName = Literal["threshold", "patience", "cumulative"]
RULE_NAMES: Final[tuple[RuleName, ...]] = get_args(RuleName)

# Confidences lie in 0..1: beyond it every threshold means the same, and JSON has no infinity.
_LEAST, _MOST = -1.0, 2.0


@dataclass(frozen=True)
class BundleRule:
    """A sample leaves at the first exit whose score is at least the exit's threshold; the final one takes the rest.

    The score is the exit's confidence (``threshold``), what the confidences so far add up to (``cumulative``), or how
    many exits in a row, this one last, gave one answer (``patience``; its thresholds are all the same number).
    ``temperatures`` are those of an `ExitPolicy`.
    """

    name: RuleName
    measure: Measure
    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...] = ()

    @classmethod
    def of(cls, rule: StepwiseRule, num_exits: int) -> "BundleRule":
        """How ``rule`` is written for a network of ``num_exits``; raises InputError for a rule of another kind."""
        if isinstance(rule, ExitPolicy):
            return cls("threshold", rule.measure, _clipped(rule.thresholds), rule.temperatures)
        if isinstance(rule, CumulativeConfidence):
            return cls("cumulative", rule.measure, _clipped(rule.thresholds))
        if isinstance(rule, Patience):
            # More than there are exits never agree: one number says so as well as another.
            return cls("patience", "max_probability", (float(min(rule.num_agreeing, num_exits)),) * (num_exits - 1))
        raise InputError(
            "A bundle's rule must be ExitPolicy, CumulativeConfidence or Patience, which every form of it can follow, "
            f"got {type(rule).__name__}. Export with one of them, and give the rule to "
            "EarlyExitSession(bundle, rule=...)."
        )

    @property
    def stepwise(self) -> StepwiseRule:
        """The rule that decides."""
        if self.name == "patience":
            return Patience(int(self.thresholds[0]) if self.thresholds else 1)
        if self.name == "cumulative":
            return CumulativeConfidence(self.thresholds, self.measure)
        return ExitPolicy(self.measure, self.thresholds, self.temperatures)

    def temperature(self, exit_index: int) -> float:
        """What the logits of an exit are divided by before a confidence is taken."""
        return self.temperatures[exit_index] if self.temperatures else 1.0

    def confidence(self, logits: NDArray[np.floating], exit_index: int) -> NDArray[np.float64]:
        """How sure exit ``exit_index`` is, given its logits (..., classes): shape (...)."""
        return confidence(tempered(logits, self.temperature(exit_index)), self.measure)

    def undecided(self, logits: Sequence[NDArray[np.floating]], differences: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Samples that may leave elsewhere where logits (samples, classes) are off by ``differences`` (samples,)."""
        early = logits[: len(self.thresholds)]
        result = np.zeros(len(differences), dtype=bool)
        if self.name == "patience":
            for item in early:
                # Another class may come first where the second best is as near as both may be off.
                best = np.sort(item.astype(np.float64), axis=1)[:, -2:]
                result |= best[:, -1] - best[:, 0] <= 2.0 * differences + 1e-12 if best.shape[1] == 2 else False
            return result
        scores = [self.confidence(item, index) for index, item in enumerate(early)]
        # No measure moves by more than the logits it is taken of; both sides may be off, hence twice.
        slacks = [2.0 * differences / self.temperature(index) + 1e-12 for index in range(len(early))]
        if self.name == "cumulative":
            # A product of factors in 0..1 moves by no more than all of them together.
            scores, slacks = accumulated(scores), list(np.cumsum(slacks, axis=0)) if slacks else []
        for score, slack, threshold in zip(scores, slacks, self.thresholds, strict=True):
            result |= np.abs(score - threshold) <= slack
        return result


def parse_rule(text: str, like: BundleRule) -> StepwiseRule:
    """A rule from ``patience:2``, ``cumulative:0.9,0.95`` or ``threshold:0.9,0.8``; measure and temperatures as given.

    Raises InputError for what is none; whether a rule fits a bundle's exits is for its session to say.
    """
    name, _, numbers = text.strip().partition(":")
    try:
        values = tuple(float(part) for part in numbers.split(","))
        if name == "patience":
            (count,) = values
            return Patience(int(count) if count == int(count) else 0)
        if name == "cumulative":
            return CumulativeConfidence(values, like.measure)
        if name == "threshold" and not np.isnan(values).any():
            fits = len(values) == len(like.thresholds)
            return ExitPolicy(like.measure, values, like.temperatures if fits else ())
    except (ValueError, OverflowError):
        pass
    raise InputError(
        "A rule must be patience:N with a whole number N >= 1, or cumulative: or threshold: with a number per early "
        f"exit, such as threshold:0.9,0.8; got {shortened(repr(text))}."
    )


def _clipped(thresholds: Sequence[float]) -> tuple[float, ...]:
    return tuple(min(max(float(value), _LEAST), _MOST) for value in thresholds)
