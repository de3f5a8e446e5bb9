"""ExitPolicy: when a sample leaves, and what a policy achieved on a set of samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from offramp.exits.confidence_measures import Measure, confidence, tempered

if TYPE_CHECKING:
    from offramp.exits.exit_rule import StoppingRule


def is_temperature(value: float) -> bool:
    """Whether logits may be divided by it: far from where float64 would overflow."""
    return 1e-6 <= value <= 1e6


@dataclass(frozen=True)
class ExitPolicy:
    """A sample leaves at the first exit whose confidence is at least the exit's threshold; the last takes the rest.

    A threshold above 1 means that nobody leaves there. ``temperatures`` are what each exit's logits, the final one's
    included, are divided by before the confidence is taken; none given means 1 everywhere.
    """

    measure: Measure
    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.temperatures and len(self.temperatures) != len(self.thresholds) + 1:
            raise ValueError(
                f"`temperatures` must be none or one per exit, the final one included ({len(self.thresholds) + 1}), "
                f"got {len(self.temperatures)}: {self.temperatures}."
            )
        if not all(is_temperature(value) for value in self.temperatures):
            raise ValueError(f"`temperatures` must be from 1e-6 to 1e6, got {self.temperatures}.")

    def temperature(self, exit_index: int) -> float:
        """What the logits of an exit are divided by."""
        return self.temperatures[exit_index] if self.temperatures else 1.0

    @property
    def num_exits(self) -> int:
        """The final exit included."""
        return len(self.thresholds) + 1

    def leaves(self, logits: Sequence[NDArray[np.floating]]) -> NDArray[np.bool_]:
        """Whether samples leave at the last of these exits; one (samples, classes) array per exit so far."""
        index = len(logits) - 1
        return self.confidence(logits[index], index) >= self.thresholds[index]

    def confidence(self, logits: NDArray[np.floating], exit_index: int) -> NDArray[np.float64]:
        """How sure exit ``exit_index`` is, given its logits (..., classes): shape (...)."""
        return confidence(tempered(logits, self.temperature(exit_index)), self.measure)

    def decide(self, logits: Sequence[NDArray[np.floating]]) -> NDArray[np.intp]:
        """Exit index of each sample; ``logits`` holds one (samples, classes) array per exit, the final one included."""
        if len(logits) != len(self.thresholds) + 1:
            raise ValueError(
                f"`thresholds` must have one value per exit except the last ({len(logits) - 1}), "
                f"got {len(self.thresholds)}: {self.thresholds}."
            )
        chosen = np.full(logits[-1].shape[0], len(logits) - 1, dtype=np.intp)
        for index in range(len(logits) - 2, -1, -1):
            chosen[self.confidence(logits[index], index) >= self.thresholds[index]] = index
        return chosen


@dataclass(frozen=True)
class ExitProfile:
    """What happened to ``num_samples`` samples: the share that left at each exit and how often they were right.

    ``accuracies`` are over the samples that left there (0 where none did); ``top1`` is over all samples;
    ``full_accuracies`` are each exit's accuracy if everybody left there.
    """

    rates: tuple[float, ...]
    accuracies: tuple[float, ...]
    full_accuracies: tuple[float, ...]
    top1: float
    num_samples: int

    def __post_init__(self) -> None:
        if abs(sum(self.rates) - 1.0) > 1e-9:
            raise ValueError(f"`rates` must sum to 1, got {self.rates}.")


def profile(logits: Sequence[NDArray[np.floating]], labels: NDArray[np.integer], policy: "StoppingRule") -> ExitProfile:
    """Apply a policy, or another rule, to cached logits; ``labels`` has shape (samples,)."""
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
