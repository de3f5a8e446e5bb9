"""Recording of the torch functions and layers that a model calls, as a graph.

The model is run on two batches of different sizes. A number that differs between the runs is a multiple of the batch
size and is computed from it in the graph; all other sizes are constants. A module whose code decides by the values of
its input, or cannot be followed for another reason, stays one call.
"""

import contextlib
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from offramp.errors import AdoptError
from offramp.nn.adoption.recording_merge import SHAPE, Recording, UnfollowedCodeError, merged

# Functions that turn a tensor into a plain Python value, on which the code may branch.
_DECISIONS = frozenset(
    {
        "__bool__",
        "item",
        "tolist",
        "__int__",
        "__float__",
        "__index__",
        "__contains__",
        "equal",
        "allclose",
        "is_nonzero",
        "numpy",
        "__array__",
    }
)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_CONSTANT = "constant"


@dataclass(frozen=True)
class RecordedCalls:
    """The calls of a model.

    Attributes:
        graph: The calls; its nodes name modules, parameters and constants of the root.
        outputs: For each node, the paths of the modules whose result it is, the outermost last.
        input_facts: Nodes that ask the images for their number or their device.
    """

    graph: fx.Graph
    outputs: dict[fx.Node, tuple[str, ...]]
    input_facts: frozenset[fx.Node]


def record_calls(root: nn.Module, model: nn.Module, example: Tensor) -> RecordedCalls:
    """Run a model on two batches and record its calls.

    Args:
        root: The module to run; it contains the model. Constant tensors that the code uses are added to it as buffers.
        model: The part of the root that is followed even where it has parameters of its own.
        example: Images (batch, channels, height, width).

    Returns:
        The calls.

    Raises:
        AdoptError: The code of the model itself cannot be followed; the message says why.
    """
    larger = torch.cat([example, example[:1]])
    opaque: set[nn.Module] = set()
    while True:
        try:
            first, second = (_recorded(root, model, images.clone(), opaque) for images in (example, larger))
            input_facts = merged(first, second, (len(example), len(larger)))
            break
        except UnfollowedCodeError as exc:
            module = root.get_submodule(exc.module) if exc.module else root
            if module in (root, model) or module in opaque:
                raise AdoptError(f"The model cannot be cut: {exc}.") from exc
            # Modules of one class have the same code, which is tried only once.
            same = type(module) if type(module) not in _CONTAINERS else None
            opaque |= {part for part in model.modules() if part is module or type(part) is same}
    for name, value in first.constants.items():
        root.register_buffer(name, value.clone())
    return RecordedCalls(first.graph, {node: tuple(names) for node, names in first.outputs.items()}, input_facts)


def _recorded(root: nn.Module, model: nn.Module, images: Tensor, opaque: set[nn.Module]) -> Recording:
    recorder = _Recorder(root, images)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), _following(root, model, recorder, opaque), recorder:
            result = root(images)
    except (AdoptError, UnfollowedCodeError):
        raise
    # The user's code may raise anything.
    except Exception as exc:
        line = next(iter(str(exc).strip().splitlines()), type(exc).__name__).rstrip(".")
        raise UnfollowedCodeError(
            f"its code depends on the batch size, or cannot be followed ({line})", recorder.place
        ) from exc
    recorder.recording.graph.output(recorder.argument(result))
    return recorder.recording


@contextlib.contextmanager
def _following(root: nn.Module, model: nn.Module, recorder: "_Recorder", opaque: set[nn.Module]) -> Iterator[None]:
    """Hooks that record layers as one call each, and note whose result a value is."""
    handles = []
    for name, part in root.named_modules():
        if part is root:
            continue
        whole = part in opaque or (part is not model and _is_layer(part))

        def enter(module: nn.Module, args: Any, name: str = name, whole: bool = whole) -> None:
            recorder.enter(name, whole)

        def leave(
            module: nn.Module, args: Any, kwargs: Any, output: Any, name: str = name, whole: bool = whole
        ) -> None:
            recorder.leave(name, whole, args, kwargs, output)

        handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave, with_kwargs=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_layer(module: nn.Module) -> bool:
    """Whether a module stays one call: it has no parts, or has parameters of its own and is no network of blocks."""
    parts = list(module.children())
    owned = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return not parts or (bool(owned) and not any(isinstance(part, _CONTAINERS) for part in parts))


class _Recorder(TorchFunctionMode):
    """Records every torch function that is called outside of layers."""

    def __init__(self, root: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.recording = Recording(fx.Graph())
        self.nodes = WeakIdKeyDictionary()
        self.owned = {id(value): name for name, value in (*root.named_parameters(), *root.named_buffers())}
        self.images = self.recording.graph.placeholder("images")
        self.dependent = {self.images}
        self.nodes[images] = self.images
        self.layers = 0
        self.modules: list[str] = []

    @property
    def place(self) -> str:
        """Path of the module whose code runs; empty for the root."""
        return self.modules[-1] if self.modules else ""

    def enter(self, name: str, whole: bool) -> None:
        if self.layers == 0:
            self.modules.append(name)
        self.layers += whole

    def leave(self, name: str, whole: bool, args: Any, kwargs: Any, output: Any) -> None:
        self.layers -= whole
        if self.layers:
            return
        self.modules.pop()
        if whole:
            self.step("call_module", name, args, kwargs, output)
        # Of several results, such as features and attention weights, the first one is what the next module reads.
        main = next(_tensors(output), None)
        if main is not None and main in self.nodes:
            self.recording.outputs.setdefault(self.nodes[main], []).append(name)

    def argument(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.nodes[value] if value in self.nodes else self.constant(value)
        if isinstance(value, list | tuple):
            items = [self.argument(item) for item in value]
            return items if isinstance(value, list) else tuple(items)
        if isinstance(value, dict):
            return {key: self.argument(item) for key, item in value.items()}
        if isinstance(value, slice):
            return slice(*(self.argument(item) for item in (value.start, value.stop, value.step)))
        return value

    def constant(self, value: Tensor) -> fx.Node:
        """The node of a parameter or buffer, or of a tensor that comes from elsewhere and is taken for a constant."""
        graph, name = self.recording.graph, self.owned.get(id(value))
        if name is None:
            name = f"{_CONSTANT}{len(self.recording.constants)}"
            self.recording.constants[name] = value.detach().clone()
        node: fx.Node = graph.get_attr(name)
        self.recording.places[node] = self.place
        self.nodes[value] = node
        return node

    def step(self, operation: str, target: Any, args: Any, kwargs: Any, output: Any) -> None:
        arguments, named = self.argument(tuple(args)), self.argument(dict(kwargs))
        self.remember(self.recording.graph.create_node(operation, target, arguments, named), output)

    def remember(self, node: fx.Node, output: Any) -> None:
        self.recording.places[node] = self.place
        if self.dependent & set(node.all_input_nodes):
            self.dependent.add(node)
        if isinstance(output, Tensor):
            self.nodes[output] = node
            node.meta[SHAPE] = tuple(output.shape)
            return
        items = output.items() if isinstance(output, dict) else enumerate(output) if _is_row(output) else ()
        for key, item in items:
            if any(True for _ in _tensors(item)):
                self.remember(self.recording.graph.call_function(operator.getitem, (node, key)), item)

    def depends(self, values: Any) -> bool:
        return any(value in self.nodes and self.nodes[value] in self.dependent for value in _tensors(values))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.layers:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", str(func))
        if name in _DECISIONS and self.depends((args, kwargs)):
            raise UnfollowedCodeError(f"its own code decides by the values of a tensor ({name})", self.place)
        if name == "__iter__":
            func, name = Tensor.unbind, "unbind"
            output = args[0].unbind(0)
            self.step("call_method", name, args, kwargs, output)
            return iter(output)
        output = func(*args, **kwargs)
        if name == "__setitem__" or any(True for _ in _tensors(output)):
            self.step(*_called(func, name, args), kwargs, output)
        return output


def _called(func: Any, name: str, args: tuple[Any, ...]) -> tuple[str, Any, tuple[Any, ...]]:
    """A torch function as symbolic tracing would write it: operation, target and arguments."""
    if name == "__get__":
        return "call_function", getattr, (args[0], func.__self__.__name__)
    if getattr(Tensor, name, None) is not func:
        return "call_function", func, args
    bare = name.strip("_") if name.startswith("__") else ""
    if bare and hasattr(operator, bare):
        return "call_function", getattr(operator, bare), args
    if bare.startswith("r") and hasattr(operator, bare[1:]) and len(args) == 2:
        return "call_function", getattr(operator, bare[1:]), args[::-1]
    return "call_method", name, args


def _is_row(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
