"""Thresholds on scores of any kind from 0 to 1: all combinations of a grid at once, on cached outputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.errors import InputError
from offramp.exits.calibration.class_offsets import ClassOffsets
from offramp.exits.confidence_measures import Measure, confidence
from offramp.exits.threshold_combinations import ScoredSamples, evaluate_combinations, thin, undominated

NEVER = 2.0
"""A threshold that no confidence reaches."""
ALWAYS = -1.0
"""A threshold that every confidence reaches."""


@dataclass(frozen=True)
class ThresholdGrid:
    """Which thresholds are tried: 0 to 1 in steps, quantiles of each exit's scores, and `NEVER`.

    Attributes:
        step: Distance of neighbouring thresholds, above 0 and at most 1.
        num_quantiles: How many quantiles of the scores are added, >= 0.
        max_combinations: At most so many combinations are evaluated, >= 4. Where the exits' thresholds make more, each
            exit's list is thinned evenly to fit.
    """

    step: float = 0.05
    num_quantiles: int = 8
    max_combinations: int = 1_000_000

    def __post_init__(self) -> None:
        if not 0.0 < self.step <= 1.0:
            raise ValueError(f"`step` must be above 0 and at most 1, got {self.step}.")
        if self.num_quantiles < 0 or self.max_combinations < 4:
            raise ValueError(
                f"`num_quantiles` must be >= 0 and `max_combinations` >= 4, "
                f"got {self.num_quantiles} and {self.max_combinations}."
            )

    def thresholds(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """List the thresholds for one exit.

        Args:
            scores: Scores from 0 to 1, (samples,).

        Returns:
            Increasing thresholds; the last is `NEVER`.
        """
        steps = np.round(np.arange(0.0, 1.0 + self.step / 2, self.step), 6)
        shares = (np.arange(self.num_quantiles) + 0.5) / max(self.num_quantiles, 1)
        quantiles = np.round(np.quantile(scores, shares), 6)
        return np.unique(np.concatenate([np.minimum(steps, 1.0), quantiles, [NEVER]]))


@dataclass(frozen=True)
class ScoreChoice:
    """Thresholds on scores and what they reach on the samples they were chosen on.

    Attributes:
        thresholds: One threshold per early exit.
        accuracy: Share of right answers.
        expected_cost: Mean cost of a sample.
    """

    thresholds: tuple[float, ...]
    accuracy: float
    expected_cost: float


def score_curve(samples: ScoredSamples, grid: ThresholdGrid | None = None) -> tuple[ScoreChoice, ...]:
    """Find the combinations of thresholds that no other of the grid beats in both accuracy and expected cost.

    Args:
        samples: Scores from 0 to 1, correctness and costs.
        grid: Which thresholds are tried; None for the default grid.

    Returns:
        The combinations, cheapest first.
    """
    grid = grid or ThresholdGrid()
    lists = [grid.thresholds(row) for row in samples.scores]
    outcomes = evaluate_combinations(samples, thin(lists, grid.max_combinations))
    right, cost = outcomes.right.ravel(), outcomes.cost.ravel()
    return tuple(
        ScoreChoice(outcomes.thresholds(int(flat)), float(right[flat]) / samples.num_samples, float(cost[flat]))
        for flat in undominated(outcomes, samples.num_samples)
    )


def score_samples(
    logits: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    costs: ArrayLike,
    measure: Measure,
    weights: NDArray[np.float64] | None = None,
    class_offsets: ClassOffsets = (),
) -> ScoredSamples:
    """Give confidences and correctness of cached logits.

    Args:
        logits: Logits (samples, classes) per exit, the final one last.
        labels: Classes, (samples,).
        costs: What a sample costs that leaves at each exit, every branch on the way included.
        measure: The confidence measure.
        weights: What each sample counts, with the mean 1, (samples,); None where all count the same.
        class_offsets: What is added to the confidence of each early exit for each predicted class; empty = 0.

    Returns:
        The samples with their confidences as scores.

    Raises:
        InputError: If the arrays do not fit together, or are not finite.
    """
    cost_array = np.asarray(costs, dtype=np.float64)
    if not logits or cost_array.shape != (len(logits),):
        raise InputError(f"`costs` must have one value per exit ({len(logits)}, at least 1), got {cost_array.shape}.")
    label_array = np.asarray(labels)
    shapes = [np.shape(item) for item in logits]
    if label_array.ndim != 1 or not label_array.size or any(len(s) != 2 or s[0] != label_array.size for s in shapes):
        raise InputError(
            f"every exit must have logits of shape (samples, classes) for the same one or more samples, "
            f"got {shapes} and labels of shape {label_array.shape}."
        )
    if not np.isfinite(cost_array).all() or not all(np.isfinite(item).all() for item in logits):
        raise InputError("logits and costs must be finite; a network whose logits are not has diverged in training.")
    early = [confidence(item, measure) for item in logits[:-1]]
    if class_offsets:
        answers = [item.argmax(axis=1) for item in logits[:-1]]
        early = [sure + np.asarray(row)[of] for sure, row, of in zip(early, class_offsets, answers, strict=True)]
    confidences = np.stack(early) if early else np.empty((0, label_array.size))
    correct = np.stack([np.argmax(item, axis=1) == label_array for item in logits]).astype(np.int8)
    return ScoredSamples(confidences, correct if weights is None else correct * weights, cost_array)
