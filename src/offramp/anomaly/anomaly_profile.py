"""What an anomaly policy achieves on labelled samples: exit rates, AUC, false alarms and detections."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.anomaly.anomaly_policy import AnomalyPolicy
from offramp.errors import InputError


@dataclass(frozen=True, eq=False)
class LabelledErrors:
    """Reconstruction errors of labelled samples; every machine has normal and anomalous ones.

    Attributes:
        errors: Finite mean squared errors (samples, exits).
        anomalous: Whether each sample is anomalous (samples,).
        machines: Number of the machine that each sample is from (samples,).
    """

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
        """The errors of some of the exits.

        Args:
            kept: Indices of the exits, from 0.

        Returns:
            The same samples with one column of errors for each of these exits.
        """
        return LabelledErrors(self.errors[:, list(kept)], self.anomalous, self.machines)


@dataclass(frozen=True)
class AnomalyProfile:
    """Results of a policy on a set of samples; rates are shares from 0 to 1.

    Attributes:
        rates: Share of samples that leave at each exit; together 1.
        auc: Area under the receiver operating characteristic of the verdicts, mean over the machines, from 0 to 1.
        exit_aucs: This area for each exit if all samples left there.
        false_alarms: Share of the normal samples that were classified as anomalous.
        detections: Share of the anomalous samples that were classified as anomalous.
        num_samples: Number of samples.
    """

    rates: tuple[float, ...]
    auc: float
    exit_aucs: tuple[float, ...]
    false_alarms: float
    detections: float
    num_samples: int


def area_under_curve(scores: NDArray[np.floating], anomalous: NDArray[np.bool_]) -> float:
    """Area under the receiver operating characteristic.

    It is the probability that an anomalous sample scores above a normal one; equal scores count half.

    Args:
        scores: Scores (samples,); a larger one is less normal.
        anomalous: Whether each sample is anomalous (samples,); both kinds must occur.

    Returns:
        The area, from 0 to 1.
    """
    normal = np.sort(scores[~anomalous])
    below = np.searchsorted(normal, scores[anomalous], side="left")
    not_above = np.searchsorted(normal, scores[anomalous], side="right")
    return float((below + not_above).mean() / (2 * len(normal)))


def mean_auc(scores: NDArray[np.floating], labelled: LabelledErrors) -> float:
    """Mean over the machines of the area under the curve, as MLPerf Tiny and DCASE report it.

    Args:
        scores: Scores (samples,); a larger one is less normal.
        labelled: The samples' labels and machines.

    Returns:
        The mean area, from 0 to 1.
    """
    areas = []
    for machine in np.unique(labelled.machines):
        rows = labelled.machines == machine
        areas.append(area_under_curve(scores[rows], labelled.anomalous[rows]))
    return float(np.mean(areas))


def profile_anomalies(labelled: LabelledErrors, policy: AnomalyPolicy) -> AnomalyProfile:
    """Measure a policy on labelled samples.

    Args:
        labelled: The samples, with one column of errors per exit of the policy.
        policy: The policy; it is not changed.

    Returns:
        What the policy achieves.
    """
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
