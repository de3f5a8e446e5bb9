"""What fitting a policy promises, on synthetic samples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.anomaly.anomaly_profile import LabelledErrors, profile_anomalies
from offramp.anomaly.policy_fitting import fit_anomaly_policy
from offramp.errors import InputError
from tests.anomaly.error_samples import errors_of, synthetic


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
