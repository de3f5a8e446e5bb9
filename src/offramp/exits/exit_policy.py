"""ExitPolicy: when a sample leaves, and what a policy achieved on a set of samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from offramp.exits.calibration.class_offsets import LARGEST_OFFSET, ClassOffsets
from offramp.exits.confidence_measures import Measure, confidence, tempered
from offramp.exits.exit_rule import ExitRule, Score
from offramp.exits.per_exit_thresholds import PerExitThresholds
from offramp.exits.rule_arithmetic import Arithmetic, State, Value


def is_temperature(value: float) -> bool:
    """Check a temperature.

    Args:
        value: The temperature.

    Returns:
        Whether logits may be divided by it: it is far from where float64 would overflow.
    """
    return 1e-6 <= value <= 1e6


@dataclass(frozen=True)
class ExitPolicy(PerExitThresholds):
    """A sample leaves at the first exit whose confidence is at least the exit's threshold; the last takes the rest.

    Attributes:
        measure: The confidence measure.
        thresholds: One threshold per early exit; above 1, nobody leaves there.
        temperatures: What each exit's logits, the final one's included, are divided by before the confidence is taken,
            from 1e-6 to 1e6; none given means 1 everywhere.
        class_offsets: For each early exit, what is added to its confidence for each predicted class, from -0.5 to 0.5;
            none given means 0 everywhere. A threshold t is thus t - offset for a class. See `fit_class_offsets`.
    """

    name: ClassVar[str] = "threshold"
    description: ClassVar[str] = "a threshold per exit on the confidence of that exit alone"
    example: ClassVar[str] = "threshold:0.9,0.8"
    looks_back: ClassVar[bool] = False
    has_temperatures: ClassVar[bool] = True

    measure: Measure
    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...] = ()
    class_offsets: ClassOffsets = ()

    def __post_init__(self) -> None:
        if self.temperatures and len(self.temperatures) != len(self.thresholds) + 1:
            raise ValueError(
                f"`temperatures` must be none or one per exit, the final one included ({len(self.thresholds) + 1}), "
                f"got {len(self.temperatures)}: {self.temperatures}."
            )
        if not all(is_temperature(value) for value in self.temperatures):
            raise ValueError(f"`temperatures` must be from 1e-6 to 1e6, got {self.temperatures}.")
        if self.class_offsets and len(self.class_offsets) != len(self.thresholds):
            raise ValueError(
                f"`class_offsets` must be none or one tuple per early exit ({len(self.thresholds)}), "
                f"got {len(self.class_offsets)}."
            )
        if not all(abs(value) <= LARGEST_OFFSET for row in self.class_offsets for value in row):
            raise ValueError(f"`class_offsets` must be from -{LARGEST_OFFSET} to {LARGEST_OFFSET}.")

    def score(self, arithmetic: Arithmetic, logits: Value, exit_index: int, state: State) -> Score:
        """See `ExitRule.score`; the score is the confidence of the exit, and the offset of its predicted class."""
        sure = arithmetic.confidence(logits, self.measure, self.temperature(exit_index))
        if self.class_offsets:
            sure = sure + arithmetic.of_class(self.class_offsets[exit_index], arithmetic.predicted_class(logits))
        return Score(sure)

    def confidence(self, logits: NDArray[np.floating], exit_index: int) -> NDArray[np.float64]:
        """Give the confidence of an exit.

        Args:
            logits: Logits of this exit, (..., classes).
            exit_index: Index of the exit, from 0.

        Returns:
            Confidences from 0 to 1, (...).
        """
        return confidence(tempered(logits, self.temperature(exit_index)), self.measure)


@dataclass(frozen=True)
class ExitProfile:
    """Where samples left and how often they were right.

    Attributes:
        rates: The share of the samples that left at each exit; they add up to 1.
        accuracies: Accuracy over the samples that left at each exit; 0 where none did.
        full_accuracies: Accuracy of each exit over all samples.
        top1: Accuracy over all samples, each at the exit where it left.
        num_samples: The number of samples.
    """

    rates: tuple[float, ...]
    accuracies: tuple[float, ...]
    full_accuracies: tuple[float, ...]
    top1: float
    num_samples: int

    def __post_init__(self) -> None:
        if abs(sum(self.rates) - 1.0) > 1e-9:
            raise ValueError(f"`rates` must sum to 1, got {self.rates}.")


def profile(logits: Sequence[NDArray[np.floating]], labels: NDArray[np.integer], policy: ExitRule) -> ExitProfile:
    """Apply an exit rule to cached logits.

    Args:
        logits: Logits (samples, classes) per exit, the final one last.
        labels: Classes, (samples,).
        policy: The rule.

    Returns:
        Where the samples left and how often they were right.

    Raises:
        ValueError: If the rule is for another number of exits.
    """
    chosen = policy.decide(logits)
    correct = np.stack([exit_logits.argmax(axis=1) == labels for exit_logits in logits])
    samples = labels.shape[0]
    rates, accuracies = [], []
    for index in range(len(logits)):
        left = chosen == index
        rates.append(float(left.sum()) / samples)
        accuracies.append(float(correct[index][left].mean()) if left.any() else 0.0)
    top1 = float(correct[chosen, np.arange(samples)].mean())
    full = tuple(float(value) for value in correct.mean(axis=1))
    return ExitProfile(tuple(rates), tuple(accuracies), full, top1, samples)
