"""Early exits that learn to say how sure they are: one more unit beside the logits of each.

Source: Gambella, Pomponi, Scardapane and Roveri, "NACHOS: Neural Architecture Search for Hardware Constrained Early
Exit Neural Networks", 2024: the confidence of an exit is the sigmoid of a unit beside its logits.
"""

from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from offramp.errors import InputError
from offramp.nn.network import EarlyExitNetwork

T = TypeVar("T")


class ConfidentNetwork(nn.Module):
    """An early-exit network whose early exits give (batch, classes + 1): logits, and the unit of their confidence.

    The final exit gives logits alone, as nobody goes on from there. It owns ``network``, whose early branches are
    widened in place; the new units begin at 0, which is a confidence of one half for every image. Raises InputError
    for a branch that does not end in a linear layer.
    """

    def __init__(self, network: EarlyExitNetwork) -> None:
        super().__init__()
        for branch in list(network.branches)[:-1]:
            _widen_(branch)
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """What each exit gives for ``images`` (batch, channels, height, width), the final one last."""
        return cast(tuple[Tensor, ...], self.network(images))


def split_units(outputs: tuple[T, ...]) -> tuple[tuple[T, ...], tuple[T, ...]]:
    """Logits of every exit, and (batch,) per early exit the unit of its confidence; tensors or arrays."""
    early = cast(tuple[Tensor, ...], outputs[:-1])
    logits = (*(output[:, :-1] for output in early), outputs[-1])
    return cast(tuple[T, ...], logits), cast(tuple[T, ...], tuple(output[:, -1] for output in early))


def _widen_(branch: nn.Module) -> None:
    """Give the linear layer that a branch ends in one more output."""
    last = list(branch.children())[-1:]
    if not isinstance(branch, nn.Sequential) or not isinstance(last[0], nn.Linear):
        raise InputError(
            f"A branch must end in a linear layer to learn a confidence beside its logits, got "
            f"{type(last[0] if last else branch).__name__}. Choose another branch type."
        )
    narrow = last[0]
    wide = nn.Linear(
        narrow.in_features, narrow.out_features + 1, device=narrow.weight.device, dtype=narrow.weight.dtype
    )
    with torch.no_grad():
        wide.weight.zero_()
        wide.bias.zero_()
        wide.weight[:-1] = narrow.weight
        if narrow.bias is not None:
            wide.bias[:-1] = narrow.bias
    branch[-1] = wide
