"""The best thresholds of an `ExitPolicy` from cached validation logits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.exits.calibration.class_offsets import ClassOffsets
from offramp.exits.confidence_measures import Measure
from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.score_thresholds import ThresholdGrid, score_curve, score_samples
from offramp.exits.threshold_combinations import evaluate_combinations
from offramp.numerics.dominance import distinct_front


@dataclass(frozen=True)
class ThresholdChoice:
    """A policy and what it reaches on the samples it was chosen on.

    Attributes:
        policy: The policy.
        accuracy: Share of right answers.
        expected_cost: Mean cost of a sample.
    """

    policy: ExitPolicy
    accuracy: float
    expected_cost: float


def trade_off_curve(
    logits: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    costs: ArrayLike,
    measure: Measure,
    grid: ThresholdGrid | None = None,
    weights: NDArray[np.float64] | None = None,
    class_offsets: ClassOffsets = (),
) -> tuple[ThresholdChoice, ...]:
    """Find the combinations of the grid that no other beats in both accuracy and cost.

    Where the grid makes more than ``max_combinations``, the thinned grid is used.

    Args:
        logits: Logits (samples, classes) per exit, the final one last.
        labels: Classes, (samples,).
        costs: What a sample costs that leaves at each exit, every branch on the way included.
        measure: The confidence measure.
        grid: Which thresholds are tried; None for the default grid.
        weights: What each sample counts in the accuracy, with the mean 1, (samples,); None where all count the same.
        class_offsets: What is added to the confidence of each early exit for each predicted class; empty = 0.

    Returns:
        The policies, cheapest first.

    Raises:
        InputError: If the arrays do not fit together, or are not finite.
    """
    curve = score_curve(score_samples(logits, labels, costs, measure, weights, class_offsets), grid)
    return tuple(
        ThresholdChoice(
            ExitPolicy(measure, point.thresholds, class_offsets=class_offsets), point.accuracy, point.expected_cost
        )
        for point in curve
    )


SHARED_THRESHOLDS: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(1, 21))
"""What is tried where one threshold serves all exits. Source: the grid of Zniber et al."""


def shared_trade_off_curve(
    logits: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    costs: ArrayLike,
    measure: Measure,
    weights: NDArray[np.float64] | None = None,
    class_offsets: ClassOffsets = (),
) -> tuple[ThresholdChoice, ...]:
    """Find the trade-off curve with the same threshold, one of `SHARED_THRESHOLDS`, at all exits.

    Args:
        logits: Logits (samples, classes) per exit, the final one last.
        labels: Classes, (samples,).
        costs: What a sample costs that leaves at each exit, every branch on the way included.
        measure: The confidence measure.
        weights: What each sample counts in the accuracy, with the mean 1, (samples,); None where all count the same.
        class_offsets: What is added to the confidence of each early exit for each predicted class; empty = 0.

    Returns:
        The policies, cheapest first.

    Raises:
        InputError: If the arrays do not fit together, or are not finite.
    """
    samples = score_samples(logits, labels, costs, measure, weights, class_offsets)
    count = len(samples.scores)
    points = []
    for threshold in SHARED_THRESHOLDS:
        outcome = evaluate_combinations(samples, [np.asarray([threshold])] * count)
        right, cost = float(outcome.right.ravel()[0]), float(outcome.cost.ravel()[0])
        policy = ExitPolicy(measure, (threshold,) * count, class_offsets=class_offsets)
        points.append(ThresholdChoice(policy, right / samples.num_samples, cost))
    goals = np.array([[point.expected_cost, -point.accuracy] for point in points])
    return tuple(points[index] for index in distinct_front(goals))
