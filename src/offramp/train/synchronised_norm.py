"""Batch norm over the samples of several processes, so that they train as one process with the whole batch does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Total = Callable[[Tensor], Tensor]
"""Adds a tensor over all processes; the result is the same in each of them."""


class _NormCall(NamedTuple):
    """The arguments of a batch norm, in one order for all functions that compute one."""

    inputs: Tensor
    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    training: bool
    momentum: float
    eps: float


class SynchronisedNorms(TorchFunctionMode):
    """A context in which every batch norm that trains has the statistics of all processes together.

    It replaces the call, not the module: elastic, quantised and adopted networks need no change.
    """

    def __init__(self, total: Total) -> None:
        """Prepare the context.

        Args:
            total: Adds a tensor over all processes.
        """
        super().__init__()
        self._total = total

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if (read := _READERS.get(func)) is not None:
            call = read(*args, **(kwargs or {}))
            if call.training:
                return _synchronised(call, self._total)
        return func(*args, **(kwargs or {}))


def _functional_call(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> _NormCall:
    """The arguments of torch.nn.functional.batch_norm."""
    return _NormCall(input, running_mean, running_var, weight, bias, training, momentum, eps)


def _torch_call(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> _NormCall:
    """The arguments of torch.batch_norm."""
    return _NormCall(input, running_mean, running_var, weight, bias, training, momentum, eps)


_READERS: dict[Callable[..., Any], Callable[..., _NormCall]] = {
    F.batch_norm: _functional_call,
    torch.batch_norm: _torch_call,
}


def _synchronised(call: _NormCall, total: Total) -> Tensor:
    """A batch norm in training, with running statistics of all samples."""
    channels = call.inputs.shape[1]
    weight = call.inputs.new_ones(channels, dtype=torch.float32) if call.weight is None else call.weight
    bias = call.inputs.new_zeros(channels, dtype=torch.float32) if call.bias is None else call.bias
    with torch.autocast(call.inputs.device.type, enabled=False):
        result, mean, var, count = _SynchronisedNorm.apply(call.inputs, weight, bias, call.eps, total)  # type: ignore[no-untyped-call]
        if call.running_mean is not None and call.running_var is not None:
            with torch.no_grad():
                unbiased = var * (count / (count - 1).clamp(min=1.0))
                call.running_mean.lerp_(mean.to(call.running_mean.dtype), call.momentum)
                call.running_var.lerp_(unbiased.to(call.running_var.dtype), call.momentum)
    normed: Tensor = result
    return normed


class _SynchronisedNorm(torch.autograd.Function):
    """Normalise with the mean and the variance of all processes; gradients flow through these statistics too.

    Source: Ioffe and Szegedy 2015, "Batch Normalization", section 3, with sums over all processes in place of sums over
    one mini-batch.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, eps: float, total: Total
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        values = _wide(inputs)
        kind = values.dtype
        axes = [axis for axis in range(values.ndim) if axis != 1]
        channels = values.shape[1]
        count = float(values.numel() // channels)
        var, mean = torch.var_mean(values, dim=axes, correction=0)
        # Sums of squares of 32-bit numbers lose the variance of a channel with a large mean.
        mean, var = mean.double(), var.double()
        sums = total(torch.cat([mean * count, (var + mean**2) * count, mean.new_tensor([count])]))
        whole = sums[-1]
        mean = sums[:channels] / whole
        var = (sums[channels:-1] / whole - mean**2).clamp(min=0.0)
        result = F.batch_norm(values, mean.to(kind), var.to(kind), weight.to(kind), bias.to(kind), False, 0.0, eps)
        ctx.save_for_backward(inputs, weight, mean.to(kind), var.to(kind), whole)
        ctx.eps, ctx.total = eps, total
        ctx.mark_non_differentiable(mean, var, whole)
        return result.to(inputs.dtype), mean, var, whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        inputs, weight, mean, var, whole = ctx.saved_tensors
        values, channels = _wide(inputs), inputs.shape[1]
        weights = weight.to(values.dtype)
        per_input, per_weight, per_bias = torch.ops.aten.native_batch_norm_backward(
            gradient.to(values.dtype), values, weights, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        sums = ctx.total(torch.cat([per_weight, per_bias]).double()) / whole
        deviation = (var + ctx.eps).sqrt()
        scale = weights / deviation
        slope = -scale * sums[:channels].to(values.dtype) / deviation
        offset = -scale * sums[channels:].to(values.dtype) - slope * mean
        shape = [1, channels] + [1] * (values.ndim - 2)
        per_input = per_input + torch.addcmul(offset.view(shape), slope.view(shape), values)
        return per_input.to(inputs.dtype), per_weight.to(weight.dtype), per_bias.to(weight.dtype), None, None


def _wide(values: Tensor) -> Tensor:
    """The values in a type that sums of many of them keep."""
    return values if values.dtype == torch.float64 else values.float()
