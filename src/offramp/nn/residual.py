"""Residual: a module with a shortcut around it."""

from typing import cast

from torch import Tensor, nn


class Residual(nn.Module):
    """Adds the output of a module to its input.

    Args:
        body: The module; its output has the shape of its input.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, inputs: Tensor) -> Tensor:
        return cast(Tensor, self.body(inputs)) + inputs
