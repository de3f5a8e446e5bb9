"""Losses of networks with several exits."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class LossSettings:
    """``distillation_weight`` is the share of the soft target in the loss of a student, 0..1.

    ``early_exit_weight``: what the loss of each early exit counts beside that of the final one.
    """

    label_smoothing: float = 0.0
    distillation_weight: float = 0.5
    temperature: float = 1.0
    early_exit_weight: float = 1.0


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence from the softened teacher, averaged over the batch, times temperature squared.

    Source: Hinton, Vinyals, Dean 2015, section 2.1 (the factor keeps gradients comparable to the hard loss).
    """
    soft_teacher = F.log_softmax(teacher / temperature, dim=1)
    soft_student = F.log_softmax(student / temperature, dim=1)
    return F.kl_div(soft_student, soft_teacher, reduction="batchmean", log_target=True) * temperature**2


def multi_exit_loss(
    logits: Sequence[Tensor], labels: Tensor, settings: LossSettings, teacher: Tensor | None = None
) -> Tensor:
    """Loss of the final exit plus those of the early exits times their weight.

    ``logits`` holds one (batch, classes) tensor per exit, the final one last; ``labels`` has shape (batch,).
    Without ``teacher`` the final exit learns from the labels alone and teaches the others; a given teacher
    (batch, classes) teaches every exit. No gradient flows into a teacher.
    """
    target = (logits[-1] if teacher is None else teacher).detach().float()

    def exit_loss(exit_logits: Tensor, taught: bool) -> Tensor:
        values = exit_logits.float()
        hard = F.cross_entropy(values, labels, label_smoothing=settings.label_smoothing)
        if not taught or settings.distillation_weight == 0.0:
            return hard
        soft = distillation(values, target, settings.temperature)
        return (1 - settings.distillation_weight) * hard + settings.distillation_weight * soft

    final = exit_loss(logits[-1], taught=teacher is not None)
    early = [exit_loss(exit_logits, taught=True) for exit_logits in logits[:-1]]
    return final + settings.early_exit_weight * torch.stack(early).sum() if early else final
