"""Products of doubts, worked out by hand."""

import numpy as np
import pytest

from offramp.exits.rules.cumulative import CumulativeConfidence

FINAL = np.zeros((3, 2))
# Confidences of two early exits; cumulative at the second: 1 - 0.5 * 0.5, 1 - 0.4 * 0.5, 1 - 0.1 * 0.4.
FIRST, SECOND = np.asarray([0.5, 0.6, 0.9]), np.asarray([0.5, 0.5, 0.6])
# Logits whose largest probabilities these are.
LOGITS = [*(np.log(np.stack([p, 1 - p], axis=1)) for p in (FIRST, SECOND)), FINAL]


def test_by_hand() -> None:
    rule = CumulativeConfidence((0.7, 0.78))
    np.testing.assert_allclose(rule.scores(LOGITS[:-1]), [[0.5, 0.6, 0.9], [0.75, 0.8, 0.96]])
    assert rule.decide(LOGITS).tolist() == [2, 1, 0]
    # Alone, the second exit is not sure of any sample: 0.6 is the most.
    assert CumulativeConfidence((0.95, 0.9)).decide(LOGITS).tolist() == [2, 2, 1]


def test_certainty_stays() -> None:
    sure, unsure = np.asarray([[1e4, 0.0]]), np.asarray([[0.0, 0.0]])
    scores = CumulativeConfidence((0.5,) * 3, "margin").scores([sure, unsure, unsure])
    assert [item.tolist() for item in scores] == [[1.0], [1.0], [1.0]]


@pytest.mark.parametrize("thresholds", [(), (0.5,), (0.5, 0.5, 0.5)])
def test_one_threshold_per_early_exit(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"except the last \(2\)"):
        CumulativeConfidence(thresholds).decide([FINAL] * 3)
