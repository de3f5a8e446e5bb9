"""Exit rule of an anomaly detector: normal, anomalous or undecided, from reconstruction errors."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError

Floats = NDArray[np.float64]

# Scores are standardised: nothing lies out there.
_BEYOND_ALL_SCORES = 1e6
_SMALLEST_ERROR = 1e-12
_SMALLEST_STD = 1e-6
_SHARES = tuple(np.linspace(0.0, 0.9, 10).tolist())


@dataclass(frozen=True)
class ScoreScale:
    """Mean and standard deviation of the logarithm of an exit's error on normal samples.

    Errors of a shortened decoder are larger than those of the whole one: scores on this scale can be compared.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise ValueError(f"`mean` and `std` must be finite and `std` > 0, got {self.mean} and {self.std}.")

    def scores(self, errors: NDArray[np.floating]) -> Floats:
        """Standardised scores; larger is less normal."""
        logs: Floats = np.log(np.maximum(np.asarray(errors, dtype=np.float64), _SMALLEST_ERROR))
        return (logs - self.mean) / self.std


@dataclass(frozen=True)
class Band:
    """A score up to ``low`` is normal, from ``high`` on anomalous; in between the sample goes on."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"`low` must be below `high`, got {self.low} and {self.high}.")


NEVER_LEAVE = Band(-_BEYOND_ALL_SCORES, _BEYOND_ALL_SCORES)


@dataclass(frozen=True, eq=False)
class Verdicts:
    """For each sample the exit it left at, its score there, and what it was taken for; all of shape (samples,).

    ``scores`` are how far beyond the edge that decided: 0 and more for anomalous, 0 and less for normal. So samples
    that left at different exits rank as they were called.
    """

    exits: NDArray[np.intp]
    scores: Floats
    anomalous: NDArray[np.bool_]


@dataclass(frozen=True)
class AnomalyPolicy:
    """``bands`` holds one band per early exit; at the last exit a score of at least ``threshold`` is anomalous."""

    scales: tuple[ScoreScale, ...]
    bands: tuple[Band, ...]
    threshold: float

    def __post_init__(self) -> None:
        if len(self.scales) != len(self.bands) + 1:
            raise ValueError(
                f"`scales` must have one entry per exit and `bands` one per early exit, got {len(self.scales)} and "
                f"{len(self.bands)}."
            )

    def decide(self, errors: NDArray[np.floating]) -> Verdicts:
        """Verdicts from reconstruction errors (samples, exits)."""
        if errors.ndim != 2 or errors.shape[1] != len(self.scales):
            raise ValueError(f"`errors` must be (samples, {len(self.scales)}), got {errors.shape}.")
        scores = np.stack([scale.scores(errors[:, i]) for i, scale in enumerate(self.scales)], axis=1)
        last = len(self.bands)
        exits = np.full(len(errors), last, dtype=np.intp)
        anomalous = scores[:, last] >= self.threshold
        beyond = scores[:, last] - self.threshold
        for index in range(last - 1, -1, -1):
            band, here = self.bands[index], scores[:, index]
            sure = (here <= band.low) | (here >= band.high)
            exits[sure] = index
            anomalous[sure] = here[sure] >= band.high
            beyond[sure] = np.where(anomalous, here - band.high, here - band.low)[sure]
        return Verdicts(exits, beyond, anomalous)


@dataclass(frozen=True, eq=False)
class LabelledErrors:
    """Errors (samples, exits) of samples of which it is known whether they are anomalous, and from which machine."""

    errors: NDArray[np.floating]
    anomalous: NDArray[np.bool_]
    machines: NDArray[np.integer]

    def __post_init__(self) -> None:
        if self.errors.ndim != 2 or not len(self.errors) == len(self.anomalous) == len(self.machines):
            raise InputError("`errors` must be (samples, exits), with one label and one machine per sample.")
        if not np.isfinite(self.errors).all():
            raise InputError("Reconstruction errors must be finite numbers. Train at a lower learning rate.")
        for machine in np.unique(self.machines):
            kinds = np.unique(self.anomalous[self.machines == machine])
            if len(kinds) < 2:
                raise InputError(f"Machine {machine} must have both normal and anomalous sounds to measure on.")

    def of_exits(self, kept: Sequence[int]) -> "LabelledErrors":
        return LabelledErrors(self.errors[:, list(kept)], self.anomalous, self.machines)


@dataclass(frozen=True)
class AnomalyProfile:
    """What a policy did. ``auc`` is the mean over machines of the area under the receiver operating curve.

    ``exit_aucs``: if everybody left at that exit. ``false_alarms``: share of normal samples taken for anomalous;
    ``detections``: share of anomalous ones found.
    """

    rates: tuple[float, ...]
    auc: float
    exit_aucs: tuple[float, ...]
    false_alarms: float
    detections: float
    num_samples: int


def area_under_curve(scores: NDArray[np.floating], anomalous: NDArray[np.bool_]) -> float:
    """Probability that an anomalous sample scores above a normal one; equal scores count half."""
    normal = np.sort(scores[~anomalous])
    below = np.searchsorted(normal, scores[anomalous], side="left")
    not_above = np.searchsorted(normal, scores[anomalous], side="right")
    return float((below + not_above).mean() / (2 * len(normal)))


def mean_auc(scores: NDArray[np.floating], labelled: LabelledErrors) -> float:
    """Mean over machines, as MLPerf Tiny and DCASE report it."""
    areas = []
    for machine in np.unique(labelled.machines):
        rows = labelled.machines == machine
        areas.append(area_under_curve(scores[rows], labelled.anomalous[rows]))
    return float(np.mean(areas))


def profile_anomalies(labelled: LabelledErrors, policy: AnomalyPolicy) -> AnomalyProfile:
    """What a fixed policy does on labelled samples."""
    verdicts = policy.decide(labelled.errors)
    count, num_exits = labelled.errors.shape
    return AnomalyProfile(
        rates=tuple(float((verdicts.exits == index).sum()) / count for index in range(num_exits)),
        auc=mean_auc(verdicts.scores, labelled),
        exit_aucs=tuple(mean_auc(labelled.errors[:, index], labelled) for index in range(num_exits)),
        false_alarms=float(verdicts.anomalous[~labelled.anomalous].mean()),
        detections=float(verdicts.anomalous[labelled.anomalous].mean()),
        num_samples=count,
    )


@dataclass(frozen=True)
class FittedPolicy:
    """A policy, and what it reaches on the samples it was fitted to."""

    policy: AnomalyPolicy
    profile: AnomalyProfile
    expected_cost: float


def fit_anomaly_policy(labelled: LabelledErrors, costs: Sequence[float], *, auc_drop: float = 0.0) -> FittedPolicy:
    """The policy of least expected cost whose AUC is at most ``auc_drop`` below that of the last exit alone.

    The same holds for its share of anomalies found less its share of false alarms.
    ``costs``: what a sample costs that leaves at each exit, all branches on the way included. Tried are bands that
    call the same share of samples normal, and the same share anomalous, at every exit. Of equally cheap policies the
    one of the highest AUC is taken. To be called on validation samples.
    """
    if len(costs) != labelled.errors.shape[1]:
        raise InputError(f"`costs` must have one value per exit ({labelled.errors.shape[1]}), got {len(costs)}.")
    if not 0.0 <= auc_drop <= 1.0:
        raise InputError(f"`auc_drop` must be from 0 to 1, got {auc_drop}.")
    scales = tuple(_scale_of(errors[~labelled.anomalous]) for errors in labelled.errors.T)
    scores = [scale.scores(errors) for scale, errors in zip(scales, labelled.errors.T, strict=True)]
    threshold = _best_threshold(scores[-1], labelled.anomalous)
    floor = mean_auc(scores[-1], labelled) - auc_drop - 1e-12
    found = [_fitted(AnomalyPolicy(scales, (NEVER_LEAVE,) * (len(scales) - 1), threshold), labelled, costs)]
    for normal_share, anomalous_share in itertools.product(_SHARES, _SHARES):
        bands = [_band(exit_scores, normal_share, anomalous_share) for exit_scores in scores[:-1]]
        kept = tuple(band for band in bands if band is not None)
        if len(kept) == len(bands):
            found.append(_fitted(AnomalyPolicy(scales, kept, threshold), labelled, costs))
    # Scores may rank well and still be called wrongly: the verdicts have a floor of their own.
    verdict_floor = _informedness(found[0].profile) - auc_drop - 1e-12
    good = [item for item in found if item.profile.auc >= floor and _informedness(item.profile) >= verdict_floor]
    return min(good, key=lambda item: (item.expected_cost, -item.profile.auc))


def _informedness(found: AnomalyProfile) -> float:
    return found.detections - found.false_alarms


def _fitted(policy: AnomalyPolicy, labelled: LabelledErrors, costs: Sequence[float]) -> FittedPolicy:
    achieved = profile_anomalies(labelled, policy)
    expected = sum(rate * cost for rate, cost in zip(achieved.rates, costs, strict=True))
    return FittedPolicy(policy, achieved, expected)


def _scale_of(normal_errors: NDArray[np.floating]) -> ScoreScale:
    logs = np.log(np.maximum(normal_errors.astype(np.float64), _SMALLEST_ERROR))
    return ScoreScale(float(logs.mean()), max(float(logs.std()), _SMALLEST_STD))


def _band(scores: Floats, normal_share: float, anomalous_share: float) -> Band | None:
    """None where the two shares overlap."""
    low = float(np.quantile(scores, normal_share)) if normal_share else NEVER_LEAVE.low
    high = float(np.quantile(scores, 1.0 - anomalous_share)) if anomalous_share else NEVER_LEAVE.high
    return Band(low, high) if low < high else None


def _best_threshold(scores: Floats, anomalous: NDArray[np.bool_]) -> float:
    """Where the share of anomalies found less the share of false alarms is largest."""
    candidates = np.unique(scores)
    found = [(scores[anomalous] >= t).mean() - (scores[~anomalous] >= t).mean() for t in candidates]
    return float(candidates[int(np.argmax(found))])
