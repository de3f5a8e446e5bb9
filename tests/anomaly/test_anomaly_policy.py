"""Verdicts by hand, the area under the curve against scikit-learn's, and what fitting promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from offramp.anomaly.anomaly_rule import (
    NEVER_LEAVE,
    AnomalyPolicy,
    Band,
    LabelledErrors,
    ScoreScale,
    area_under_curve,
    fit_anomaly_policy,
    mean_auc,
    profile_anomalies,
)
from offramp.errors import InputError

UNIT = ScoreScale(0.0, 1.0)


def errors_of(scores: list[list[float]]) -> np.ndarray:
    """Errors whose scores on the unit scale are these: one row a sample, one column an exit."""
    errors: np.ndarray = np.exp(np.array(scores))
    return errors


def synthetic(seed: int, samples: int = 200, gap: tuple[float, ...] = (1.0, 2.0, 3.0)) -> LabelledErrors:
    """Exits that tell anomalies apart the better the later they are; two machines."""
    rng = np.random.default_rng(seed)
    anomalous = np.arange(samples) % 2 == 1
    shared = rng.normal(size=samples)
    columns = [g * anomalous + 0.7 * shared + 0.7 * rng.normal(size=samples) + level for level, g in enumerate(gap)]
    return LabelledErrors(np.exp(np.stack(columns, axis=1)), anomalous, np.arange(samples) // 2 % 2)


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


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_the_area_is_scikit_learns_ties_included(samples: list[tuple[int, bool]]) -> None:
    scores = np.array([float(score) for score, _ in samples])
    anomalous = np.array([label for _, label in samples])
    if 0 < anomalous.sum() < len(samples):
        assert area_under_curve(scores, anomalous) == pytest.approx(roc_auc_score(anomalous, scores))


def test_the_mean_is_over_machines() -> None:
    errors = np.array([[1.0], [2.0], [4.0], [3.0]])
    labelled = LabelledErrors(errors, np.array([False, True, False, True]), np.array([1, 1, 2, 2]))
    assert mean_auc(errors[:, 0], labelled) == 0.5  # 1 for the first machine, 0 for the second; pooled it were 0.75


def test_a_profile_by_hand() -> None:
    policy = AnomalyPolicy((UNIT, UNIT), (Band(-1.0, 1.0),), threshold=0.0)
    errors = errors_of([[-2.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, -1.0]])
    labelled = LabelledErrors(errors, np.array([False, False, True, True]), np.zeros(4, dtype=int))
    found = profile_anomalies(labelled, policy)
    assert (found.rates, found.num_samples) == ((0.5, 0.5), 4)
    assert (found.false_alarms, found.detections) == (0.5, 0.5)
    # Beyond their edges by -1 and 1 (normal), 1 and -1 (anomalous): one pair in order, two are equal, one is not.
    assert found.auc == 0.5


@settings(max_examples=10)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.01, 0.05]))
def test_fitting_keeps_its_floor_and_never_costs_more_than_going_through(seed: int, drop: float) -> None:
    labelled = synthetic(seed, samples=80)
    costs = (1.0, 2.0, 4.0)
    fitted = fit_anomaly_policy(labelled, costs, auc_drop=drop)
    assert fitted.profile.auc >= fitted.profile.exit_aucs[-1] - drop - 1e-9
    assert fitted.expected_cost <= 4.0
    again = profile_anomalies(labelled, fitted.policy)
    assert again == fitted.profile
    assert fitted.expected_cost == pytest.approx(sum(r * c for r, c in zip(again.rates, costs, strict=True)))


def test_who_leaves_early_is_called_as_rightly_as_at_the_end() -> None:
    """Where all exits rank perfectly, an AUC of 1 alone would not keep normal samples from being called anomalous."""
    labelled = synthetic(7, gap=(20.0, 20.0, 20.0))
    found = fit_anomaly_policy(labelled, (1.0, 2.0, 4.0)).profile
    assert (found.auc, found.detections, found.false_alarms) == (1.0, 1.0, 0.0)
    assert found.rates[0] >= 0.8


def test_a_larger_drop_never_costs_more() -> None:
    labelled = synthetic(3)
    costs = [fit_anomaly_policy(labelled, (1.0, 2.0, 4.0), auc_drop=drop).expected_cost for drop in (0.0, 0.02, 0.2)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 2.0 < costs[0] <= 4.0


def test_a_useless_exit_is_not_used_for_long() -> None:
    """Where the first exit guesses, samples go on to the one that knows."""
    labelled = synthetic(5, samples=400, gap=(0.0, 6.0))
    fitted = fit_anomaly_policy(labelled, (1.0, 2.0))
    assert fitted.profile.rates[0] < 0.15
    one_exit = fit_anomaly_policy(labelled.of_exits([1]), (2.0,))
    assert (one_exit.expected_cost, one_exit.policy.bands) == (2.0, ())


def test_the_last_threshold_separates_best() -> None:
    errors = errors_of([[0.0], [1.0], [2.0], [5.0], [6.0], [1.5]])
    labelled = LabelledErrors(errors, np.array([False, False, False, True, True, True]), np.zeros(6, dtype=int))
    found = fit_anomaly_policy(labelled, (1.0,)).profile
    assert found.detections == 1.0
    assert found.false_alarms == pytest.approx(1 / 3)


def test_wrong_input_is_explained() -> None:
    good = synthetic(0, samples=8)
    with pytest.raises(InputError, match=r"one value per exit \(3\), got 2"):
        fit_anomaly_policy(good, (1.0, 2.0))
    with pytest.raises(InputError, match="`auc_drop` must be from 0 to 1, got 2"):
        fit_anomaly_policy(good, (1.0, 2.0, 3.0), auc_drop=2)
    with pytest.raises(InputError, match="Machine 0 must have both"):
        LabelledErrors(good.errors, np.zeros(8, dtype=bool), good.machines)
    with pytest.raises(InputError, match="must be finite"):
        LabelledErrors(good.errors * np.nan, good.anomalous, good.machines)
    with pytest.raises(InputError, match="one label and one machine per sample"):
        LabelledErrors(good.errors, good.anomalous[:4], good.machines)
    with pytest.raises(ValueError, match="`bands` one per early exit"):
        AnomalyPolicy((UNIT,), (NEVER_LEAVE,), 0.0)
    with pytest.raises(ValueError, match="`low` must be below `high`"):
        Band(1.0, 1.0)
    with pytest.raises(ValueError, match="`std` > 0"):
        ScoreScale(0.0, 0.0)
    with pytest.raises(ValueError, match=r"must be \(samples, 1\)"):
        AnomalyPolicy((UNIT,), (), 0.0).decide(good.errors)
