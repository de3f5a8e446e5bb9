"""Tracing of a model as a graph of calls: submodules stay modules, code between them becomes functions.

There are two ways. Symbolic tracing works for all batch sizes and follows the code of every part that it can; a part
whose code it cannot follow stays one call. If it cannot follow the code of the model itself, one run on an example is
recorded through hooks; the calls are then the model's direct parts.
"""

import contextlib
import copy
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from offramp.errors import AdoptError
from offramp.nn.network import evaluating

MODEL = "model"
# Functions that turn a tensor into a plain Python value, on which the code may branch.
_DECISIONS = frozenset({"__bool__", "item", "tolist", "__int__", "__float__", "__index__", "__contains__", "equal"})
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
        notes: What a user should know about how the model was traced.
    """

    root: nn.Module
    graph: fx.Graph
    outputs: dict[fx.Node, tuple[str, ...]]
    notes: tuple[str, ...] = ()


class _Root(nn.Module):
    """Calls the model with one argument, so that its optional ones keep their defaults."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        return self.model(images)


def trace(model: nn.Module, example: Tensor) -> TracedModel:
    """Trace a model in evaluation mode.

    Args:
        model: The model.
        example: Images (batch, channels, height, width).

    Returns:
        The model as a graph of calls.

    Raises:
        AdoptError: Neither way of tracing works; the message says why.
    """
    root = _Root(model)
    with evaluating(model):
        try:
            return _traced(root)
        # Tracing runs the user's code and may raise anything.
        except Exception as exc:
            reason = first_line(exc)
        traced = _recorded(root, example)
    note = f"The code of the model cannot be traced ({reason}), so it is cut only between its direct parts."
    return TracedModel(root, traced.graph, traced.outputs, (note,))


def first_line(exc: BaseException) -> str:
    """The first line of an error's message, to be quoted in another message.

    Args:
        exc: The error.

    Returns:
        The line without its full stop; the name of the error's class if there is no message.
    """
    return next(iter(str(exc).strip().splitlines()), type(exc).__name__).rstrip(".")


class _Proxy(fx.Proxy):
    """Records ``x += y`` as a change in place, not as ``x = x + y``."""

    def __iadd__(self, other: Any) -> Any:
        return self._in_place(operator.iadd, other)

    def __isub__(self, other: Any) -> Any:
        return self._in_place(operator.isub, other)

    def __imul__(self, other: Any) -> Any:
        return self._in_place(operator.imul, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._in_place(operator.itruediv, other)

    def _in_place(self, operation: Any, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operation, (self, other), {})


class _Tracer(fx.Tracer):
    """Does not trace into modules that own parameters, have no parts, or have code that it cannot follow."""

    proxy_buffer_attributes = True

    def __init__(self, root: _Root) -> None:
        super().__init__()
        self.model = root.model
        self.outputs: dict[fx.Node, list[str]] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if m is self.model:
            return False
        owned = [*m.parameters(recurse=False), *m.buffers(recurse=False)]
        return bool(owned) or next(m.children(), None) is None

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = self.path_of_module(m)
        before = set(self.graph.nodes)
        stack = self.module_stack.copy()
        try:
            result = super().call_module(m, forward, args, kwargs)
        except Exception:
            if m is self.model:
                raise
            self._forget(before)
            self.module_stack = stack
            result = self.create_proxy("call_module", name, args, kwargs)
        if isinstance(result, fx.Proxy):
            self.outputs.setdefault(result.node, []).append(name)
        return result

    def _forget(self, before: set[fx.Node]) -> None:
        for node in reversed(self.graph.nodes):
            # The tracer remembers nodes of parameters and would use them again.
            if node not in before and node.op != "get_attr":
                self.outputs.pop(node, None)
                self.graph.erase_node(node)


def _traced(root: _Root) -> TracedModel:
    tracer = _Tracer(root)
    graph = tracer.trace(root)
    notes = _training_notes(root, graph)
    return TracedModel(root, graph, {node: tuple(names) for node, names in tracer.outputs.items()}, notes)


def _training_notes(root: _Root, graph: fx.Graph) -> tuple[str, ...]:
    """Replace dropout functions by modules, which also work in training; note other code that trains differently."""
    training = copy.deepcopy(root).train()
    try:
        other = _Tracer(training).trace(training)
    # The model can be traced in evaluation mode, but not in training mode.
    except Exception:
        return (_TRAINING_NOTE,)
    _replace_dropout(root, graph)
    _replace_dropout(training, other)
    return () if _calls(graph) == _calls(other) else (_TRAINING_NOTE,)


_TRAINING_NOTE = (
    "Code of the model, outside of its layers, computes something else in training than in evaluation. The model is "
    "fine-tuned in its evaluation form."
)


def _calls(graph: fx.Graph) -> list[tuple[str, str, str]]:
    return [(node.op, str(node.target), str((node.args, node.kwargs))) for node in graph.nodes]


def _replace_dropout(root: _Root, graph: fx.Graph) -> None:
    for node in graph.nodes:
        if node.op != "call_function" or node.target not in _DROPOUTS:
            continue
        share = node.kwargs.get("p", node.args[1] if len(node.args) > 1 else 0.5)
        if not isinstance(share, int | float):
            continue
        name = f"functional_{node.name}"
        root.add_module(name, _DROPOUTS[node.target](float(share)).train(root.model.training))
        node.op, node.target, node.args, node.kwargs = "call_module", name, node.args[:1] or (node.kwargs["input"],), {}


@dataclass
class _Recorder(TorchFunctionMode):
    """Records the functions of tensors that depend on the image, outside of the model's direct parts."""

    graph: fx.Graph
    nodes: dict[int, fx.Node] = field(default_factory=dict)
    alive: list[Tensor] = field(default_factory=list)
    depth: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def remember(self, tensor: Tensor, node: fx.Node) -> None:
        # Tensors are identified by `id`, which is unique only as long as none of them is freed.
        self.nodes[id(tensor)] = node
        self.alive.append(tensor)

    def argument(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            if id(value) in self.nodes:
                return self.nodes[id(value)]
            raise AdoptError("its own code uses tensors that do not come from its direct parts")
        if isinstance(value, list | tuple):
            return type(value)(self.argument(item) for item in value)
        return value

    def step(self, operation: str, target: Any, args: Any, kwargs: Any, output: Any) -> None:
        arguments = tuple(self.argument(value) for value in args)
        named = {name: self.argument(value) for name, value in kwargs.items()}
        node = self.graph.create_node(operation, target, arguments, named)
        if isinstance(output, Tensor):
            self.remember(output, node)
        elif isinstance(output, list | tuple):
            for index, item in enumerate(output):
                if isinstance(item, Tensor):
                    self.remember(item, self.graph.call_function(_item, (node, index)))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if self.depth or not any(id(value) in self.nodes for value in _flat((args, tuple(kwargs.values())))):
            return output
        name = getattr(func, "__name__", str(func))
        if name in _DECISIONS:
            raise AdoptError(f"its own code decides by the values of a tensor ({name})")
        if isinstance(output, Tensor) or any(isinstance(value, Tensor) for value in _flat((output,))):
            self.step("call_function", func, args, kwargs, output)
        return output


def _item(values: Any, index: int) -> Any:
    return values[index]


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


def _recorded(root: _Root, example: Tensor) -> TracedModel:
    """The graph of one run. Sizes that the code computes are those of the example, so the pieces must be checked."""
    graph = fx.Graph()
    recorder = _Recorder(graph)
    recorder.remember(example, graph.placeholder("images"))
    outputs: dict[fx.Node, tuple[str, ...]] = {}
    try:
        with _stepping(root.model, recorder, outputs), torch.no_grad(), recorder:
            result = root.model(example)
        graph.output(recorder.argument(result))
    except AdoptError as exc:
        raise AdoptError(f"The model cannot be cut: {exc}. Move that code into one of its parts.") from exc
    except Exception as exc:
        raise AdoptError(f"The model must run on the example, but it failed: {first_line(exc)}.") from exc
    return TracedModel(root, graph, outputs)


@contextlib.contextmanager
def _stepping(model: nn.Module, recorder: _Recorder, outputs: dict[fx.Node, tuple[str, ...]]) -> Iterator[None]:
    """Hooks that record each part which the model's own code calls as one call."""
    handles = []

    def enter(module: nn.Module, args: Any) -> None:
        recorder.depth += 1

    for name, part in model.named_modules():
        if part is model:
            continue

        def leave(module: nn.Module, args: Any, kwargs: Any, output: Any, name: str = name) -> None:
            recorder.depth -= 1
            if recorder.depth == 0:
                path = f"{MODEL}.{name}"
                recorder.step("call_module", path, args, kwargs, output)
                if isinstance(output, Tensor):
                    outputs[recorder.nodes[id(output)]] = (path,)

        handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave, with_kwargs=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
