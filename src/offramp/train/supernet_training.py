"""Training of a supernet with the sandwich rule: largest, smallest and random networks in every step."""

import numpy as np
import torch
from torch import Tensor, nn

from offramp.nn.supernet.supernet import Supernet
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.train.compute import Compute
from offramp.train.loss import LossSettings, multi_exit_loss
from offramp.train.trainer import Step

_SHARED_NOISE = 8
"""Images of a batch that analog converters read with the same noise: drawing it takes as long as a convolution."""


def sandwich_step(
    supernet: Supernet,
    space: EarlyExitSpace,
    losses: LossSettings,
    compute: Compute,
    *,
    random_subnets: int,
    full_widths: bool = False,
) -> Step:
    """A step of the sandwich rule with in-place distillation, every tap carrying an exit of a random type.

    The largest network learns from the labels; its final exit then teaches the smallest and the random ones. With
    ``full_widths`` all of them are as wide as can be. Where analog shares are chosen, the largest has the least of them
    and the smallest the most, and converters read with noise.
    Source: Yu & Huang 2019, "Universally Slimmable Networks and Improved Training Techniques", sections 3.3, 3.4.
    """

    def step(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        # A space with one backbone has one member that is both.
        candidates = list(dict.fromkeys((space.max_architecture(), space.min_architecture())))
        candidates += [space.sample(rng) for _ in range(random_subnets)]
        if full_widths:
            candidates = [space.with_full_widths(candidate) for candidate in candidates]
        if supernet.analog is not None:
            noise = torch.Generator().manual_seed(int(rng.integers(2**31)))
            supernet.analog.set_noise(noise, shared_by=_SHARED_NOISE)
        teacher: Tensor | None = None
        reported = torch.zeros(())
        for candidate in candidates:
            supernet.activate(space.with_all_exits(candidate, rng))
            with compute.autocast():
                logits = supernet(images)
            loss = multi_exit_loss(logits, labels, losses, teacher)
            torch.autograd.backward(loss)
            if teacher is None:
                teacher, reported = logits[-1].detach(), loss.detach()
        if supernet.analog is not None:
            supernet.analog.set_noise(None)
        return reported

    return step


def plain_step(network: nn.Module, losses: LossSettings, compute: Compute, teacher: nn.Module | None = None) -> Step:
    """A step for one network: all exits learn from the labels, the early ones from the final exit too.

    With ``teacher``, a trained network with exits, all of them learn from its final one instead.
    """
    if teacher is not None:
        compute.place(teacher).eval()

    def step(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        with compute.autocast():
            taught = None
            if teacher is not None:
                with torch.no_grad():
                    taught = teacher(images)[-1]
            logits = network(images)
        loss = multi_exit_loss(logits, labels, losses, taught)
        torch.autograd.backward(loss)
        return loss.detach()

    return step
