"""Batch norm of elastic layers."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ElasticBatchNorm2d(nn.Module):
    """Batch norm over the leading channels.

    All subnets share the running statistics, which are correct for none of them: recalibrate before evaluation.

    Attributes:
        num_features: active number of channels.
        running_mean: mean of each channel (largest number of channels,).
        running_var: variance of each channel (largest number of channels,).
        num_batches_tracked: number of batches in a cumulative average.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_features: int, *, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        """Make weights and statistics; all of them are active at first.

        Args:
            num_features: largest number of channels.
            eps: is added to the variance.
            momentum: share of the newest batch in the running statistics, 0..1; None = the average of all batches.
        """
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long))
        self.num_features = num_features

    def activate(self, num_features: int) -> None:
        """Set the current size.

        Args:
            num_features: number of channels.
        """
        self.num_features = num_features

    def forward(self, inputs: Tensor) -> Tensor:
        momentum = self.momentum
        if self.training and momentum is None:
            self.num_batches_tracked.add_(1)
            momentum = 1.0 / float(self.num_batches_tracked)
        n = self.num_features
        return F.batch_norm(
            inputs,
            self.running_mean[:n],
            self.running_var[:n],
            self.weight[:n],
            self.bias[:n],
            self.training,
            0.0 if momentum is None else momentum,
            self.eps,
        )

    def extract(self) -> nn.BatchNorm2d:
        """A batch norm with a copy of the active weights and statistics."""
        n = self.num_features
        static = nn.BatchNorm2d(n, eps=self.eps, momentum=self.momentum, device="meta")
        static.weight = nn.Parameter(self.weight[:n].detach().clone())
        static.bias = nn.Parameter(self.bias[:n].detach().clone())
        static.running_mean = self.running_mean[:n].clone()
        static.running_var = self.running_var[:n].clone()
        static.num_batches_tracked = self.num_batches_tracked.clone()
        return static
