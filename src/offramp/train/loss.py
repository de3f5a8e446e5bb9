"""Losses of networks with several exits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


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
    """

    label_smoothing: float = 0.0
    distillation_weight: float = 0.5
    temperature: float = 1.0
    early_exit_weight: float = 1.0
    class_weights: tuple[float, ...] = ()


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


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of the student from the teacher at a temperature.

    Source: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", section 2. The factor
    temperature squared keeps the gradients comparable to those of the cross entropy.

    Args:
        student: logits (batch, classes).
        teacher: logits (batch, classes).
        temperature: divisor of all logits, > 0.

    Returns:
        The divergence in nats, averaged over the batch, times ``temperature`` squared; a scalar.
    """
    soft_teacher = F.log_softmax(teacher / temperature, dim=1)
    soft_student = F.log_softmax(student / temperature, dim=1)
    return F.kl_div(soft_student, soft_teacher, reduction="batchmean", log_target=True) * temperature**2


def multi_exit_loss(
    logits: Sequence[Tensor], labels: Tensor, settings: LossSettings, teacher: Tensor | None = None
) -> Tensor:
    """Loss of the final exit plus those of the early exits times their weight.

    Args:
        logits: (batch, classes) of each exit, the final one last.
        labels: class numbers (batch,).
        settings: weights of the parts of the loss.
        teacher: logits (batch, classes) from which every exit learns; None = the early exits learn from the final
            exit, which learns from the labels alone. No gradient flows into the teacher.

    Returns:
        The loss, averaged over the batch; a scalar.
    """
    weights = (
        torch.tensor(settings.class_weights, dtype=torch.float32, device=labels.device)
        if settings.class_weights
        else None
    )
    target = (logits[-1] if teacher is None else teacher).detach().float()

    def exit_loss(exit_logits: Tensor, taught: bool) -> Tensor:
        values = exit_logits.float()
        hard = F.cross_entropy(values, labels, weights, label_smoothing=settings.label_smoothing)
        if not taught or settings.distillation_weight == 0.0:
            return hard
        soft = distillation(values, target, settings.temperature)
        return (1 - settings.distillation_weight) * hard + settings.distillation_weight * soft

    final = exit_loss(logits[-1], taught=teacher is not None)
    early = [exit_loss(exit_logits, taught=True) for exit_logits in logits[:-1]]
    return final + settings.early_exit_weight * torch.stack(early).sum() if early else final
