"""Global pooling in a form that is exported alike for every memory layout.

Pooling a map with channels last to one pixel makes torch set strides by hand, which ONNX can only say as an index
computation of unknown size. The mean over height and width is the same sum.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

_FUNCTIONS = (F.adaptive_avg_pool2d, torch.ops.aten.adaptive_avg_pool2d.default)


class GlobalMean(nn.Module):
    """(batch, channels, height, width) to (batch, channels, 1, 1)."""

    def forward(self, features: Tensor) -> Tensor:
        return features.mean((2, 3), keepdim=True)


def plain_pools_(network: nn.Module) -> None:
    """Replace average pooling to one pixel, as a layer and as a call in a traced part.

    Args:
        network: The network.
    """
    for module in list(network.modules()):
        for name, part in module.named_children():
            if type(part) is nn.AdaptiveAvgPool2d and _is_one(part.output_size):
                setattr(module, name, GlobalMean())
        if isinstance(module, fx.GraphModule):
            _replace_calls(module)


def _is_one(size: object) -> bool:
    return size == 1 or (isinstance(size, list | tuple) and tuple(size) == (1, 1))


def _replace_calls(part: fx.GraphModule) -> None:
    changed = False
    for node in part.graph.nodes:
        if node.op != "call_function" or node.target not in _FUNCTIONS:
            continue
        size = node.kwargs.get("output_size", node.args[1] if len(node.args) > 1 else None)
        if _is_one(size):
            features = node.args[0] if node.args else node.kwargs["input"]
            node.target, node.args, node.kwargs = torch.mean, (features, (2, 3)), {"keepdim": True}
            changed = True
    if changed:
        part.recompile()
