"""Tracing of a model as a graph of calls: layers stay modules, code between them becomes functions."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, fx, nn

from offramp.errors import AdoptError
from offramp.nn.adoption.call_recorder import RecordedCalls, record_calls
from offramp.nn.network import evaluating

MODEL = "model"
_DROPOUTS: dict[Any, type[nn.Module]] = {
    F.dropout: nn.Dropout,
    F.dropout1d: nn.Dropout1d,
    F.dropout2d: nn.Dropout2d,
    F.dropout3d: nn.Dropout3d,
    F.alpha_dropout: nn.AlphaDropout,
}


@dataclass(frozen=True)
class TracedModel:
    """A model as a graph of calls.

    Attributes:
        root: Module whose attribute ``model`` is the model; the graph calls parts of it.
        graph: The calls.
        outputs: For each node, the names of the modules whose result it is, the outermost last.
        input_facts: Nodes that ask the images for their number or their device.
        notes: What a user should know about how the model was traced.
    """

    root: nn.Module
    graph: fx.Graph
    outputs: dict[fx.Node, tuple[str, ...]]
    input_facts: frozenset[fx.Node]
    notes: tuple[str, ...] = ()


class LogitsOf(nn.Module):
    """Calls a model with one argument, so that its optional ones keep their defaults, and returns its logits alone.

    Args:
        model: The model.
        axes: Number of axes of the samples that the model reads, the batch included: 4 for maps, 3 for series (batch,
            channels, steps), 2 for vectors (batch, features).
    """

    def __init__(self, model: nn.Module, axes: int = 4) -> None:
        super().__init__()
        self.model = model
        self.axes = axes

    def forward(self, images: Tensor) -> Any:
        return logits_in(self.model(as_given(images, self.axes)))


def as_map(samples: Tensor) -> Tensor:
    """Samples in the axes that they have inside networks: series have one row, vectors one row and one column.

    Args:
        samples: Maps of 4 axes, series of 3 or vectors of 2, the batch first.

    Returns:
        The samples (batch, channels, height, width).
    """
    if samples.ndim == 3:
        return samples.unsqueeze(2)
    return samples[:, :, None, None] if samples.ndim == 2 else samples


def as_given(images: Tensor, axes: int) -> Tensor:
    """Samples in the axes that a model reads: the reverse of `as_map`.

    Args:
        images: Samples (batch, channels, height, width).
        axes: Number of axes of the result, the batch included.

    Returns:
        The samples.
    """
    return images if axes == 4 else images.flatten(axes - 1)


def logits_in(result: Any) -> Any:
    """Find the logits in what a model returns.

    Args:
        result: What the model returns: a tensor, or an object or dictionary with ``logits`` (as in transformers).

    Returns:
        The logits; the result itself where it holds none.
    """
    if isinstance(result, Tensor):
        return result
    named = result.get("logits") if isinstance(result, Mapping) else getattr(result, "logits", None)
    if isinstance(named, Tensor):
        return named
    if isinstance(result, list | tuple) and len(result) == 1:
        return result[0]
    return result


def trace(model: nn.Module, example: Tensor, axes: int = 4) -> TracedModel:
    """Trace a model in evaluation mode.

    Args:
        model: The model.
        example: Images (batch, channels, height, width).
        axes: Number of axes of what the model reads; see `LogitsOf`.

    Returns:
        The model as a graph of calls.

    Raises:
        AdoptError: The code of the model cannot be followed; the message says why.
    """
    root = LogitsOf(model, axes)
    with evaluating(root):
        calls = record_calls(root, model, example)
    notes = _training_notes(root, calls, example)
    return TracedModel(root, calls.graph, calls.outputs, calls.input_facts, notes)


def first_line(exc: BaseException) -> str:
    """The first line of an error's message, to be quoted in another message.

    Args:
        exc: The error.

    Returns:
        The line without its full stop; the name of the error's class if there is no message.
    """
    return next(iter(str(exc).strip().splitlines()), type(exc).__name__).rstrip(".")


def _training_notes(root: LogitsOf, calls: RecordedCalls, example: Tensor) -> tuple[str, ...]:
    """Replace dropout functions by modules, which also work in training; note other code that trains differently."""
    # Running a model in training mode changes its buffers, but no weights: these need no copy.
    training = copy.deepcopy(root, {id(weight): weight for weight in root.parameters()}).train()
    try:
        other = record_calls(training, training.model, example)
    # The code can be followed in evaluation mode, but not in training mode.
    except AdoptError:
        return (_TRAINING_NOTE,)
    _replace_dropout(root, calls.graph)
    _replace_dropout(training, other.graph)
    return () if _calls(calls.graph) == _calls(other.graph) else (_TRAINING_NOTE,)


_TRAINING_NOTE = (
    "Code of the model, outside of its layers, computes something else in training than in evaluation. The model is "
    "fine-tuned in its evaluation form."
)


def _calls(graph: fx.Graph) -> list[tuple[str, str, str]]:
    return [(node.op, str(node.target), str((node.args, node.kwargs))) for node in graph.nodes]


def _replace_dropout(root: LogitsOf, graph: fx.Graph) -> None:
    for node in graph.nodes:
        if node.op != "call_function" or node.target not in _DROPOUTS:
            continue
        share = node.kwargs.get("p", node.args[1] if len(node.args) > 1 else 0.5)
        if not isinstance(share, int | float):
            continue
        name = f"functional_{node.name}"
        root.add_module(name, _DROPOUTS[node.target](float(share)).train(root.model.training))
        node.op, node.target, node.args, node.kwargs = "call_module", name, node.args[:1] or (node.kwargs["input"],), {}
