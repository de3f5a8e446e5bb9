"""Choice of the bands and the threshold of an anomaly policy on validation samples."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.anomaly.anomaly_policy import NEVER_LEAVE, SMALLEST_ERROR, AnomalyPolicy, Band, Floats, ScoreScale
from offramp.anomaly.anomaly_profile import AnomalyProfile, LabelledErrors, mean_auc, profile_anomalies
from offramp.errors import InputError

_SMALLEST_STD = 1e-6
# Shares of the samples that a band calls normal, or anomalous: 0 to 0.9.
_SHARES = tuple(np.linspace(0.0, 0.9, 10).tolist())
_ROUNDING = 1e-12


@dataclass(frozen=True)
class FittedPolicy:
    """A policy and its results on the samples to which it was fitted.

    Attributes:
        policy: The policy.
        profile: Its results on these samples.
        expected_cost: Mean cost of a sample, in the unit of the costs that the fit was given.
    """

    policy: AnomalyPolicy
    profile: AnomalyProfile
    expected_cost: float


def fit_anomaly_policy(labelled: LabelledErrors, costs: Sequence[float], *, auc_drop: float = 0.0) -> FittedPolicy:
    """Choose the policy of the least expected cost that is almost as accurate as the last exit alone.

    The candidates have bands that classify the same share of samples as normal, and the same share as anomalous, at
    every early exit; one of them lets no sample leave early. Of equally cheap ones, that of the highest AUC is chosen.

    Args:
        labelled: Validation samples (not test samples).
        costs: Cost of a sample that leaves at each exit, with all branches that it passes.
        auc_drop: How far the AUC, and the detection rate minus the false alarm rate, may each lie below those of the
            last exit alone; from 0 to 1.

    Returns:
        The policy with its results on ``labelled``.

    Raises:
        InputError: ``costs`` does not have one value per exit, or ``auc_drop`` is out of range.
    """
    if len(costs) != labelled.errors.shape[1]:
        raise InputError(f"`costs` must have one value per exit ({labelled.errors.shape[1]}), got {len(costs)}.")
    if not 0.0 <= auc_drop <= 1.0:
        raise InputError(f"`auc_drop` must be from 0 to 1, got {auc_drop}.")
    scales = tuple(_scale_of(errors[~labelled.anomalous]) for errors in labelled.errors.T)
    scores = [scale.scores(errors) for scale, errors in zip(scales, labelled.errors.T, strict=True)]
    threshold = _best_threshold(scores[-1], labelled.anomalous)
    never_early = _fitted(AnomalyPolicy(scales, (NEVER_LEAVE,) * (len(scales) - 1), threshold), labelled, costs)
    candidates = [never_early]
    for normal_share, anomalous_share in itertools.product(_SHARES, _SHARES):
        bands = [_band(exit_scores, normal_share, anomalous_share) for exit_scores in scores[:-1]]
        valid = tuple(band for band in bands if band is not None)
        if len(valid) == len(bands):
            candidates.append(_fitted(AnomalyPolicy(scales, valid, threshold), labelled, costs))
    lowest_auc = mean_auc(scores[-1], labelled) - auc_drop - _ROUNDING
    # Scores can be ranked well although the verdicts are wrong, so the verdicts have a limit of their own.
    lowest_informedness = _informedness(never_early.profile) - auc_drop - _ROUNDING
    accepted = [
        candidate
        for candidate in candidates
        if candidate.profile.auc >= lowest_auc and _informedness(candidate.profile) >= lowest_informedness
    ]
    return min(accepted, key=lambda candidate: (candidate.expected_cost, -candidate.profile.auc))


def _informedness(profile: AnomalyProfile) -> float:
    return profile.detections - profile.false_alarms


def _fitted(policy: AnomalyPolicy, labelled: LabelledErrors, costs: Sequence[float]) -> FittedPolicy:
    achieved = profile_anomalies(labelled, policy)
    expected = sum(rate * cost for rate, cost in zip(achieved.rates, costs, strict=True))
    return FittedPolicy(policy, achieved, expected)


def _scale_of(normal_errors: NDArray[np.floating]) -> ScoreScale:
    logs = np.log(np.maximum(normal_errors.astype(np.float64), SMALLEST_ERROR))
    return ScoreScale(float(logs.mean()), max(float(logs.std()), _SMALLEST_STD))


def _band(scores: Floats, normal_share: float, anomalous_share: float) -> Band | None:
    """The band with these shares outside; None where the two shares overlap."""
    low = float(np.quantile(scores, normal_share)) if normal_share else NEVER_LEAVE.low
    high = float(np.quantile(scores, 1.0 - anomalous_share)) if anomalous_share else NEVER_LEAVE.high
    return Band(low, high) if low < high else None


def _best_threshold(scores: Floats, anomalous: NDArray[np.bool_]) -> float:
    """The threshold with the largest detection rate minus false alarm rate."""
    candidates = np.unique(scores)
    informedness = [(scores[anomalous] >= t).mean() - (scores[~anomalous] >= t).mean() for t in candidates]
    return float(candidates[int(np.argmax(informedness))])
