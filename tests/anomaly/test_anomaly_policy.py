"""Verdicts worked out by hand."""

import numpy as np
import pytest

from offramp.anomaly.anomaly_policy import NEVER_LEAVE, AnomalyPolicy, Band, ScoreScale
from tests.anomaly.error_samples import UNIT, errors_of


def test_a_sample_leaves_at_the_first_exit_that_is_sure() -> None:
    policy = AnomalyPolicy((UNIT, UNIT, UNIT), (Band(-1.0, 1.0), Band(0.0, 0.5)), threshold=0.2)
    errors = errors_of(
        [
            [-1.0, 9.0, 9.0],  # normal at once: a score on the edge is sure
            [1.0, -9.0, -9.0],  # anomalous at once
            [0.9, 0.0, 9.0],  # normal at the second
            [-0.9, 0.6, -9.0],  # anomalous at the second
            [0.0, 0.25, 0.2],  # anomalous at the last
            [0.0, 0.25, 0.1],  # normal at the last
        ]
    )
    verdicts = policy.decide(errors)
    assert verdicts.exits.tolist() == [0, 0, 1, 1, 2, 2]
    assert verdicts.anomalous.tolist() == [False, True, False, True, True, False]
    np.testing.assert_allclose(verdicts.scores, [0.0, 0.0, 0.0, 0.1, 0.0, -0.1], atol=1e-12)


def test_a_scale_makes_exits_comparable() -> None:
    scale = ScoreScale(mean=2.0, std=0.5)
    np.testing.assert_allclose(scale.scores(np.exp([2.0, 3.0, 1.5])), [0.0, 2.0, -1.0])
    assert np.isfinite(scale.scores(np.array([0.0]))).all()  # a perfect copy


def test_wrong_input_is_explained() -> None:
    with pytest.raises(ValueError, match="`bands` one per early exit"):
        AnomalyPolicy((UNIT,), (NEVER_LEAVE,), 0.0)
    with pytest.raises(ValueError, match="`low` must be below `high`"):
        Band(1.0, 1.0)
    with pytest.raises(ValueError, match="`std` > 0"):
        ScoreScale(0.0, 0.0)
    with pytest.raises(ValueError, match=r"must be \(samples, 1\)"):
        AnomalyPolicy((UNIT,), (), 0.0).decide(np.ones((8, 3)))
