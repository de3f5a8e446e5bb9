"""The arithmetic in which an exit rule is written once, and its form on numpy arrays."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from offramp.exits.confidence_measures import Measure, confidence, softmax, tempered

Value: TypeAlias = Any
"""Logits (samples, classes) or one number per sample (samples,): an array, a tensor, a value of a graph, an interval.

Values can be added, subtracted and multiplied with each other and with floats, and divided by floats.
"""


class Arithmetic(Protocol):
    """The operations that every form of a deployed rule has, beside ``+``, ``-``, ``*`` and division by a float.

    An exit rule that uses nothing else can be decided on numpy arrays, on torch tensors, inside an ONNX graph and on
    intervals, which bound what a rounding error does to a decision.
    """

    def confidence(self, logits: Value, measure: Measure, temperature: float) -> Value:
        """Give the confidence of each sample.

        Args:
            logits: Logits of one exit, (samples, classes).
            measure: The confidence measure.
            temperature: What the logits are divided by before.

        Returns:
            Confidences from 0 to 1, (samples,).
        """
        ...

    def probabilities(self, logits: Value, temperature: float) -> Value:
        """Give the softmax of the logits of one exit.

        Args:
            logits: Logits, (samples, classes).
            temperature: What the logits are divided by before.

        Returns:
            Probabilities, (samples, classes).
        """
        ...

    def largest(self, values: Value) -> Value:
        """Give the largest value of each sample.

        Args:
            values: (samples, classes).

        Returns:
            The maximum over the classes, (samples,).
        """
        ...

    def predicted_class(self, logits: Value) -> Value:
        """Give the class with the largest logit, for `equal` and `of_class` alone.

        Args:
            logits: Logits of one exit, (samples, classes).

        Returns:
            Class indices, (samples,).
        """
        ...

    def of_class(self, numbers: Sequence[float], classes: Value) -> Value:
        """Give each sample the number of its predicted class.

        Args:
            numbers: One number per class.
            classes: Class indices from `predicted_class`.

        Returns:
            The numbers, (samples,).
        """
        ...

    def equal(self, first: Value, second: Value) -> Value:
        """Compare predicted classes.

        Args:
            first: Class indices from `predicted_class`.
            second: Class indices from `predicted_class`.

        Returns:
            Truth values for `where`, (samples,).
        """
        ...

    def where(self, condition: Value, if_true: Value | float, if_false: Value | float) -> Value:
        """Choose per sample.

        Args:
            condition: Truth values from `equal`.
            if_true: What is taken where the condition holds.
            if_false: What is taken elsewhere.

        Returns:
            The chosen numbers, (samples,).
        """
        ...

    def constant(self, number: float, like: Value) -> Value:
        """Give the same number for each sample.

        Args:
            number: The number.
            like: Logits of as many samples.

        Returns:
            (samples,) times the number.
        """
        ...


class NumpyArithmetic:
    """`Arithmetic` on numpy arrays, in float64."""

    def confidence(self, logits: Value, measure: Measure, temperature: float) -> Value:
        """See `Arithmetic.confidence`."""
        return confidence(tempered(logits, temperature), measure)

    def probabilities(self, logits: Value, temperature: float) -> Value:
        """See `Arithmetic.probabilities`."""
        return softmax(tempered(logits, temperature))

    def largest(self, values: Value) -> Value:
        """See `Arithmetic.largest`."""
        return values.max(axis=1)

    def predicted_class(self, logits: Value) -> Value:
        """See `Arithmetic.predicted_class`."""
        return logits.argmax(axis=1)

    def of_class(self, numbers: Sequence[float], classes: Value) -> Value:
        """See `Arithmetic.of_class`."""
        return np.asarray(numbers, dtype=np.float64)[classes]

    def equal(self, first: Value, second: Value) -> Value:
        """See `Arithmetic.equal`."""
        return first == second

    def where(self, condition: Value, if_true: Value | float, if_false: Value | float) -> Value:
        """See `Arithmetic.where`."""
        return np.where(condition, if_true, if_false)

    def constant(self, number: float, like: Value) -> Value:
        """See `Arithmetic.constant`."""
        return np.full(len(like), number)


NUMPY: Arithmetic = NumpyArithmetic()
State: TypeAlias = Sequence[Value]
"""What a rule keeps of the exits before; empty at the first exit."""
