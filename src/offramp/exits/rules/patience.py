"""Patience: a sample leaves once several exits in a row have given the same answer.

Source: Zhou, Xu, Ge, McAuley, Xu and Wei, "BERT Loses Patience: Fast and Robust Inference with Early Exit", NeurIPS
2020, section 3.2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.exits.exit_rule import STOPPING_RULES, CachedOutputs, Proposal
from offramp.exits.thresholds import ThresholdGrid


@dataclass(frozen=True)
class Patience:
    """Leave at the exit that makes ``num_agreeing`` exits in a row with one answer; the final exit takes the rest.

    With 1 every sample leaves at the first exit. The paper counts confirmations: its patience is one less.
    """

    num_agreeing: int

    def __post_init__(self) -> None:
        if self.num_agreeing < 1:
            raise ValueError(f"`num_agreeing` must be >= 1, got {self.num_agreeing}.")

    @property
    def num_exits(self) -> None:
        """Fits any number of exits."""
        return None

    def leaves(self, logits: Sequence[NDArray[np.floating]]) -> NDArray[np.bool_]:
        """Whether samples leave at the last of these exits; one (samples, classes) array per exit so far."""
        answers = np.stack([item.argmax(axis=1) for item in logits[-self.num_agreeing :]])
        agree: NDArray[np.bool_] = (answers == answers[-1]).all(axis=0)
        return agree & (len(logits) >= self.num_agreeing)

    def decide(self, logits: Sequence[NDArray[np.floating]]) -> NDArray[np.intp]:
        """Exit index of each sample; ``logits`` holds one (samples, classes) array per exit, the final one included."""
        answers = [item.argmax(axis=1) for item in logits]
        final = len(logits) - 1
        chosen = np.full(len(answers[0]), final, dtype=np.intp)
        in_a_row = np.zeros(len(answers[0]), dtype=np.intp)
        for index in range(final):
            same = answers[index] == answers[index - 1] if index else np.zeros(len(chosen), dtype=bool)
            in_a_row = np.where(same, in_a_row + 1, 1)
            chosen[(chosen == final) & (in_a_row >= self.num_agreeing)] = index
        return chosen


@STOPPING_RULES.register("patience")
def patience(outputs: CachedOutputs, grid: ThresholdGrid) -> Iterator[Proposal]:
    """Every number of agreeing exits that makes a difference."""
    for num_agreeing in range(1, len(outputs.logits) + 1):
        rule = Patience(num_agreeing)
        yield Proposal(rule, rule.decide(outputs.logits))
