"""Products of doubts, worked out by hand."""

import numpy as np
import pytest

from offramp.exits.rules.cumulative import CumulativeConfidence, accumulated

FINAL = np.zeros((3, 2))
# Confidences of two early exits; cumulative at the second: 1 - 0.5 * 0.5, 1 - 0.4 * 0.5, 1 - 0.1 * 0.4.
FIRST, SECOND = np.asarray([0.5, 0.6, 0.9]), np.asarray([0.5, 0.5, 0.6])


def test_by_hand() -> None:
    together = accumulated([FIRST, SECOND])
    np.testing.assert_allclose(together, [[0.5, 0.6, 0.9], [0.75, 0.8, 0.96]])
    rule = CumulativeConfidence((0.7, 0.78))
    assert rule.decide([FINAL] * 3, [FIRST, SECOND]).tolist() == [2, 1, 0]
    # Alone, the second exit is not sure of any sample: 0.6 is the most.
    assert CumulativeConfidence((0.95, 0.9)).decide([FINAL] * 3, [FIRST, SECOND]).tolist() == [2, 2, 1]


def test_the_largest_probability_stands_in() -> None:
    logits = [np.log(np.stack([p, 1 - p], axis=1)) for p in (FIRST, SECOND)]
    rule = CumulativeConfidence((0.7, 0.78))
    np.testing.assert_array_equal(rule.decide([*logits, FINAL]), rule.decide([*logits, FINAL], [FIRST, SECOND]))


def test_certainty_stays() -> None:
    sure = np.asarray([1.0])
    unsure = np.asarray([0.0])
    assert [item.tolist() for item in accumulated([sure, unsure, unsure])] == [[1.0], [1.0], [1.0]]


@pytest.mark.parametrize("thresholds", [(), (0.5,), (0.5, 0.5, 0.5)])
def test_one_threshold_per_early_exit(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"except the last \(2\)"):
        CumulativeConfidence(thresholds).decide([FINAL] * 3)
    with pytest.raises(ValueError, match="got 2 and 1"):
        CumulativeConfidence((0.5, 0.5)).decide([FINAL] * 3, [FIRST])
