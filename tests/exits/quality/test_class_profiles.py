"""What each class gets, worked out by hand for two exits and five samples."""

import numpy as np
import pytest

from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.quality.class_profiles import class_profiles

LABELS = np.array([0, 0, 0, 1, 1])


def logits_of(probabilities: list[float]) -> np.ndarray:
    """Three classes, the last one never answered; the given probability is that of class 0."""
    p = np.asarray(probabilities)
    return np.log(np.stack([p, 1 - p, np.full(len(p), 1e-9)], axis=1))


# With the threshold 0.8, samples 0 and 1 (right) and 3 (wrong) leave first; 2 and 4 go on and are right.
LOGITS = (logits_of([0.9, 0.95, 0.4, 0.85, 0.45]), logits_of([0.9, 0.9, 0.9, 0.1, 0.1]))


def test_profiles_by_class_and_exit() -> None:
    found = class_profiles(LOGITS, LABELS, ExitPolicy("max_probability", (0.8,)))
    first, second, third = found.classes
    assert (first.num_samples, first.recall, first.precision) == (3, 1.0, 0.75)
    assert first.rates == pytest.approx((2 / 3, 1 / 3))
    assert first.recalls == (1.0, 1.0)
    assert first.full_recalls == pytest.approx((2 / 3, 1.0))
    assert (second.num_samples, second.recall, second.precision) == (2, 0.5, 1.0)
    assert (second.rates, second.recalls, second.full_recalls) == ((0.5, 0.5), (0.0, 1.0), (0.5, 1.0))
    assert (third.num_samples, third.recall, third.precision, third.f1, third.rates) == (0, None, None, None, ())
    assert found.balanced_accuracy == 0.75
    assert found.macro_f1 == pytest.approx((6 / 7 + 2 / 3) / 2)
    assert found.confusion == ((3, 0, 0), (1, 1, 0), (0, 0, 0))
