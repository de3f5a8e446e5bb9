"""Gradients of exits on their way into the backbone: passed on, balanced between exits, or kept out.

Source of the balance: Li, Zhang, Qi, Ruigang and Huang 2019, "Improved Techniques for Training Adaptive Deep Networks",
section 3.1, gradient equilibrium.
"""

from typing import Any, Literal

import torch
from torch import Tensor

TapGradient = Literal["full", "equilibrium", "none"]
"""How gradients of exits pass into the backbone.

``full``: as they are; the first blocks get the sum of the gradients of all exits. ``equilibrium``: at the tap of an
exit with k exits behind it, the gradient of its branch is multiplied by 1 / (k + 1) and that of the exits behind by
k / (k + 1), so that every exit has the same share of the first blocks' gradient. ``none``: branches do not train the
backbone.
"""


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


def split_gradient(features: Tensor, mode: TapGradient, num_behind: int) -> tuple[Tensor, Tensor]:
    """Give the features of a tap to its branch and to the backbone behind it.

    Args:
        features: the features; their values do not change.
        mode: how gradients pass back.
        num_behind: number of exits behind this one; 0 for the final exit, whose gradient always passes in full, unless
            the mode is ``none``.

    Returns:
        What the branch reads, and what the next block reads.
    """
    if mode == "full" or not torch.is_grad_enabled():
        return features, features
    if mode == "none":
        return features.detach(), features
    share = 1.0 / (num_behind + 1)
    return _scaled(features, share), _scaled(features, 1.0 - share)


def _scaled(features: Tensor, factor: float) -> Tensor:
    scaled: Tensor = _ScaledGradient.apply(features, factor)  # type: ignore[no-untyped-call]
    return scaled
