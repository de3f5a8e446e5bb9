"""Cumulative confidence: what earlier exits were sure of adds up.

Source: Gambella, Pomponi, Scardapane and Roveri, "NACHOS: Neural Architecture Search for Hardware Constrained Early
Exit Neural Networks", 2024. There the confidences are learned, and one number serves as threshold for all exits but the
first; here every exit has a threshold of its own, and where no learned confidences are given those of a measure stand
in for them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.exits.confidence_measures import MEASURES, Measure, confidence
from offramp.exits.exit_rule import STOPPING_RULES, CachedOutputs, Proposal
from offramp.exits.threshold_combinations import ScoredSamples
from offramp.exits.thresholds import ThresholdGrid, score_curve, score_samples


@dataclass(frozen=True)
class CumulativeConfidence:
    """Leave at the first exit i where 1 - (1 - c_1) ... (1 - c_i) reaches the threshold; the final takes the rest."""

    thresholds: tuple[float, ...]
    measure: Measure = "max_probability"

    @property
    def num_exits(self) -> int:
        """The final exit included."""
        return len(self.thresholds) + 1

    def leaves(self, logits: Sequence[NDArray[np.floating]]) -> NDArray[np.bool_]:
        """Whether samples leave at the last of these exits; one (samples, classes) array per exit so far."""
        together = accumulated([confidence(item, self.measure) for item in logits])
        return together[-1] >= self.thresholds[len(logits) - 1]

    def decide(
        self, logits: Sequence[NDArray[np.floating]], confidences: Sequence[NDArray[np.floating]] | None = None
    ) -> NDArray[np.intp]:
        """Exit index of each sample; ``confidences``, (samples,) per early exit, replace those of ``measure``."""
        own = [confidence(item, self.measure) for item in logits[:-1]] if confidences is None else confidences
        if not len(own) == len(self.thresholds) == len(logits) - 1:
            raise ValueError(
                f"there must be one threshold and one confidence per exit except the last ({len(logits) - 1}), "
                f"got {len(self.thresholds)} and {len(own)}."
            )
        chosen = np.full(len(logits[-1]), len(logits) - 1, dtype=np.intp)
        together = accumulated(own)
        for index in range(len(own) - 1, -1, -1):
            chosen[together[index] >= self.thresholds[index]] = index
        return chosen


def accumulated(confidences: Sequence[NDArray[np.floating]]) -> list[NDArray[np.float64]]:
    """The cumulative confidence up to each exit, (samples,) each."""
    doubts: list[NDArray[np.float64]] = []
    for item in confidences:
        doubt = 1.0 - item.astype(np.float64)
        doubts.append(doubts[-1] * doubt if doubts else doubt)
    return [1.0 - doubt for doubt in doubts]


@STOPPING_RULES.register("cumulative")
def cumulative(outputs: CachedOutputs, grid: ThresholdGrid) -> Iterator[Proposal]:
    """The trade-off curves of the cumulative confidences: of the learned ones, or of all measures."""
    for measure in MEASURES if outputs.confidences is None else MEASURES[:1]:
        samples = score_samples(outputs.logits, outputs.labels, outputs.costs, measure)
        given = list(samples.scores) if outputs.confidences is None else outputs.confidences
        scores = np.stack(accumulated(given)) if len(given) else samples.scores
        for point in score_curve(ScoredSamples(scores, samples.correct, samples.costs), grid):
            rule = CumulativeConfidence(point.thresholds, measure)
            yield Proposal(rule, rule.decide(outputs.logits, outputs.confidences))
