"""Training steps: the sandwich rule for a supernet, and a plain step for one network."""

import numpy as np
import torch
from torch import Tensor, nn

from offramp.nn.network import EarlyExitNetwork
from offramp.nn.supernet.supernet import Supernet
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.train.compute import Compute
from offramp.train.loss import LossSettings, multi_exit_loss
from offramp.train.trainer import Step

_IMAGES_PER_NOISE = 8
"""Images of a batch that share one draw of converter noise, because each draw takes as long as a convolution."""


def sandwich_step(
    supernet: Supernet,
    space: EarlyExitSpace,
    losses: LossSettings,
    compute: Compute,
    *,
    random_subnets: int,
    full_widths: bool = False,
) -> Step:
    """Build a step of the sandwich rule with in-place distillation.

    Each step trains the largest, the smallest and some random subnets, each with an exit of a random type at every tap.
    The largest subnet learns from the labels; its final exit teaches the others. If analog shares are searched, the
    largest subnet has the smallest shares, the smallest subnet the largest, and the converters read with noise.
    Source: Yu & Huang 2019, "Universally Slimmable Networks and Improved Training Techniques", sections 3.3, 3.4.

    Args:
        supernet: the supernet to train.
        space: the space from which subnets are drawn.
        losses: settings of the loss.
        compute: device and number format of the forward passes.
        random_subnets: number of random subnets per step.
        full_widths: train every subnet at the largest widths of the space.

    Returns:
        A step that returns the loss of the largest subnet.
    """

    def step(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        # In a space with one backbone, the largest subnet is also the smallest.
        candidates = list(dict.fromkeys((space.max_architecture(), space.min_architecture())))
        candidates += [space.sample(rng) for _ in range(random_subnets)]
        if full_widths:
            candidates = [space.with_full_widths(candidate) for candidate in candidates]
        if supernet.analog is not None:
            noise = torch.Generator().manual_seed(int(rng.integers(2**31)))
            supernet.analog.set_noise(noise, shared_by=_IMAGES_PER_NOISE)
        teacher: Tensor | None = None
        reported = torch.zeros(())
        for candidate in candidates:
            exits_train = losses.trained_exits != "final"
            supernet.activate(space.with_all_exits(candidate, rng) if exits_train else candidate.without_exits())
            supernet.tap_gradient = losses.tap_gradient
            supernet.draw_predecessors(rng)
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
    """Build a step that trains one network.

    Args:
        network: the network to train; it returns the logits of every exit, the final one last.
        losses: settings of the loss.
        compute: device and number format of the forward passes.
        teacher: a trained network with exits, whose final exit teaches every exit of ``network``; None = the final exit
            of ``network`` teaches its early exits. It is moved to the device and put in evaluation mode.

    Returns:
        A step that returns the loss of ``network``.
    """
    if teacher is not None:
        compute.place(teacher).eval()

    def step(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        with compute.autocast():
            taught = None
            if teacher is not None:
                with torch.no_grad():
                    taught = teacher(images)[-1]
            if isinstance(network, EarlyExitNetwork):
                network.tap_gradient = losses.tap_gradient
            logits = network(images)
        loss = multi_exit_loss(logits, labels, losses, taught)
        torch.autograd.backward(loss)
        return loss.detach()

    return step
