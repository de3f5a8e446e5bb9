"""When an anomaly detector stops: exits decide normal, anomalous or undecided from reconstruction errors."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SMALLEST_ERROR = 1e-12
"""Smaller reconstruction errors are raised to this one, so that their logarithm is finite."""

# Scores are standardised: none is this large.
_BEYOND_ALL_SCORES = 1e6


@dataclass(frozen=True)
class ScoreScale:
    """Standardisation of an exit's logarithmic reconstruction errors, which makes scores of exits comparable.

    The errors of a shortened decoder are larger than those of the whole one.

    Attributes:
        mean: Mean of the natural logarithm of the error on normal samples.
        std: Standard deviation of this logarithm; above 0.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise ValueError(f"`mean` and `std` must be finite and `std` > 0, got {self.mean} and {self.std}.")

    def scores(self, errors: NDArray[np.floating]) -> Floats:
        """Standardise reconstruction errors.

        Args:
            errors: Mean squared errors, of any shape; those below `SMALLEST_ERROR` count as this error.

        Returns:
            Scores of the same shape; a larger one is less normal.
        """
        logs: Floats = np.log(np.maximum(np.asarray(errors, dtype=np.float64), SMALLEST_ERROR))
        return (logs - self.mean) / self.std


@dataclass(frozen=True)
class Band:
    """Scores for which an early exit is undecided.

    Attributes:
        low: A score of at most this is normal.
        high: A score of at least this is anomalous; above ``low``.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"`low` must be below `high`, got {self.low} and {self.high}.")


NEVER_LEAVE = Band(-_BEYOND_ALL_SCORES, _BEYOND_ALL_SCORES)
"""The band of an early exit at which no sample leaves."""


@dataclass(frozen=True, eq=False)
class Verdicts:
    """Decisions on samples; all arrays have the shape (samples,).

    Attributes:
        exits: Index of the exit at which each sample left, from 0.
        scores: Distance of the sample's score from the threshold that decided: at least 0 for anomalous samples, at
            most 0 for normal ones. So samples that left at different exits are ranked consistently.
        anomalous: Whether each sample was classified as anomalous.
    """

    exits: NDArray[np.intp]
    scores: Floats
    anomalous: NDArray[np.bool_]


@dataclass(frozen=True)
class AnomalyPolicy:
    """Bands and threshold of an anomaly detector with early exits.

    Attributes:
        scales: Scale of the errors of each exit.
        bands: Band of each early exit: one fewer than ``scales``.
        threshold: At the last exit, a score of at least this is anomalous.
    """

    scales: tuple[ScoreScale, ...]
    bands: tuple[Band, ...]
    threshold: float

    def __post_init__(self) -> None:
        if len(self.scales) != len(self.bands) + 1:
            raise ValueError(
                f"`scales` must have one entry per exit and `bands` one per early exit, got {len(self.scales)} and "
                f"{len(self.bands)}."
            )

    def decide(self, errors: NDArray[np.floating]) -> Verdicts:
        """Classify samples; each leaves at the first exit that is not undecided.

        Args:
            errors: Reconstruction errors (samples, exits).

        Returns:
            One verdict per sample.

        Raises:
            ValueError: ``errors`` does not have one column per exit.
        """
        if errors.ndim != 2 or errors.shape[1] != len(self.scales):
            raise ValueError(f"`errors` must be (samples, {len(self.scales)}), got {errors.shape}.")
        scores = np.stack([scale.scores(errors[:, i]) for i, scale in enumerate(self.scales)], axis=1)
        last = len(self.bands)
        exits = np.full(len(errors), last, dtype=np.intp)
        anomalous = scores[:, last] >= self.threshold
        distances = scores[:, last] - self.threshold
        for index in range(last - 1, -1, -1):
            band, own = self.bands[index], scores[:, index]
            decided = (own <= band.low) | (own >= band.high)
            exits[decided] = index
            anomalous[decided] = own[decided] >= band.high
            distances[decided] = np.where(anomalous, own - band.high, own - band.low)[decided]
        return Verdicts(exits, distances, anomalous)
