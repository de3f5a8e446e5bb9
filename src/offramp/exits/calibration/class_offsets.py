"""Thresholds per predicted class: offsets of confidences, shrunk towards the common threshold.

An exit may be too sure of one class and too unsure of another. Its confidence in each class is shifted by how much more
or less often it is right there than it says, compared with all classes together. A threshold t on shifted confidences
is a threshold t - offset for each class.

Source of the shrinkage: DerSimonian and Laird, "Meta-Analysis in Clinical Trials", 1986 (variance between groups by the
method of moments); Efron and Morris, "Data Analysis Using Stein's Estimator", 1975.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from offramp.exits.confidence_measures import Measure, confidence

LARGEST_OFFSET = 0.5
"""Offsets are limited to this in both directions, so that a score stays below the threshold that nobody reaches."""

ClassOffsets = tuple[tuple[float, ...], ...]
"""One offset per class for each early exit; empty = the same thresholds for all classes."""


def fit_class_offsets(
    logits: Sequence[NDArray[np.floating]], labels: NDArray[np.integer], measure: Measure
) -> ClassOffsets:
    """Fit the offsets of all early exits, each alone.

    Args:
        logits: Logits (samples, classes) per exit, the final one last, divided by the temperatures.
        labels: Classes, (samples,).
        measure: The confidence measure.

    Returns:
        The offsets; 0 for classes that an exit never predicts.
    """
    return tuple(_fit(item, np.asarray(labels), measure) for item in logits[:-1])


def _fit(logits: NDArray[np.floating], labels: NDArray[np.integer], measure: Measure) -> tuple[float, ...]:
    num_classes = int(logits.shape[1])
    answers = logits.argmax(axis=1)
    # How much more often an answer is right than it says.
    surplus = (answers == labels) - confidence(logits, measure)
    counts = np.bincount(answers, minlength=num_classes).astype(np.float64)
    means = np.bincount(answers, surplus, minlength=num_classes) / np.maximum(counts, 1.0)
    total, num_present = float(counts.sum()), int(np.count_nonzero(counts))
    if num_present < 2 or total <= num_present:
        return (0.0,) * num_classes
    gaps = np.where(counts > 0, means - surplus.mean(), 0.0)
    within = float(((surplus - means[answers]) ** 2).sum()) / (total - num_present)
    between = float((counts * gaps**2).sum()) - (num_present - 1) * within
    between = max(0.0, between / (total - float((counts**2).sum()) / total))
    if between == 0.0:
        return (0.0,) * num_classes
    # A class of few samples is known badly and stays near the common threshold.
    kept = between * counts / (between * counts + within) if within else np.ones(num_classes)
    return tuple(float(value) for value in np.clip(kept * gaps, -LARGEST_OFFSET, LARGEST_OFFSET))
