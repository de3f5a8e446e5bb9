"""Links between exits: an exit adds to its own logits what the exit before it found.

Source: Wolczyk et al. 2021, "Zero Time Waste: Recycling Predictions in Early Exit Neural Networks", section 3, where an
exit reads the logits of the exit before (cascade) and answers with a learned geometric mean of the exits so far. Here
both are linear in the logits of the exit before, which hold what all exits so far found; one vector is handed on.
"""

from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn

ExitReuse = Literal["none", "cascade", "geometric_mean"]
"""What an exit does with the logits c' of the exit before it; r are the logits of its own branch.

``none``: its logits are r. ``cascade``: r + A c' with a learned matrix A; classes x classes MACs.
``geometric_mean``: r + v c' with a learned weight v per class; one MAC per class. The softmax of that is the normalised
product p q'^v of its own probabilities p and those of the exits so far, q'. Both take one addition per class.
"""


class ScaledLogits(nn.Module):
    """Logits times a weight per class, as a depthwise convolution, which quantisation and prices know.

    Args:
        num_classes: number of classes.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.scale = nn.Conv2d(num_classes, num_classes, 1, groups=num_classes, bias=False)

    def forward(self, logits: Tensor) -> Tensor:
        """Logits (batch, classes) for ``logits`` (batch, classes)."""
        scaled: Tensor = self.scale(logits.reshape(-1, self.num_classes, 1, 1))
        return scaled.flatten(1)


class ExitLink(nn.Module):
    """Adds what the exit before found to the logits of an exit.

    Attributes:
        weights: from the logits of the exit before (batch, classes) to what is added.

    Args:
        weights: from the logits of the exit before (batch, classes) to what is added.
    """

    def __init__(self, weights: nn.Module) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, previous: Tensor, logits: Tensor) -> Tensor:
        """Logits (batch, classes) of an exit, from those of the exit before and those of its own branch."""
        added: Tensor = self.weights(previous)
        return added + logits


@torch.no_grad()
def build_link(reuse: ExitReuse, num_classes: int) -> ExitLink:
    """Build a link with its first weights.

    A cascade begins with zeros, so that exits begin as without it. A geometric mean begins with ones: an exit begins by
    correcting the exits before, as in boosting.

    Args:
        reuse: what an exit does with the logits of the exit before; not ``none``.
        num_classes: number of classes.

    Returns:
        The link.
    """
    if reuse == "cascade":
        linear = nn.Linear(num_classes, num_classes, bias=False)
        nn.init.zeros_(linear.weight)
        return ExitLink(nn.Sequential(OrderedDict(linear=linear)))
    scaled = ScaledLogits(num_classes)
    nn.init.ones_(scaled.scale.weight)
    return ExitLink(scaled)
