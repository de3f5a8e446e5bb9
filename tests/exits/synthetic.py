"""Logits of made-up networks whose later exits are better, as many samples as one likes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Outputs:
    """Logits (samples, classes) per exit, the final one last, and labels."""

    logits: tuple[NDArray[np.float32], ...]
    labels: NDArray[np.int64]

    def take(self, rows: NDArray[np.integer]) -> "Outputs":
        return Outputs(tuple(item[rows] for item in self.logits), self.labels[rows])


def outputs(
    num_samples: int,
    rng: np.random.Generator,
    *,
    strengths: Sequence[float] = (1.6, 2.2, 3.0),
    shared: float = 0.7,
    num_classes: int = 10,
) -> Outputs:
    """``strengths``: how much the true class stands out, per exit; ``shared``: how much of the noise all exits have."""
    labels = rng.integers(0, num_classes, num_samples)
    ease = rng.normal(1.0, 0.6, num_samples)
    common = rng.normal(size=(num_samples, num_classes))
    logits = []
    for strength in strengths:
        values = common * np.sqrt(shared) + rng.normal(size=common.shape) * np.sqrt(1.0 - shared)
        values[np.arange(num_samples), labels] += 1.5 * strength * ease
        logits.append((1.5 * values).astype(np.float32))
    return Outputs(tuple(logits), labels)
