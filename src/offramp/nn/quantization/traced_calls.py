"""The calls in a traced network that quantisation supports."""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from offramp.nn.quantization.activation_layers import PoolWindow

_ACTIVATIONS: dict[Any, Callable[[], nn.Module]] = {
    nn.ReLU: nn.ReLU,
    nn.ReLU6: nn.ReLU6,
    F.relu: nn.ReLU,
    F.relu6: nn.ReLU6,
    torch.relu: nn.ReLU,
    "relu": nn.ReLU,
}
ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")
_UNCHANGING_MODULES = (nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout2d)
_UNCHANGING_CALLS = (torch.flatten, F.dropout, "flatten", "reshape", "view", "contiguous")


def module_path(node: fx.Node) -> str:
    """Find the module to which a node belongs.

    Args:
        node: a node of a traced graph.

    Returns:
        Dotted path of the module that the node calls, else of the module whose forward pass has the call.
    """
    if node.op == "call_module":
        return str(node.target)
    inside = [path for path in node.meta.get("nn_module_stack") or {} if path]
    return inside[-1] if inside else ""


class GraphCalls:
    """Classifies the calls of a graph module."""

    def __init__(self, module: fx.GraphModule) -> None:
        """Take the graph module.

        Args:
            module: the graph module whose nodes are classified.
        """
        self.module = module

    def called(self, node: fx.Node) -> Any:
        """Find what a node calls.

        Args:
            node: a node of the graph.

        Returns:
            The module, the function, or the name of the method; None if the node is no call.
        """
        if node.op == "call_module":
            return self.module.get_submodule(str(node.target))
        return node.target if node.op in ("call_function", "call_method") else None

    def activation(self, node: fx.Node) -> nn.Module | None:
        """The activation function of a call.

        Args:
            node: a node of the graph.

        Returns:
            A new module of the same function; None if the node calls no supported activation function.
        """
        called = self.called(node)
        build = _ACTIVATIONS.get(type(called) if isinstance(called, nn.Module) else called)
        return build() if build is not None else None

    def keeps_values(self, node: fx.Node) -> bool:
        """Whether a call changes at most the shape of its input in evaluation.

        Args:
            node: a node of the graph.

        Returns:
            True for identities, flattening, reshaping and dropout.
        """
        called = self.called(node)
        return isinstance(called, _UNCHANGING_MODULES) or (
            not isinstance(called, nn.Module) and called in _UNCHANGING_CALLS
        )

    def average_window(self, node: fx.Node) -> PoolWindow | None:
        """The windows of an average pooling.

        Args:
            node: a node of the graph.

        Returns:
            The windows; None if the node calls no average pooling that can be quantised.
        """
        called = self.called(node)
        if isinstance(called, nn.AdaptiveAvgPool2d):
            return _even_window(called.output_size)
        if called is F.adaptive_avg_pool2d:
            return _even_window(node.args[1] if len(node.args) > 1 else node.kwargs.get("output_size"))
        if isinstance(called, nn.AvgPool2d):
            window = PoolWindow(None, _pair(called.kernel_size), _pair(called.stride), _pair(called.padding))
            padded = window.padding != (0, 0) and not called.count_include_pad
            return None if called.ceil_mode or called.divisor_override or padded else window
        return None

    def only_user(self, node: fx.Node) -> fx.Node | None:
        """The single node that uses a result.

        Args:
            node: a node of the graph.

        Returns:
            The user; None if there is none or more than one.
        """
        users = list(node.users)
        return users[0] if len(users) == 1 else None


def _even_window(size: Any) -> PoolWindow | None:
    known = isinstance(size, int) or (isinstance(size, list | tuple) and None not in size)
    return PoolWindow(output_size=_pair(size)) if known else None


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
