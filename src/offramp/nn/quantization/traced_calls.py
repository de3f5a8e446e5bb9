"""Kinds of calls in a traced network that quantisation supports."""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from offramp.nn.quantization.activation_layers import Window

_ACTIVATIONS: dict[Any, Callable[[], nn.Module]] = {
    nn.ReLU: nn.ReLU,
    nn.ReLU6: nn.ReLU6,
    F.relu: nn.ReLU,
    F.relu6: nn.ReLU6,
    torch.relu: nn.ReLU,
    "relu": nn.ReLU,
}
ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")
_PASSING_MODULES = (nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout2d)
_PASSING_CALLS = (torch.flatten, F.dropout, "flatten", "reshape", "view", "contiguous")


def place_of(node: fx.Node) -> str:
    """The path of the module that a node calls, or whose forward pass calls it."""
    if node.op == "call_module":
        return str(node.target)
    inside = [path for path in node.meta.get("nn_module_stack") or {} if path]
    return inside[-1] if inside else ""


class GraphCalls:
    """Looks up the calls of one graph module."""

    def __init__(self, module: fx.GraphModule) -> None:
        self.module = module

    def called(self, node: fx.Node) -> Any:
        """The module, the function, or the name of the method that a node calls."""
        if node.op == "call_module":
            return self.module.get_submodule(str(node.target))
        return node.target if node.op in ("call_function", "call_method") else None

    def activation(self, node: fx.Node) -> nn.Module | None:
        called = self.called(node)
        build = _ACTIVATIONS.get(type(called) if isinstance(called, nn.Module) else called)
        return build() if build is not None else None

    def passes(self, node: fx.Node) -> bool:
        called = self.called(node)
        return isinstance(called, _PASSING_MODULES) or (not isinstance(called, nn.Module) and called in _PASSING_CALLS)

    def average_window(self, node: fx.Node) -> Window | None:
        called = self.called(node)
        if isinstance(called, nn.AdaptiveAvgPool2d):
            return _even_window(called.output_size)
        if called is F.adaptive_avg_pool2d:
            return _even_window(node.args[1] if len(node.args) > 1 else node.kwargs.get("output_size"))
        if isinstance(called, nn.AvgPool2d):
            window = Window(None, _pair(called.kernel_size), _pair(called.stride), _pair(called.padding))
            padded = window.padding != (0, 0) and not called.count_include_pad
            return None if called.ceil_mode or called.divisor_override or padded else window
        return None

    def only_user(self, node: fx.Node) -> fx.Node | None:
        users = list(node.users)
        return users[0] if len(users) == 1 else None


def _even_window(size: Any) -> Window | None:
    known = isinstance(size, int) or (isinstance(size, list | tuple) and None not in size)
    return Window(output_size=_pair(size)) if known else None


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
