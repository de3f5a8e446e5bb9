"""Recalibration of batch-norm statistics, for one network of a supernet.

Source: Yu & Huang 2019, "Universally Slimmable Networks and Improved Training Techniques", section 4.1
(post-statistics of batch normalization).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from offramp.errors import InputError
from offramp.nn.elastic.elastic_batch_norm import ElasticBatchNorm2d
from offramp.nn.quantization.matrix_layers import QuantizedMatrixLayer

Norm = _BatchNorm | ElasticBatchNorm2d | QuantizedMatrixLayer


def recalibrate_batch_norm_(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of batch norms by their mean over some batches.

    The mean of a layer that runs several times per batch is over all its runs. Weights and the training
    mode stay. So do the statistics of layers that do not run, and of layers in a module whose ``keeps_statistics`` is
    true.

    Args:
        network: The network; it is run on each batch.
        batches: Images (batch, channels, height, width), at least 2 in each batch.

    Raises:
        InputError: There is no batch, or one has fewer than 2 images.
    """
    kept = {id(m) for part in network.modules() if getattr(part, "keeps_statistics", False) for m in part.modules()}
    norms = [m for m in network.modules() if _has_statistics(m) and id(m) not in kept]
    training = [(module, module.training) for module in network.modules()]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.train()
    try:
        num_batches = _average(network, norms, batches)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in training:
            module.training = mode
    if num_batches == 0:
        raise InputError("Batch-norm recalibration needs at least one batch of images, got none.")


def learns_statistics(network: nn.Module) -> bool:
    """Check whether a network has batch norms whose statistics are learned in training.

    Args:
        network: The network.

    Returns:
        False where there is none outside modules whose ``keeps_statistics`` is true.
    """
    kept = {id(m) for part in network.modules() if getattr(part, "keeps_statistics", False) for m in part.modules()}
    return any(_has_statistics(module) and id(module) not in kept for module in network.modules())


def add_running_statistics_(network: nn.Module) -> tuple[str, ...]:
    """Give batch norms without running statistics those of mean 0 and variance 1; recalibration measures them.

    Args:
        network: The network.

    Returns:
        Names of these layers.
    """
    without = [(name, m) for name, m in network.named_modules() if isinstance(m, _BatchNorm) and m.running_mean is None]
    for _, norm in without:
        norm.track_running_stats = True
        norm.register_buffer("running_mean", torch.zeros(norm.num_features))
        norm.register_buffer("running_var", torch.ones(norm.num_features))
        norm.register_buffer("num_batches_tracked", torch.tensor(0))
    return tuple(name for name, _ in without)


def _has_statistics(module: nn.Module) -> TypeGuard[Norm]:
    return isinstance(module, Norm) and (not isinstance(module, QuantizedMatrixLayer) or module.has_norm)


@torch.no_grad()
def _average(network: nn.Module, norms: Sequence[Norm], batches: Iterable[Tensor]) -> int:
    """Run all batches; returns their number."""
    runs: Counter[nn.Module] = Counter()

    def count(norm: nn.Module, inputs: object) -> None:
        # The n-th run has weight 1/n; the first one thus replaces the old statistics.
        runs[norm] += 1
        cast(Norm, norm).momentum = 1.0 / runs[norm]

    handles = [norm.register_forward_pre_hook(count) for norm in norms]
    num_batches = 0
    try:
        for images in batches:
            if len(images) < 2:
                raise InputError(
                    f"Batch-norm recalibration needs batches of at least 2 images, got one of {len(images)}."
                )
            num_batches += 1
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return num_batches
