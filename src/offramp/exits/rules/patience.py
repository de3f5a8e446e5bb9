"""Patience: a sample leaves once several exits in a row have predicted the same class.

Source: Zhou, Xu, Ge, McAuley, Xu and Wei, "BERT Loses Patience: Fast and Robust Inference with Early Exit", NeurIPS
2020, section 3.2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from offramp.exits.exit_rule import EXIT_RULES, CachedOutputs, ExitRule, RuleNotation, Score
from offramp.exits.rule_arithmetic import Arithmetic, State, Value
from offramp.exits.score_thresholds import ThresholdGrid

# No network has as many exits; the number has an exact float.
_MOST = 2**53


@EXIT_RULES.register("patience")
@dataclass(frozen=True)
class Patience(ExitRule):
    """Leave at the exit that makes ``num_agreeing`` exits in a row with one class; the final exit takes the rest.

    With 1 every sample leaves at the first exit. The paper counts confirmations: its patience is one less.

    Attributes:
        num_agreeing: How many exits in a row must predict the same class, >= 1.
    """

    name: ClassVar[str] = "patience"
    description: ClassVar[str] = "leave once a number of exits in a row have predicted the same class"
    numbers: ClassVar[str] = "how many exits in a row must agree, a whole number >= 1"
    example: ClassVar[str] = "patience:2"

    num_agreeing: int

    def __post_init__(self) -> None:
        if self.num_agreeing < 1:
            raise ValueError(f"`num_agreeing` must be >= 1, got {self.num_agreeing}.")

    def score(self, arithmetic: Arithmetic, logits: Value, exit_index: int, state: State) -> Score:
        """See `ExitRule.score`; the score is how many exits in a row, this one last, agree."""
        predicted = arithmetic.predicted_class(logits)
        if state:
            before, count = state
            in_a_row = arithmetic.where(arithmetic.equal(predicted, before), count + 1.0, 1.0)
        else:
            in_a_row = arithmetic.constant(1.0, logits)
        return Score(in_a_row, (predicted, in_a_row))

    def threshold(self, exit_index: int) -> float:
        """See `ExitRule.threshold`; the same number for all exits."""
        return float(min(self.num_agreeing, _MOST))

    @property
    def num_exits(self) -> None:
        """None: the rule fits any number of exits."""
        return None

    def notation(self, num_exits: int) -> RuleNotation:
        """See `ExitRule.notation`; the thresholds are ``num_agreeing``, at most the number of exits."""
        return RuleNotation(self.name, "max_probability", (float(min(self.num_agreeing, num_exits)),) * (num_exits - 1))

    @classmethod
    def from_notation(cls, notation: RuleNotation) -> Self:
        """See `ExitRule.from_notation`."""
        return cls(int(notation.thresholds[0]) if notation.thresholds else 1)

    @classmethod
    def from_numbers(cls, numbers: Sequence[float], like: RuleNotation) -> Self:
        """See `ExitRule.from_numbers`; one whole number."""
        (count,) = numbers
        if count != int(count):
            raise ValueError(f"`num_agreeing` must be a whole number, got {count}.")
        return cls(int(count))

    @classmethod
    def choices(cls, outputs: CachedOutputs, grid: ThresholdGrid) -> Iterator[Self]:
        """See `ExitRule.choices`; every number of agreeing exits that makes a difference."""
        return (cls(num_agreeing) for num_agreeing in range(1, len(outputs.logits) + 1))

    @classmethod
    def faults(cls, notation: RuleNotation, num_exits: int) -> Iterator[str]:
        """See `ExitRule.faults`."""
        yield from super().faults(notation, num_exits)
        thresholds = set(notation.thresholds)
        if not all(1 <= value <= num_exits and value == int(value) for value in thresholds):
            yield f"thresholds of patience must be whole numbers from 1 to {num_exits}, got {sorted(thresholds)}"
        if len(thresholds) > 1:
            yield f"thresholds of patience must all be the same, got {sorted(thresholds)}"
