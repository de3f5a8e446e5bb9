"""Cumulative confidence: the confidences of the exits so far add up.

Source: Gambella, Pomponi, Scardapane and Roveri, "NACHOS: Neural Architecture Search for Hardware Constrained Early
Exit Neural Networks", 2024. There the confidences are learned, and one number serves as threshold for all exits but the
first; here confidences are those of a measure, and every exit has a threshold of its own.
"""

from dataclasses import dataclass
from typing import ClassVar

from offramp.exits.confidence_measures import Measure
from offramp.exits.exit_rule import EXIT_RULES, Score
from offramp.exits.per_exit_thresholds import PerExitThresholds
from offramp.exits.rule_arithmetic import Arithmetic, State, Value


@EXIT_RULES.register("cumulative")
@dataclass(frozen=True)
class CumulativeConfidence(PerExitThresholds):
    """Leave at the first exit i where 1 - (1 - c_1) ... (1 - c_i) reaches the threshold; the final takes the rest.

    Attributes:
        thresholds: One threshold per early exit.
        measure: The confidence measure.
    """

    name: ClassVar[str] = "cumulative"
    description: ClassVar[str] = "thresholds on 1 - (1 - c_1) ... (1 - c_i), with the confidences c of the exits so far"
    example: ClassVar[str] = "cumulative:0.9,0.95"

    thresholds: tuple[float, ...]
    measure: Measure = "max_probability"

    def score(self, arithmetic: Arithmetic, logits: Value, exit_index: int, state: State) -> Score:
        """See `ExitRule.score`; the state is the product of the doubts 1 - c so far."""
        doubt = 1.0 - arithmetic.confidence(logits, self.measure, 1.0)
        doubts = state[0] * doubt if state else doubt
        return Score(1.0 - doubts, (doubts,))
