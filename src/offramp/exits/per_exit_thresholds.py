"""Exit rules with one threshold for each early exit."""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import numpy as np

from offramp.exits.confidence_measures import MEASURES, Measure
from offramp.exits.exit_rule import CachedOutputs, ExitRule, RuleNotation
from offramp.exits.score_thresholds import ScoreChoice, ThresholdGrid, score_curve
from offramp.exits.threshold_combinations import ScoredSamples

# Scores lie in 0..1: beyond it every threshold means the same, and JSON has no infinity.
_LEAST, _MOST = -1.0, 2.0


class PerExitThresholds(ExitRule):
    """An exit rule whose scores lie in 0..1, with a threshold of its own for each early exit.

    A dataclass that derives from it has the two fields and needs to define `score` alone. A rule with temperatures
    has a third field, ``temperatures``; one with an offset for each predicted class has a field ``class_offsets``.

    Attributes:
        measure: The confidence measure.
        thresholds: One threshold per early exit; nobody leaves at an exit whose threshold is above 1.
    """

    measure: Measure
    thresholds: tuple[float, ...]
    numbers: ClassVar[str] = "a threshold per early exit"

    def threshold(self, exit_index: int) -> float:
        """See `ExitRule.threshold`."""
        return self.thresholds[exit_index]

    @property
    def num_exits(self) -> int:
        """How many exits the rule is for, the final one included."""
        return len(self.thresholds) + 1

    def temperature(self, exit_index: int) -> float:
        """Give the temperature of an exit.

        Args:
            exit_index: Index of the exit, from 0.

        Returns:
            What its logits are divided by; 1 where the rule has no temperatures.
        """
        temperatures: tuple[float, ...] = getattr(self, "temperatures", ())
        return temperatures[exit_index] if temperatures else 1.0

    def notation(self, num_exits: int) -> RuleNotation:
        """See `ExitRule.notation`; thresholds are limited to -1..2, beyond which nothing changes."""
        thresholds = tuple(min(max(float(value), _LEAST), _MOST) for value in self.thresholds)
        own = getattr(self, "temperatures", ()), getattr(self, "class_offsets", ())
        return RuleNotation(self.name, self.measure, thresholds, *own)

    @classmethod
    def from_notation(cls, notation: RuleNotation) -> Self:
        """See `ExitRule.from_notation`."""
        own: dict[str, Any] = {}
        if cls.has_temperatures:
            own["temperatures"] = notation.temperatures
        if notation.class_offsets:
            own["class_offsets"] = notation.class_offsets
        return cls(measure=notation.measure, thresholds=notation.thresholds, **own)  # type: ignore[call-arg]

    @classmethod
    def choices(cls, outputs: CachedOutputs, grid: ThresholdGrid) -> Iterator[Self]:
        """See `ExitRule.choices`; gives the trade-off curve of each confidence measure."""
        for measure in MEASURES:
            for choice in cls.curve(outputs, measure, grid):
                yield cls.from_notation(RuleNotation(cls.name, measure, choice.thresholds))

    @classmethod
    def curve(cls, outputs: CachedOutputs, measure: Measure, grid: ThresholdGrid) -> tuple[ScoreChoice, ...]:
        """Give the thresholds that no others beat in both accuracy and expected cost.

        Args:
            outputs: Cached outputs of a network.
            measure: The confidence measure.
            grid: Which thresholds are tried.

        Returns:
            Thresholds with the accuracy and expected cost that they reach, cheapest first.
        """
        samples = outputs.scored(measure)
        rule = cls.from_notation(RuleNotation(cls.name, measure, (_MOST,) * (len(outputs.logits) - 1)))
        scores = rule.scores(outputs.logits[:-1])
        return score_curve(
            ScoredSamples(np.stack(scores) if scores else samples.scores, samples.correct, samples.costs), grid
        )
