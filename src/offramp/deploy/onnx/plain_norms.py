"""Local response norms in a form that every runtime has.

Torch sums the squares of neighbouring channels of a map by a pooling over three axes, which few runtimes have. On rows
of pixels, the same sum is a pooling over two axes.
"""

import torch.nn.functional as F
from torch import Tensor, fx, nn


def local_response_norm_of_rows(
    features: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Compute what `F.local_response_norm` does, with the pixels of a map as one row.

    Args:
        features: A tensor (batch, channels, ...).
        size: Number of neighbouring channels.
        alpha: Factor of their mean square.
        beta: Exponent.
        k: What is added to the mean.

    Returns:
        The result, of the shape of ``features``.
    """
    return F.local_response_norm(features.flatten(2), size, alpha, beta, k).reshape(features.shape)


class LocalResponseNormOfRows(nn.Module):
    """A local response norm whose pixels are one row.

    Args:
        norm: The norm of torch.
    """

    def __init__(self, norm: nn.LocalResponseNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, features: Tensor) -> Tensor:
        norm = self.norm
        return local_response_norm_of_rows(features, norm.size, norm.alpha, norm.beta, norm.k)


def plain_norms_(network: nn.Module) -> None:
    """Replace local response norms, as layers and as calls in traced parts.

    Args:
        network: The network.
    """
    for module in list(network.modules()):
        for name, part in module.named_children():
            if type(part) is nn.LocalResponseNorm:
                setattr(module, name, LocalResponseNormOfRows(part))
        if isinstance(module, fx.GraphModule):
            calls = [node for node in module.graph.nodes if node.target is F.local_response_norm]
            for node in calls:
                node.target = local_response_norm_of_rows
                node.kwargs = {"features" if name == "input" else name: value for name, value in node.kwargs.items()}
            if calls:
                module.recompile()
