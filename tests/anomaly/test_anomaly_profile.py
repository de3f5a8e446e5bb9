"""The area under the curve against scikit-learn's, and a profile worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from offramp.anomaly.anomaly_policy import AnomalyPolicy, Band
from offramp.anomaly.anomaly_profile import LabelledErrors, area_under_curve, mean_auc, profile_anomalies
from offramp.errors import InputError
from tests.anomaly.error_samples import UNIT, errors_of, synthetic


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


def test_wrong_input_is_explained() -> None:
    good = synthetic(0, samples=8)
    with pytest.raises(InputError, match="Machine 0 must have both"):
        LabelledErrors(good.errors, np.zeros(8, dtype=bool), good.machines)
    with pytest.raises(InputError, match="must be finite"):
        LabelledErrors(good.errors * np.nan, good.anomalous, good.machines)
    with pytest.raises(InputError, match="one label and one machine per sample"):
        LabelledErrors(good.errors, good.anomalous[:4], good.machines)
