"""Interval arithmetic: between which bounds the scores of an exit rule lie when logits are known only roughly.

Source: Moore, "Interval Analysis", 1966, chapter 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.exits.confidence_measures import Measure
from offramp.exits.rule_arithmetic import NUMPY, Value

_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class RoughLogits:
    """Logits that may be off by as much as ``error`` in either direction.

    Attributes:
        values: Logits, (samples, classes).
        error: The largest error of each sample's logits, (samples,), >= 0.
    """

    values: NDArray[np.floating]
    error: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, eq=False)
class Interval:
    """Bounds of a value; a truth value is between 0 (may be false) and 1 (may be true).

    Attributes:
        low: Lower bounds.
        high: Upper bounds, of the same shape.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def __add__(self, other: "Interval | float") -> "Interval":
        given = _interval(other)
        return Interval(self.low + given.low, self.high + given.high)

    def __neg__(self) -> "Interval":
        return Interval(-self.high, -self.low)

    def __sub__(self, other: "Interval | float") -> "Interval":
        return self + -_interval(other)

    def __rsub__(self, other: float) -> "Interval":
        return -self + other

    def __mul__(self, other: "Interval | float") -> "Interval":
        given = _interval(other)
        products = [a * b for a in (self.low, self.high) for b in (given.low, given.high)]
        return Interval(np.minimum.reduce(products), np.maximum.reduce(products))

    def __truediv__(self, other: float) -> "Interval":
        return self * (1.0 / other)

    __radd__ = __add__
    __rmul__ = __mul__


def _interval(value: Interval | float) -> Interval:
    return value if isinstance(value, Interval) else Interval(np.asarray(value), np.asarray(value))


class IntervalArithmetic:
    """`Arithmetic` that gives an `Interval` for `RoughLogits`, within which the exact value lies."""

    def confidence(self, logits: Value, measure: Measure, temperature: float) -> Value:
        """See `Arithmetic.confidence`; no measure changes by more than twice what the logits change by."""
        exact = NUMPY.confidence(logits.values, measure, temperature)
        slack = 2.0 * logits.error / temperature + _ROUNDING
        return Interval(exact - slack, exact + slack)

    def probabilities(self, logits: Value, temperature: float) -> Value:
        """See `Arithmetic.probabilities`; numerator and denominator each change by a factor of exp(error) at most."""
        exact = NUMPY.probabilities(logits.values, temperature)
        factor = np.exp(2.0 * logits.error / temperature)[:, None]
        return Interval(exact / factor - _ROUNDING, np.minimum(exact * factor, 1.0) + _ROUNDING)

    def largest(self, values: Value) -> Value:
        """See `Arithmetic.largest`."""
        return Interval(values.low.max(axis=1), values.high.max(axis=1))

    def predicted_class(self, logits: Value) -> Value:
        """See `Arithmetic.predicted_class`; gives the classes that may come first, (samples, classes)."""
        # In float64: the best class and the second best must be told apart as finely as the error is given.
        values = logits.values.astype(np.float64)
        # The best may be lower by the error and another one higher.
        return values >= values.max(axis=1, keepdims=True) - 2.0 * logits.error[:, None] - _ROUNDING

    def of_class(self, numbers: Sequence[float], classes: Value) -> Value:
        """See `Arithmetic.of_class`; the hull over the classes that may come first."""
        each = np.broadcast_to(np.asarray(numbers, dtype=np.float64), classes.shape)
        return Interval(np.where(classes, each, np.inf).min(axis=1), np.where(classes, each, -np.inf).max(axis=1))

    def equal(self, first: Value, second: Value) -> Value:
        """See `Arithmetic.equal`."""
        common = (first & second).any(axis=1)
        certain = common & (first.sum(axis=1) == 1) & (second.sum(axis=1) == 1)
        return Interval(certain.astype(np.float64), common.astype(np.float64))

    def where(self, condition: Value, if_true: Value | float, if_false: Value | float) -> Value:
        """See `Arithmetic.where`; the hull of both where the condition is not certain."""
        yes, no = _interval(if_true), _interval(if_false)
        low = np.minimum(np.where(condition.high > 0.0, yes.low, np.inf), np.where(condition.low < 1.0, no.low, np.inf))
        high = np.maximum(
            np.where(condition.high > 0.0, yes.high, -np.inf), np.where(condition.low < 1.0, no.high, -np.inf)
        )
        return Interval(low, high)

    def constant(self, number: float, like: Value) -> Value:
        """See `Arithmetic.constant`."""
        return Interval(np.full(len(like), number), np.full(len(like), number))


INTERVALS = IntervalArithmetic()
