"""Losses of networks with several exits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from offramp.nn.tap_gradient import TapGradient
from offramp.train.data_parallel import mean_over_processes

SampleWeighting = Literal["equal", "reaching", "boosting"]
"""How samples are weighted in the losses of exits; see `sample_weights`."""

TrainedExits = Literal["all", "final", "early"]
"""Which exits have a loss. With early exits alone, the backbone is not trained."""


@dataclass(frozen=True)
class LossSettings:
    """Settings of ``multi_exit_loss``.

    Attributes:
        label_smoothing: share of each label that is spread over all classes, 0..1.
        distillation_weight: share of the distillation loss in the loss of a student, 0..1; the rest is the cross
            entropy with the labels.
        temperature: divisor of the logits of teacher and student in the distillation loss, > 0.
        early_exit_weight: factor of the loss of each early exit; that of the final exit has factor 1.
        class_weights: factor of the cross entropy of each class's samples; empty = 1. The loss of a batch is divided by
            the sum of its samples' factors.
        sample_weighting: how samples are weighted in the loss of each exit; see `sample_weights`.
        later_exits_teach: an early exit learns from the mean logits of all exits behind it, instead of those of the
            final exit alone. It has no effect where a teacher is given.
        gradient_equilibrium: the exits share the gradient of the backbone equally; see `offramp.nn.tap_gradient`.
        trained_exits: which exits have a loss; a network without early exits always trains its final exit.
    """

    label_smoothing: float = 0.0
    distillation_weight: float = 0.5
    temperature: float = 1.0
    early_exit_weight: float = 1.0
    class_weights: tuple[float, ...] = ()
    sample_weighting: SampleWeighting = "equal"
    later_exits_teach: bool = False
    gradient_equilibrium: bool = False
    trained_exits: TrainedExits = "all"

    @property
    def tap_gradient(self) -> TapGradient:
        """How gradients of exits pass into the backbone."""
        if self.trained_exits == "early":
            return "none"
        return "equilibrium" if self.gradient_equilibrium else "full"


def balanced_weights(labels: NDArray[np.integer], num_classes: int) -> tuple[float, ...]:
    """Factors with which all classes count the same, however many samples they have.

    Source: King and Zeng 2001, "Logistic Regression in Rare Events Data", equation 9, for several classes.

    Args:
        labels: class numbers (samples,).
        num_classes: number of classes.

    Returns:
        samples / (classes * samples of the class), one factor per class; 1 for a class without samples.
    """
    counts = np.bincount(labels, minlength=num_classes)
    present = int(np.count_nonzero(counts))
    return tuple(len(labels) / (present * float(count)) if count else 1.0 for count in counts)


def sample_weights(before: Sequence[Tensor], labels: Tensor, weighting: SampleWeighting) -> Tensor:
    """Weights of the samples in the loss of an exit, by what the exits before it say.

    A weight is (1 + r / mean(r)) / 2 with the mean over the batch, so that no exit forgets the easy samples.

    ``equal``: r = 1. ``reaching``: r is the product of 1 - c over the exits before, where c is the largest probability,
    so that an exit learns most for the samples that reach it; after Han et al. 2022, "Learning to Weight Samples for
    Dynamic Early-exiting Networks", with this formula in place of their trained weight network. ``boosting``:
    r = 1 - p(label) of the exit just before, which is the size of the gradient of its cross entropy; after Yu et al.
    2023, "Boosted Dynamic Neural Networks", with weights in place of their sums of logits.

    Args:
        before: logits (batch, classes) of the exits before, in order; no gradient flows into them.
        labels: class numbers (batch,).
        weighting: which r is taken.

    Returns:
        Weights (batch,) with the mean 1; all are 1 for the first exit.
    """
    ones = torch.ones(len(labels), device=labels.device)
    if weighting == "equal" or not before:
        return ones
    if weighting == "boosting":
        raw = 1.0 - before[-1].detach().float().softmax(1).gather(1, labels[:, None])[:, 0]
    else:
        raw = ones
        for logits in before:
            raw = raw * (1.0 - logits.detach().float().softmax(1).amax(1))
    mean = mean_over_processes(raw.mean())
    # Where all exits before are certain of all samples, none of them reaches this exit more than another.
    return 0.5 * (1.0 + raw / mean) if float(mean) > 0.0 else ones


def distillation(student: Tensor, teacher: Tensor, temperature: float, weights: Tensor | None = None) -> Tensor:
    """Kullback-Leibler divergence of the student from the teacher at a temperature.

    Source: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", section 2. The factor
    temperature squared keeps the gradients comparable to those of the cross entropy.

    Args:
        student: logits (batch, classes).
        teacher: logits (batch, classes).
        temperature: divisor of all logits, > 0.
        weights: what each sample counts (batch,), with the mean 1; None = all count the same.

    Returns:
        The divergence in nats, averaged over the batch, times ``temperature`` squared; a scalar.
    """
    soft_teacher = F.log_softmax(teacher / temperature, dim=1)
    soft_student = F.log_softmax(student / temperature, dim=1)
    if weights is None:
        return F.kl_div(soft_student, soft_teacher, reduction="batchmean", log_target=True) * temperature**2
    each = F.kl_div(soft_student, soft_teacher, reduction="none", log_target=True).sum(1)
    return (each * weights).mean() * temperature**2


def multi_exit_loss(
    logits: Sequence[Tensor], labels: Tensor, settings: LossSettings, teacher: Tensor | None = None
) -> Tensor:
    """Loss of the final exit plus those of the early exits times their weight.

    Sources of the teachers inside a network: the final exit, Phuong and Lampert 2019, "Distillation-Based Training for
    Multi-Exit Architectures"; the mean of several exits, Lee and Lee 2021, "Students are the Best Teacher:
    Exit-Ensemble Distillation with Multi-Exits", here of those behind the exit that learns.

    Args:
        logits: (batch, classes) of each exit, the final one last.
        labels: class numbers (batch,).
        settings: weights of the parts of the loss.
        teacher: logits (batch, classes) from which every exit learns; None = the early exits learn from exits behind
            them, as the settings say, and the final exit from the labels alone. No gradient flows into a teacher.

    Returns:
        The loss, averaged over the batch; a scalar.
    """
    last = len(logits) - 1

    def exit_loss(index: int) -> Tensor:
        weights = None
        if settings.sample_weighting != "equal":
            weights = sample_weights(logits[:index], labels, settings.sample_weighting)
        target = _target(logits, index, settings, teacher)
        return _exit_loss(logits[index].float(), labels, settings, target, weights)

    if settings.trained_exits == "final" or last == 0:
        return exit_loss(last)
    early = settings.early_exit_weight * torch.stack([exit_loss(index) for index in range(last)]).sum()
    return early if settings.trained_exits == "early" else exit_loss(last) + early


def _target(logits: Sequence[Tensor], index: int, settings: LossSettings, teacher: Tensor | None) -> Tensor | None:
    """Logits that an exit learns from; None = from the labels alone."""
    if teacher is not None:
        return teacher.detach().float()
    if index == len(logits) - 1:
        return None
    if settings.later_exits_teach:
        return torch.stack([item.detach().float() for item in logits[index + 1 :]]).mean(0)
    return logits[-1].detach().float()


def _exit_loss(
    values: Tensor, labels: Tensor, settings: LossSettings, target: Tensor | None, weights: Tensor | None
) -> Tensor:
    classes = (
        torch.tensor(settings.class_weights, dtype=torch.float32, device=labels.device)
        if settings.class_weights
        else None
    )
    smoothing = settings.label_smoothing
    if weights is None:
        hard = F.cross_entropy(values, labels, classes, label_smoothing=smoothing)
        if classes is not None:
            # A mean over the weights of the whole mini-batch, not of the part that this process has.
            own = classes[labels].mean()
            hard = hard * (own / mean_over_processes(own))
    else:
        each = F.cross_entropy(values, labels, classes, label_smoothing=smoothing, reduction="none")
        counted = (weights if classes is None else weights * classes[labels]).mean()
        hard = (each * weights).mean() / mean_over_processes(counted)
    if target is None or settings.distillation_weight == 0.0:
        return hard
    soft = distillation(values, target, settings.temperature, weights)
    return (1 - settings.distillation_weight) * hard + settings.distillation_weight * soft
