"""The activation at the end of a model, such as softmax, which is left out: exits decide by logits."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from offramp.nn.adoption.recording_merge import SHAPE
from offramp.nn.adoption.tracing import TracedModel

_SOFTMAX, _LOG_SOFTMAX, _SIGMOID, _LOG_SIGMOID, _LOG = "softmax", "log_softmax", "sigmoid", "logsigmoid", "log"
_FUNCTIONS: dict[Any, str] = {
    F.softmax: _SOFTMAX,
    torch.softmax: _SOFTMAX,
    torch.special.softmax: _SOFTMAX,
    "softmax": _SOFTMAX,
    nn.Softmax: _SOFTMAX,
    F.log_softmax: _LOG_SOFTMAX,
    torch.log_softmax: _LOG_SOFTMAX,
    torch.special.log_softmax: _LOG_SOFTMAX,
    "log_softmax": _LOG_SOFTMAX,
    nn.LogSoftmax: _LOG_SOFTMAX,
    F.sigmoid: _SIGMOID,
    torch.sigmoid: _SIGMOID,
    torch.special.expit: _SIGMOID,
    "sigmoid": _SIGMOID,
    "sigmoid_": _SIGMOID,
    nn.Sigmoid: _SIGMOID,
    F.logsigmoid: _LOG_SIGMOID,
    nn.LogSigmoid: _LOG_SIGMOID,
    torch.log: _LOG,
    "log": _LOG,
}
_ON_LOGITS: dict[str, Callable[[Tensor], Tensor]] = {
    _SOFTMAX: lambda logits: torch.softmax(logits, 1),
    _LOG_SOFTMAX: lambda logits: torch.log_softmax(logits, 1),
    _SIGMOID: torch.sigmoid,
    _LOG_SIGMOID: F.logsigmoid,
    _LOG: torch.log,
}
# Calls that change at most the shape.
_RESHAPES = frozenset({"reshape", "view", "flatten", "squeeze", "contiguous", "float", torch.flatten, torch.squeeze})
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class FinalActivation:
    """The activation that was left out.

    Attributes:
        names: The functions that were left out, the first one first, such as ``softmax``.
    """

    names: tuple[str, ...]

    @property
    def text(self) -> str:
        """The functions in words."""
        return " and ".join(self.names)

    def __call__(self, logits: Tensor) -> Tensor:
        """Compute what the model gives.

        Args:
            logits: The logits (batch, classes).

        Returns:
            The outputs of the model (batch, classes).
        """
        for name in self.names:
            logits = _ON_LOGITS[name](logits)
        return logits


def leave_out_final_activation_(
    traced: TracedModel, num_classes: int, *, output: int | None = None
) -> FinalActivation | None:
    """Take softmax, log_softmax, sigmoid or log-sigmoid at the end of a model out of its graph.

    Args:
        traced: The traced model; its graph is changed.
        num_classes: Number of outputs of the model.
        output: Place among the outputs, where the model gives several tensors; None = it gives one.

    Returns:
        What was left out; None where the model ends in another call.
    """
    found: list[tuple[fx.Node, str]] = []
    user = next(node for node in traced.graph.nodes if node.op == "output")
    results: Any = user.args[0]
    node: Any = results if output is None else results[output]
    pending: list[tuple[fx.Node, str]] = []
    while isinstance(node, fx.Node) and len(node.users) == 1 and node.op != "placeholder":
        called: Any = traced.root.get_submodule(str(node.target)) if node.op == "call_module" else node.target
        name = _FUNCTIONS.get(type(called) if isinstance(called, nn.Module) else called)
        if name is not None and _over_classes(node, called, name, num_classes):
            pending.append((node, name))
            if name != _LOG:
                # A logarithm alone is left in; behind another activation it is a part of it.
                found += pending
                pending = []
        elif not (called in _RESHAPES or isinstance(called, nn.Flatten | nn.Identity) or _keeps_row(node, called)):
            break
        node = node.args[0] if node.args else None
    for call, _ in found:
        logits = call.args[0]
        assert isinstance(logits, fx.Node)
        call.replace_all_uses_with(logits)
        traced.graph.erase_node(call)
        if call in traced.outputs:
            traced.outputs[logits] = (*traced.outputs.get(logits, ()), *traced.outputs.pop(call))
    return FinalActivation(tuple(name for _, name in reversed(found))) if found else None


def _over_classes(node: fx.Node, called: Any, name: str, num_classes: int) -> bool:
    """Whether an activation normalises over the classes, which are the second axis."""
    if name in (_SIGMOID, _LOG_SIGMOID, _LOG):
        return True
    given: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    axis = called.dim if isinstance(called, nn.Module) else given
    shape = node.meta.get(SHAPE, ())
    if axis is None:  # torch's implicit choice for two axes
        axis = 1
    return isinstance(axis, int) and len(shape) > 1 and axis % len(shape) == 1 and shape[1] == num_classes


def _keeps_row(node: fx.Node, called: Any) -> bool:
    """Whether a call takes away axes of one element, as in ``x[:, :, 0, 0]``."""
    return called is operator.getitem and isinstance(node.args[1], tuple) and node.args[1][:1] == (slice(None),)


def are_probabilities(outputs: Tensor) -> bool:
    """Whether every row of a model's outputs is a probability distribution.

    Args:
        outputs: Outputs (batch, classes).

    Returns:
        True if nothing is negative and every row has the sum 1.
    """
    sums = outputs.sum(1)
    return bool((outputs >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=_TOLERANCE)
