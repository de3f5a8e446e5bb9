"""Exit rules: at which exit a sample leaves. One recurrence over the exits defines a rule in every deployed form."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.exits.calibration.class_offsets import ClassOffsets
from offramp.exits.confidence_measures import Measure, confidence, tempered
from offramp.exits.interval_arithmetic import INTERVALS, RoughLogits
from offramp.exits.rule_arithmetic import NUMPY, Arithmetic, State, Value
from offramp.exits.score_thresholds import ThresholdGrid, score_samples
from offramp.exits.threshold_combinations import ScoredSamples
from offramp.registry import Registry, subclass_of


@dataclass(frozen=True)
class RuleNotation:
    """How a bundle's manifest states a rule.

    Attributes:
        name: The registered name of the rule.
        measure: The confidence measure.
        thresholds: One threshold per early exit, finite.
        temperatures: What each exit's logits are divided by, the final one's included; none given means 1.
        class_offsets: What is added to the score of each early exit for each predicted class; none given means 0.
    """

    name: str
    measure: Measure
    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...] = ()
    class_offsets: ClassOffsets = ()

    @property
    def rule(self) -> "ExitRule":
        """The rule; raises UnknownNameError where none of this name is registered."""
        return EXIT_RULES.get(self.name).from_notation(self)

    def temperature(self, exit_index: int) -> float:
        """Give the temperature of an exit.

        Args:
            exit_index: Index of the exit, from 0.

        Returns:
            What its logits are divided by before a confidence is taken.
        """
        return self.temperatures[exit_index] if self.temperatures else 1.0

    def confidence(self, logits: NDArray[np.floating], exit_index: int) -> NDArray[np.float64]:
        """Give the confidence of an exit by the measure of the bundle.

        Args:
            logits: Logits of this exit, (..., classes).
            exit_index: Index of the exit, from 0.

        Returns:
            Confidences from 0 to 1, (...).
        """
        return confidence(tempered(logits, self.temperature(exit_index)), self.measure)


@dataclass(frozen=True, eq=False)
class CachedOutputs:
    """What a network gave for labelled samples, to choose thresholds on.

    Attributes:
        logits: Logits (samples, classes) per exit, the final one last.
        labels: Classes, (samples,).
        costs: What a sample costs that leaves at each exit, all branches on the way included.
    """

    logits: tuple[NDArray[np.floating], ...]
    labels: NDArray[np.integer]
    costs: tuple[float, ...]

    def __post_init__(self) -> None:
        self.scored()

    def scored(self, measure: Measure = "max_probability") -> ScoredSamples:
        """Give confidences as scores, correctness and costs.

        Args:
            measure: The confidence measure.

        Returns:
            The samples with one score per early exit.

        Raises:
            InputError: If logits, labels and costs do not fit together, or are not finite.
        """
        return score_samples(self.logits, self.labels, self.costs, measure)


@dataclass(frozen=True)
class Score:
    """One step of a rule's recurrence.

    Attributes:
        value: What is compared with the threshold of the exit, (samples,); larger means that leaving is safer.
        state: What the next exits need to know; empty where they need nothing.
    """

    value: Value
    state: State = ()


def answers_at(logits: Sequence[NDArray[np.floating]], exits: NDArray[np.integer]) -> NDArray[np.intp]:
    """Give the answers of the exits at which samples left.

    Args:
        logits: Logits (samples, classes) per exit, the final one last.
        exits: Index of the exit of each sample, (samples,).

    Returns:
        The predicted class of each sample, (samples,).
    """
    answers: NDArray[np.intp] = np.stack([item.argmax(axis=1) for item in logits])[exits, np.arange(len(exits))]
    return answers


class ExitRule(ABC):
    """A sample leaves at the first exit whose score is at least the threshold of the exit; the final takes the rest.

    A rule is a frozen dataclass that derives from this class, or from `PerExitThresholds`, and is registered in
    `EXIT_RULES`. It defines its score once, by `score`; all forms that are deployed are made from that.

    Attributes:
        name: The registered name.
        description: What the rule does, in one line.
        numbers: What its numbers mean where it is written as text, such as ``a threshold per early exit``.
        example: Such a text, ``name:number,number``.
        looks_back: Whether the score of an exit depends on exits before it.
        has_temperatures: Whether the rule divides logits by temperatures.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    numbers: ClassVar[str]
    example: ClassVar[str]
    looks_back: ClassVar[bool] = True
    has_temperatures: ClassVar[bool] = False

    @abstractmethod
    def score(self, arithmetic: Arithmetic, logits: Value, exit_index: int, state: State) -> Score:
        """Give the score of an early exit, using ``arithmetic`` and operators on values alone.

        Args:
            arithmetic: The operations to use.
            logits: Logits of this exit, (samples, classes).
            exit_index: Index of the exit, from 0.
            state: The state that the exit before gave; empty at the first exit.

        Returns:
            The score and the state for the next exit.
        """

    @abstractmethod
    def threshold(self, exit_index: int) -> float:
        """Give the threshold of an early exit.

        Args:
            exit_index: Index of the exit, from 0.

        Returns:
            The score from which on samples leave there.
        """

    @property
    @abstractmethod
    def num_exits(self) -> int | None:
        """How many exits the rule is for, the final one included; None where it fits any number."""

    @abstractmethod
    def notation(self, num_exits: int) -> RuleNotation:
        """Give the notation of the rule in a manifest.

        Args:
            num_exits: How many exits the network has, the final one included.

        Returns:
            The notation, from which `from_notation` makes a rule that decides alike.
        """

    @classmethod
    @abstractmethod
    def from_notation(cls, notation: RuleNotation) -> Self:
        """Make the rule that a manifest states.

        Args:
            notation: The notation of a rule of this kind, without `faults`.

        Returns:
            The rule.
        """

    @classmethod
    @abstractmethod
    def choices(cls, outputs: CachedOutputs, grid: ThresholdGrid) -> Iterator[Self]:
        """Give the settings of this kind of rule that are worth trying on these samples.

        Args:
            outputs: Cached outputs of a network.
            grid: Which thresholds are tried.

        Returns:
            Rules for as many exits as the network has.
        """

    @classmethod
    def from_numbers(cls, numbers: Sequence[float], like: RuleNotation) -> Self:
        """Make a rule of numbers that a user wrote.

        Args:
            numbers: The numbers.
            like: The rule of the bundle, which gives the measure and, where the rule has them, the temperatures.

        Returns:
            The rule; it may be for another number of exits than the bundle has.

        Raises:
            ValueError: If the numbers are not those of such a rule.
        """
        if any(np.isnan(numbers)):
            raise ValueError("thresholds must be numbers")
        fits = cls.has_temperatures and len(numbers) == len(like.thresholds)
        temperatures, offsets = (like.temperatures, like.class_offsets) if fits else ((), ())
        offsets = offsets if hasattr(cls, "class_offsets") else ()
        return cls.from_notation(RuleNotation(cls.name, like.measure, tuple(numbers), temperatures, offsets))

    @classmethod
    def faults(cls, notation: RuleNotation, num_exits: int) -> Iterator[str]:
        """Say what is wrong with a notation that was read from a file.

        Args:
            notation: The notation; thresholds and temperatures are known to be finite.
            num_exits: How many exits the network has, the final one included.

        Yields:
            One clause for each fault.
        """
        if not cls.has_temperatures and any(value != 1.0 for value in notation.temperatures):
            yield f"`rule` {cls.name!r} knows no temperatures other than 1"
        if notation.class_offsets and not hasattr(cls, "class_offsets"):
            yield f"`rule` {cls.name!r} knows no offsets per class"

    def scores(self, logits: Sequence[NDArray[np.floating]]) -> list[NDArray[np.float64]]:
        """Give the scores of early exits.

        Args:
            logits: Logits (samples, classes) per early exit.

        Returns:
            Scores (samples,) per early exit.

        Raises:
            InputError: If the score of the rule is not one number per sample.
        """
        return list(self._checked_scores(logits))

    def leaves(self, logits: Sequence[NDArray[np.floating]]) -> NDArray[np.bool_]:
        """Say which samples leave at an early exit, of those that have not left before.

        Args:
            logits: Logits (samples, classes) of each exit that the samples went through, this one last.

        Returns:
            Truth values, (samples,).

        Raises:
            InputError: If the score of the rule is not one number per sample.
        """
        index = len(logits) - 1
        if self.looks_back:
            value = self.scores(logits)[-1]
        else:
            value = self._checked(self.score(NUMPY, logits[-1], index, ()).value, len(logits[-1]), index)
        left: NDArray[np.bool_] = value >= self.threshold(index)
        return left

    def decide(self, logits: Sequence[NDArray[np.floating]]) -> NDArray[np.intp]:
        """Say at which exit each sample leaves.

        Args:
            logits: Logits (samples, classes) per exit, the final one included.

        Returns:
            Exit indices, (samples,).

        Raises:
            ValueError: If the rule is for another number of exits.
            InputError: If the score of the rule is not one number per sample.
        """
        if self.num_exits not in (None, len(logits)):
            raise ValueError(
                f"`thresholds` must have one value per exit except the last ({len(logits) - 1}), got {self}."
            )
        final = len(logits) - 1
        chosen = np.full(len(logits[-1]), final, dtype=np.intp)
        for index, value in enumerate(self._checked_scores(logits[:-1])):
            chosen[(chosen == final) & (value >= self.threshold(index))] = index
        return chosen

    def undecided(self, logits: Sequence[NDArray[np.floating]], errors: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Say which samples may leave elsewhere when their logits are not exact.

        Args:
            logits: Logits (samples, classes) per exit, the final one included.
            errors: By how much the logits of each sample may be off, (samples,).

        Returns:
            Truth values, (samples,): whether a score may be on the other side of its threshold.
        """
        result = np.zeros(len(errors), dtype=bool)
        rough = [RoughLogits(item, errors) for item in logits[:-1]]
        for index, bounds in enumerate(self._scores(INTERVALS, rough)):
            threshold = self.threshold(index)
            result |= (bounds.low < threshold) & (threshold <= bounds.high)
        return result

    def _checked_scores(self, logits: Sequence[NDArray[np.floating]]) -> Iterator[NDArray[np.float64]]:
        for index, (value, item) in enumerate(zip(self._scores(NUMPY, logits), logits, strict=True)):
            yield self._checked(value, len(item), index)

    def _checked(self, value: Value, num_samples: int, exit_index: int) -> NDArray[np.float64]:
        """The scores of an exit, which the code of another package may have got wrong."""
        scores: NDArray[np.float64] = np.asarray(value)
        fault = None
        if scores.shape != (num_samples,):
            fault = f"shape {scores.shape}"
        elif not np.issubdtype(scores.dtype, np.number) or np.isnan(scores).any():
            # NaN is below every threshold: samples would silently go on to the final exit.
            fault = f"{np.isnan(scores).sum()} NaN" if np.issubdtype(scores.dtype, np.floating) else f"{scores.dtype}"
        if fault is not None:
            raise InputError(
                f"Exit rule {self.name!r} must give one number for each of {num_samples} samples, but its score of "
                f"exit {exit_index} has {fault}. Correct its `score`."
            )
        return scores

    def _scores(self, arithmetic: Arithmetic, logits: Sequence[Value]) -> Iterator[Value]:
        state: State = ()
        for index, item in enumerate(logits):
            score = self.score(arithmetic, item, index, state)
            state = score.state
            yield score.value


EXIT_RULES: Registry[type[ExitRule]] = Registry(
    "exit rule", "offramp.exits.rules", entry_points="offramp.exit_rules", expects=subclass_of(ExitRule)
)
