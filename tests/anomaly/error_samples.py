"""Reconstruction errors with known scores, and synthetic ones of two machines."""

import numpy as np

from offramp.anomaly.anomaly_policy import ScoreScale
from offramp.anomaly.anomaly_profile import LabelledErrors

UNIT = ScoreScale(0.0, 1.0)


def errors_of(scores: list[list[float]]) -> np.ndarray:
    """Errors whose scores on the unit scale are these: one row a sample, one column an exit."""
    errors: np.ndarray = np.exp(np.array(scores))
    return errors


def synthetic(seed: int, samples: int = 200, gap: tuple[float, ...] = (1.0, 2.0, 3.0)) -> LabelledErrors:
    """Exits that tell anomalies apart the better the later they are; two machines."""
    rng = np.random.default_rng(seed)
    anomalous = np.arange(samples) % 2 == 1
    shared = rng.normal(size=samples)
    columns = [g * anomalous + 0.7 * shared + 0.7 * rng.normal(size=samples) + level for level, g in enumerate(gap)]
    return LabelledErrors(np.exp(np.stack(columns, axis=1)), anomalous, np.arange(samples) // 2 % 2)
