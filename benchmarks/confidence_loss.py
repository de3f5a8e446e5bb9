"""What NACHOS trains: the expected loss of the exits that images leave at, and confidences that mean something.

Source: Gambella, Pomponi, Scardapane and Roveri, "NACHOS: Neural Architecture Search for Hardware Constrained Early
Exit Neural Networks", 2024. Two of its terms do nothing or something else in the published code; docs/concepts/peers.md
says which, and here they are what they are described as.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.confident_network import ConfidentNetwork, split_units
from offramp.errors import InputError
from offramp.nn.network import evaluating
from offramp.train.compute import Compute
from offramp.train.trainer import Step

_SUREST = 1e-4
"""Confidences are kept this far from 0 and 1 where their logarithm is taken."""

_SUPPORT_BATCH = 500


@dataclass(frozen=True)
class CostBound:
    """At most ``most`` on average; ``costs``: what an image costs that leaves at each exit, all branches included."""

    costs: tuple[float, ...]
    most: float

    def __post_init__(self) -> None:
        if not self.most > 0:
            raise InputError(f"The most that images may cost on average must be above 0, got {self.most}.")

    def excess(self, leaving: Tensor) -> Tensor:
        """How far the mean cost is above the bound, relative to how far the final exit is; 0 where neither is.

        ``leaving``: probabilities (batch, exits).
        """
        room = self.costs[-1] - self.most
        if room <= 0:
            return leaving.new_zeros(())
        mean = (leaving @ leaving.new_tensor(self.costs)).mean()
        return F.relu(mean - self.most) / room


@dataclass(frozen=True)
class ConfidenceLossSettings:
    """Weights of the terms beside the expected cross-entropy; 1 each is what was published."""

    right_weight: float = 1.0
    cost_weight: float = 1.0
    class_weight: float = 1.0
    bound: CostBound | None = None


def leaving_probabilities(confidences: Tensor) -> Tensor:
    """Where an image leaves, (batch, exits), if each early exit lets it go with its confidence (batch, early exits)."""
    stays = torch.cumprod(1.0 - confidences, dim=1)
    before = torch.cat([torch.ones_like(stays[:, :1]), stays], dim=1)
    return before * torch.cat([confidences, torch.ones_like(confidences[:, :1])], dim=1)


def balanced_right_loss(confidences: Tensor, right: Tensor) -> Tensor:
    """Binary cross-entropy of confidences (batch, early exits) against whether the exit is right, bool, same shape.

    At each exit right and wrong images weigh the same in sum, half the batch each; where all are of one kind they weigh
    half of it.
    """
    kept = confidences.clamp(_SUREST, 1.0 - _SUREST)
    truth = right.to(kept.dtype)
    share = truth.mean(dim=0, keepdim=True)
    weights = torch.where(right, 0.5 / share.clamp_min(1e-12), 0.5 / (1.0 - share).clamp_min(1e-12))
    return (weights * F.binary_cross_entropy(kept, truth, reduction="none")).mean()


def confidence_loss(
    outputs: Sequence[Tensor], labels: Tensor, settings: ConfidenceLossSettings, accuracies: Tensor | None = None
) -> Tensor:
    """The loss of a `ConfidentNetwork` for ``labels`` (batch,).

    ``accuracies`` (classes, early exits): how often each exit is right about images of each class, measured on
    samples that are not trained on. Every exit's confidence is drawn towards its own.
    """
    logits, units = split_units(tuple(output.float() for output in outputs))
    if not units:
        return F.cross_entropy(logits[0], labels)
    confidences = torch.sigmoid(torch.stack(units, dim=1))
    leaving = leaving_probabilities(confidences)
    each = torch.stack([F.cross_entropy(item, labels, reduction="none") for item in logits], dim=1)
    loss = (leaving * each).sum(dim=1).mean()
    right = torch.stack([item.argmax(dim=1) == labels for item in logits[:-1]], dim=1)
    loss = loss + settings.right_weight * balanced_right_loss(confidences, right)
    if settings.bound is not None:
        loss = loss + settings.cost_weight * settings.bound.excess(leaving)
    if accuracies is not None:
        target = accuracies.to(confidences)[labels]
        loss = loss + settings.class_weight * (confidences - target).square().mean()
    return loss


@dataclass(frozen=True, eq=False)
class Support:
    """Normalised images (samples, channels, height, width) and labels that confidences are compared with."""

    images: Tensor
    labels: Tensor


@torch.no_grad()
def class_accuracies(network: ConfidentNetwork, support: Support) -> Tensor:
    """How often each early exit is right about each class: (classes, early exits).

    In evaluation mode, so that batch norms learn nothing from it; a class without samples counts as never right.
    """
    with evaluating(network):
        parts = [network(images) for images in torch.split(support.images, _SUPPORT_BATCH)]
    num_classes = network.network.num_classes
    counts = torch.bincount(support.labels, minlength=num_classes).clamp_min(1)
    rows = []
    for index in range(len(parts[0]) - 1):
        right = torch.cat([part[index][:, :-1].argmax(dim=1) for part in parts]) == support.labels
        rows.append(torch.bincount(support.labels[right], minlength=num_classes) / counts)
    return torch.stack(rows, dim=1)


def confidence_step(
    network: ConfidentNetwork,
    settings: ConfidenceLossSettings,
    compute: Compute,
    support: Support | None = None,
    *,
    refresh: int = 100,
) -> Step:
    """A step of training. The class accuracies of ``support`` are measured anew every ``refresh`` steps."""
    steps = itertools.count()
    accuracies: Tensor | None = None

    def step(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        nonlocal accuracies
        with compute.autocast():
            if support is not None and next(steps) % refresh == 0:
                accuracies = class_accuracies(network, support)
            outputs = network(images)
        loss = confidence_loss(outputs, labels, settings, accuracies)
        torch.autograd.backward(loss)
        return loss.detach()

    return step
