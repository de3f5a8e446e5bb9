"""From a network to the workload a cost engine prices.

The network is run once, on one image, and every torch function that it calls is observed. The workload is thus what
the network computes, whatever Python code calls the functions.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from offramp.errors import UnsupportedLayerError, WorkloadError
from offramp.nn.lowering.attention_layers import ATTENTION_RULES, MOVES, NEW_TENSORS, SHAPES_OF_OTHERS
from offramp.nn.lowering.call_rules import LAYER_RULES, PASS_THROUGH, Call, NotPriceableError
from offramp.nn.lowering.operator_calls import OPERATOR_RULES, OperatorGraph
from offramp.nn.lowering.reductions import REDUCTION_RULES
from offramp.nn.lowering.window_calls import WINDOW_RULES
from offramp.nn.network import EarlyExitNetwork, evaluating
from offramp.nn.quantization.precision_marks import IMAGE_BITS, marked_precision
from offramp.space.architecture import FLOAT_BITS, Precision
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from offramp.workload.layer import LayerShape, Op

DECISIONS = frozenset({"__bool__", "__int__", "__float__", "__index__", "__contains__", "item", "tolist", "is_nonzero"})
"""Functions that turn a tensor into a plain value, on which the code may branch."""

_RULES = LAYER_RULES | WINDOW_RULES | REDUCTION_RULES | ATTENTION_RULES


def lower(network: EarlyExitNetwork, name: str | None = None) -> Workload:
    """The layers of a network for one image, at the bit widths that its architecture and its parts state.

    A layer writes at its own width and reads what its producers wrote; only what enters a branch, or was in floating
    point before, is narrowed to the reader's width on the way in. Images have 8 bits where they are quantised.
    Batch norm, activations and changes of shape are free: the layer before does them. The rules for transformers are in
    `offramp.workload.layer_constructors`.

    Args:
        network: The network; it is run once, in evaluation mode.
        name: The workload's name; the backbone's where none is given.

    Returns:
        The workload: layers in order of execution.

    Raises:
        UnsupportedLayerError: A workload cannot hold some of the operators; the error names all of them.
        WorkloadError: A part does not give one tensor that is computed from its input, or an exit computes nothing.
    """
    watcher = _Watcher(network)
    exits = []
    logits: Tensor | None = None
    with evaluating(network), watcher.naming(), torch.no_grad():
        features = _example(network)
        watcher.remember(features, GRAPH_INPUT)
        for index, (stage, branch) in enumerate(zip(network.stages, network.branches, strict=True)):
            features = watcher.run(stage, features, index, Role.BACKBONE)
            own = watcher.run(branch, features, index, Role.BRANCH)
            logits = own if logits is None else watcher.link(index, own, logits)
            exits.append(watcher.producer(logits))
    if watcher.faults:
        raise UnsupportedLayerError(
            "A network must be made of convolutions, linear layers, pooling, sums, products, concatenations, norms and "
            f"attention to be priced; these parts are not: {'; '.join(watcher.faults)}. Replace them."
        )
    if GRAPH_INPUT in exits:
        raise WorkloadError(f"every exit must compute something from the image, got exits that end at {exits}.")
    return Workload(name or network.architecture.backbone, tuple(watcher.layers), tuple(exits))


def _example(network: EarlyExitNetwork) -> Tensor:
    example = network.example_input()
    for parameter in network.parameters():
        if parameter.is_floating_point():
            return example.to(device=parameter.device, dtype=parameter.dtype)
    return example


@dataclass(frozen=True)
class _Place:
    stage: int
    role: Role
    precision: Precision


@dataclass(frozen=True)
class _Running:
    """A module whose forward pass is running; the name of a module with submodules ends in a point."""

    name: str
    precision: Precision | None


@dataclass(frozen=True)
class _Written:
    """The output of a layer: its bit width, and the part of the network that the layer belongs to."""

    bits: int
    role: Role


class _Watcher(TorchFunctionMode):
    """Observes every torch function while it is entered; appends to ``layers`` in execution order."""

    def __init__(self, network: EarlyExitNetwork) -> None:
        super().__init__()
        self.network = network
        self.layers: list[Layer] = []
        self.faults: list[str] = []
        self._place = _Place(0, Role.BACKBONE, network.architecture.precision)
        self._producers: dict[int, str] = {}
        # Tensors are identified by `id`, which is unique only as long as none of them is freed.
        self._alive: list[Tensor] = []
        self._modules: list[_Running] = []
        self._written: dict[str, _Written] = {}
        self._names: set[str] = set()

    def run(self, module: nn.Module, features: Tensor, stage: int, role: Role) -> Tensor:
        architecture = self.network.architecture
        precision = architecture.precision if role is Role.BACKBONE else architecture.exit_precision(stage)
        self._place = _Place(stage, role, precision)
        with self:
            result = module(features)
        if not isinstance(result, Tensor) or id(result) not in self._producers:
            raise WorkloadError(f"the {role} of stage {stage} must give one tensor computed from its input.")
        return result

    def link(self, index: int, logits: Tensor, previous: Tensor) -> Tensor:
        """Add what the exit before found; layers of the link belong to the branch that was run last."""
        with self:
            return self.network.linked(index, logits, previous)

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Keep track of the module that is running."""
        handles = []

        def leave(module: nn.Module, inputs: object, output: object) -> None:
            self._modules.pop()

        for name, module in self.network.named_modules():
            has_parts = next(module.children(), None) is not None

            def enter(module: nn.Module, inputs: object, name: str = name, has_parts: bool = has_parts) -> None:
                self._modules.append(_Running(f"{name}." if has_parts else name, marked_precision(module)))

            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def remember(self, tensor: Tensor, producer: str) -> None:
        self._producers[id(tensor)] = producer
        self._alive.append(tensor)

    def producer(self, tensor: Tensor) -> str:
        return self._producers[id(tensor)]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        tracked = [x for x in _tensors((*args, *kwargs.values())) if id(x) in self._producers]
        # `x[...] = y` returns nothing and changes x.
        results = list(_tensors((args[0] if func.__name__ == "__setitem__" else output,)))
        if tracked and func.__name__ in DECISIONS:
            self.faults.append(
                f"{self._module} ({func.__name__.strip('_')}: the code decides by the values of a tensor)"
            )
        if tracked and results and func.__name__ not in NEW_TENSORS:
            self._record(str(func.__name__), args, kwargs, tracked, results)
        return output

    def _record(
        self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], tracked: list[Tensor], results: list[Tensor]
    ) -> None:
        operator = function.strip("_")
        producers = tuple(self.producer(x) for x in tracked)
        written = producers[:1]
        try:
            if not self._is_free(operator, producers, results[0]):
                precision = self._precision()
                read = tuple(self._read_bits(name, precision) for name in producers)
                call = Call(tuple(tracked), results[0], precision, read, operator)
                if operator in OPERATOR_RULES:
                    written = self._write_graph(OperatorGraph(call, producers), args, kwargs)
                elif operator in _RULES:
                    shapes = _RULES[operator](call, *args, **kwargs)
                    written = (self._write(call, shapes if isinstance(shapes, tuple) else (shapes,), producers),)
                else:
                    raise NotPriceableError("no such layer in a workload")
        except (NotPriceableError, ValueError) as reason:
            self.faults.append(f"{self._module} ({operator}: {reason})")
        for index, result in enumerate(results):
            self.remember(result, written[min(index, len(written) - 1)])

    def _write(self, call: Call, shapes: tuple[LayerShape, ...], producers: tuple[str, ...]) -> str:
        """Append layers that follow each other; the name of the last one."""
        for shape in shapes:
            if shape.op is Op.MAX_POOL:
                # Max-pooling selects values and changes none.
                shape = replace(shape, activation_bits=call.input_bits[0], input_bits=())
            producers = (self._append(self._unused_name(call.function), shape, producers),)
        return producers[0]

    def _write_graph(self, graph: OperatorGraph, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...]:
        """Append the layers of a call that is priced as a graph; for each result, the layer that computes it."""
        operator = graph.call.function
        OPERATOR_RULES[operator](graph, *args, **kwargs)
        layers, results = graph.layers()
        base = self._unused_name(operator)
        names = {layer.name: base if len(layers) == 1 else f"{base}/{layer.name}" for layer in layers}
        for layer in layers:
            inputs = tuple(names.get(name, name) for name in layer.inputs)
            self._append(names[layer.name], layer.shape, inputs)
        return tuple(names.get(name, name) for name in results)

    def _append(self, name: str, shape: LayerShape, inputs: tuple[str, ...]) -> str:
        self.layers.append(Layer(name, shape, inputs, self._place.stage, self._place.role))
        self._written[name] = _Written(shape.activation_bits, self._place.role)
        return name

    def _precision(self) -> Precision:
        """Bit widths of the innermost running module that states them, otherwise those of the part."""
        marks = (running.precision for running in reversed(self._modules))
        return next((mark for mark in marks if mark is not None), self._place.precision)

    def _read_bits(self, producer: str, reader: Precision) -> int:
        own = reader.activation_bits
        if producer == GRAPH_INPUT:
            return max(own, IMAGE_BITS)
        written = self._written[producer]
        enters_branch = self._place.role is Role.BRANCH and written.role is Role.BACKBONE
        return min(written.bits, own) if enters_branch or written.bits == FLOAT_BITS else written.bits

    @staticmethod
    def _is_free(operator: str, producers: tuple[str, ...], result: Tensor) -> bool:
        if operator == "interpolate":
            # Resizing the image belongs to its preparation, not to the network; resizing features is a layer.
            return producers == (GRAPH_INPUT,)
        if operator in SHAPES_OF_OTHERS or (operator == "setitem" and len(set(producers)) == 1):
            return True
        if operator in MOVES:
            if len(set(producers)) > 1:
                raise NotPriceableError(f"moves values to places that another layer computes ({', '.join(producers)})")
            return True
        if operator not in PASS_THROUGH or (operator == "softmax" and result.dim() > 2):
            return False
        # x * sigmoid(x) is an activation: both operands come from one layer, which computes it on its outputs.
        return len(producers) == 1 or (len(set(producers)) == 1 and producers[0] != GRAPH_INPUT)

    @property
    def _module(self) -> str:
        return self._modules[-1].name.rstrip(".") if self._modules else "network"

    def _unused_name(self, operator: str) -> str:
        """The running module's name; for a module with submodules, followed by the operator."""
        module = self._modules[-1].name if self._modules else "network."
        base = f"{module}{operator}" if module.endswith(".") else module
        name, count = base, 1
        while name in self._names:
            count += 1
            name = f"{base}_{count}"
        self._names.add(name)
        return name


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
