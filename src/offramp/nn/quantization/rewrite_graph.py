"""Replacement of float layers by quantised ones in a part of a network (a stage or a branch).

The part is traced once. Its layers keep their names, so that workloads and weights files keep theirs.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from torch import fx, nn

from offramp.errors import UnsupportedLayerError
from offramp.nn.network import Resize
from offramp.nn.quantization.activation_layers import (
    FloatAdd,
    GridMaxPool,
    GridToFloat,
    PoolWindow,
    QuantizedAdd,
    QuantizedAveragePool,
    QuantizedIdentity,
    QuantizedLayer,
)
from offramp.nn.quantization.layer_format import LayerFormat, build_matrix_layer
from offramp.nn.quantization.precision_marks import mark_precision_, precision_at
from offramp.nn.quantization.traced_calls import ADDITIONS, GraphCalls, module_path
from offramp.space.architecture import Precision

_LOGIT_BITS = 8


@dataclass(frozen=True)
class RewrittenPart:
    """A quantised part.

    Attributes:
        module: the part.
        source: the layer on whose grid its output lies; None = floating point.
    """

    module: fx.GraphModule
    source: QuantizedLayer | None


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Resize) or super().is_leaf_module(m, module_qualified_name)


def rewrite_part(
    part: nn.Module,
    name: str,
    precision: Precision,
    source: QuantizedLayer | None,
    *,
    input_bits: int | None = None,
    logits: bool,
) -> RewrittenPart:
    """Quantise the layers of a part.

    Args:
        part: the part in floating point.
        name: name of the part in error messages.
        precision: bit widths of layers that have no mark.
        source: the layer on whose grid the input lies; None = floating point.
        input_bits: largest bit width of the input, which is requantised if it is wider; None = it is taken as it is.
        logits: whether the output is logits; those of matrix layers are not quantised.

    Returns:
        The quantised part.

    Raises:
        UnsupportedLayerError: if the part cannot be traced, or has layers that cannot be quantised (all are named).
    """
    tracer = _Tracer()
    if tracer.is_leaf_module(part, ""):
        part = nn.Sequential(OrderedDict(layer=part))
    try:
        graph = tracer.trace(part)
    # Tracing runs the user's modules and may raise anything.
    except Exception as exc:
        reason = next(iter(str(exc).splitlines()), type(exc).__name__)
        raise UnsupportedLayerError(
            f"{name} cannot be quantised, because its forward pass is not a fixed sequence of layers: {reason}. "
            "Replace the code that depends on the data, or keep this part at 32 bits."
        ) from exc
    # A graph module keeps only the layers, not the modules around them, which may have marks.
    precisions = [precision_at(part, module_path(node), precision) for node in graph.nodes]
    rewriter = _Rewriter(fx.GraphModule(part, graph), name, precisions, source, input_bits, logits=logits)
    return rewriter.run()


def output_source(part: fx.GraphModule, source: QuantizedLayer | None) -> QuantizedLayer | None:
    """Find the layer that quantises the output of a rewritten part.

    Args:
        part: the rewritten part.
        source: the layer on whose grid the input lies; None = floating point.

    Returns:
        The layer on whose grid the output lies; None = floating point.
    """
    node = _output(part.graph).all_input_nodes[0]
    while node.op != "placeholder":
        called = part.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(called, QuantizedLayer):
            return None if called.bits is None else called
        if isinstance(called, GridMaxPool):
            return called.source
        if isinstance(called, GridToFloat):
            return None
        node = node.all_input_nodes[0]
    return source


def _output(graph: fx.Graph) -> fx.Node:
    return cast(fx.Node, next(node for node in graph.nodes if node.op == "output"))


class _Rewriter:
    def __init__(
        self,
        module: fx.GraphModule,
        name: str,
        precisions: Sequence[Precision],
        source: QuantizedLayer | None,
        input_bits: int | None,
        *,
        logits: bool,
    ) -> None:
        self.module = module
        self.calls = GraphCalls(module)
        self.graph = module.graph
        self.name = name
        # The graph of a graph module is a copy, in the same order.
        self.precisions = dict(zip(self.graph.nodes, precisions, strict=True))
        self.formats = {node: LayerFormat.of(precision) for node, precision in self.precisions.items()}
        self.input_bits = input_bits
        self.sources: dict[fx.Node, QuantizedLayer | None] = {}
        self.input_source = source
        self.logits = logits
        self.faults: list[str] = []

    def run(self) -> RewrittenPart:
        for node in list(self.graph.nodes):
            if node.op == "placeholder":
                self._quantize_input(node)
        self.logit_nodes = self._find_logit_nodes() if self.logits else set()
        for node in list(self.graph.nodes):
            if node not in self.sources and node.op != "output" and not node._erased:
                self._rewrite(node)
        if self.faults:
            raise UnsupportedLayerError(
                "A network must be made of convolutions with batch norm, linear layers, ReLU, ReLU6, pooling and "
                f"additions to be quantised; {self.name} also has: {'; '.join(self.faults)}. Replace them, or keep "
                "this part at 32 bits."
            )
        self.graph.lint()
        self.module.delete_all_unused_submodules()
        self.module.recompile()
        (result,) = self._output.all_input_nodes
        return RewrittenPart(self.module, self.sources[result])

    @property
    def _output(self) -> fx.Node:
        return _output(self.graph)

    def _quantize_input(self, node: fx.Node) -> None:
        """Quantise the input, after a change of the image's size, if it is wider than ``input_bits``."""
        self.sources[node] = self.input_source
        users = list(node.users)
        if len(users) == 1 and isinstance(self.calls.called(users[0]), Resize):
            (node,) = users
            self.sources[node] = self.input_source
        bits, known = self.input_bits, self.input_source
        if bits is not None and (known is None or (known.bits or 32) > bits):
            layer = QuantizedIdentity(bits, None, (known,))
            if known is not None:
                layer.unsigned = known.unsigned
            self._insert_after(node, "quantize_input", layer, (node,), layer)

    def _find_logit_nodes(self) -> set[fx.Node]:
        """The output, and the nodes before it up to the one that computes its values."""
        nodes = list(self._output.all_input_nodes)
        while nodes and self.calls.keeps_values(nodes[-1]):
            nodes.append(nodes[-1].all_input_nodes[0])
        return set(nodes)

    def _rewrite(self, node: fx.Node) -> None:
        called, form = self.calls.called(node), self.formats[node]
        if self.calls.keeps_values(node):
            self.sources[node] = self._source(node)
        elif form.activation_bits is None and form.weight_limits is None:
            self._leave_in_floats(node)
        elif isinstance(called, nn.Conv2d | nn.Linear):
            self._matrix_layer(node, called)
        elif form.activation_bits is None:
            # Only weights are quantised, and this layer has none.
            self._leave_in_floats(node)
        elif self.calls.activation(node) is not None:
            self._replace(node, "", lambda bits, act: QuantizedIdentity(bits, act, (self._source(node),)), fuse=False)
        elif called in ADDITIONS:
            self._add(node)
        elif (window := self.calls.average_window(node)) is not None:
            pooled = window
            self._pool_average(node, pooled)
        elif isinstance(called, nn.MaxPool2d) and not called.return_indices:
            self._max_pool(node, called)
        else:
            self._fault(node)

    def _source(self, node: fx.Node, index: int = 0) -> QuantizedLayer | None:
        return self.sources.get(node.all_input_nodes[index])

    def _matrix_layer(self, node: fx.Node, layer: nn.Conv2d | nn.Linear) -> None:
        last, norm = node, None
        follower = self.calls.only_user(node)
        if follower is not None and isinstance(self.calls.called(follower), nn.BatchNorm2d):
            norm = cast(nn.BatchNorm2d, self.calls.called(follower))
            if not norm.affine or not norm.track_running_stats:
                self._fault(follower, "batch norm without weights or running statistics")
                return
            last = follower
        if isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
            self._fault(node, f"padding with {layer.padding_mode}")
            return
        form = self.formats[node]
        if form.activation_bits is None:
            self._inputs_to_floats(node)
        elif form.weight_limits is not None:
            self._inputs_to_grids(node)
        source = self._source(node)

        def build(bits: int | None, activation: nn.Module | None) -> QuantizedLayer:
            return build_matrix_layer(layer, norm, activation, form, bits, source)

        self._replace(node, str(node.target), build, last=last)

    def _add(self, node: fx.Node) -> None:
        operands = [operand for operand in node.args if isinstance(operand, fx.Node)]
        if len(node.args) != 2 or len(operands) != 2 or node.kwargs:
            self._fault(node, f"an addition of {len(operands)} computed value(s)")
            return
        self._inputs_to_grids(node)
        first, second = (self.sources.get(operand) for operand in node.args if isinstance(operand, fx.Node))
        self._replace(node, "add", lambda bits, act: QuantizedAdd(bits, act, (first, second)))

    def _pool_average(self, node: fx.Node, window: PoolWindow) -> None:
        self._inputs_to_grids(node)
        source = cast(QuantizedLayer, self._source(node))
        name = str(node.target) if node.op == "call_module" else "average_pool"
        self._replace(node, name, lambda bits, act: QuantizedAveragePool(window, bits, act, source))

    def _max_pool(self, node: fx.Node, pool: nn.MaxPool2d) -> None:
        self._inputs_to_grids(node)
        source = cast(QuantizedLayer, self._source(node))
        replacement = GridMaxPool(pool, source)
        mark_precision_(replacement, self.precisions[node])
        self.module.add_submodule(str(node.target), replacement)
        self.sources[node] = source

    def _replace(
        self,
        node: fx.Node,
        name: str,
        build: Callable[[int | None, nn.Module | None], QuantizedLayer],
        *,
        last: fx.Node | None = None,
        fuse: bool = True,
    ) -> None:
        """Replace the nodes from ``node`` to ``last`` and the activation function after them by one quantised layer."""
        last = last or node
        absorbed = [] if last is node else [last]
        activation = None if fuse else self.calls.activation(node)
        follower = self.calls.only_user(last)
        if fuse and follower is not None and (found := self.calls.activation(follower)) is not None:
            activation = found
            absorbed.append(follower)
            last = follower
        bits = self.formats[node].activation_bits
        if last in self.logit_nodes and bits is not None:
            # Sums of matrix layers are wide enough for logits. Other layers need a grid, and logits a fine one.
            bits = None if isinstance(self.calls.called(node), nn.Conv2d | nn.Linear) else _LOGIT_BITS
        layer = build(bits, activation)
        mark_precision_(layer, self.precisions[node])
        name = name or (str(node.target) if node.op == "call_module" else "activation")
        inputs = tuple(argument for argument in node.args if isinstance(argument, fx.Node))
        source = None if bits is None else layer
        self._insert_after(last, name, layer, inputs, source, owner=None if node.op == "call_module" else node)
        for old in (*reversed(absorbed), node):
            self.graph.erase_node(old)

    def _leave_in_floats(self, node: fx.Node) -> None:
        self._inputs_to_floats(node)
        self.sources[node] = None
        called = self.calls.called(node)
        if called in ADDITIONS and len(node.args) == len(node.all_input_nodes) == 2:
            # A module has a name and can be marked with a precision.
            new = self._insert_after(node, "add", FloatAdd(), tuple(node.all_input_nodes), None, owner=node)
            mark_precision_(self.module.get_submodule(str(new.target)), self.precisions[node])
            self.graph.erase_node(node)
        elif isinstance(called, nn.Module):
            mark_precision_(called, self.precisions[node])

    def _inputs_to_floats(self, node: fx.Node) -> None:
        """Convert quantised inputs to floating point."""
        for operand in node.all_input_nodes:
            source = self.sources.get(operand)
            if source is not None:
                self._insert_before(node, operand, "to_float", GridToFloat(source), None)

    def _inputs_to_grids(self, node: fx.Node) -> None:
        """Quantise inputs in floating point to the bit width of the node's output."""
        for operand in dict.fromkeys(node.all_input_nodes):
            if self.sources.get(operand) is None:
                layer = QuantizedIdentity(cast(int, self.formats[node].activation_bits), None, (None,))
                self._insert_before(node, operand, "quantize_input", layer, layer)

    def _insert_before(
        self, node: fx.Node, operand: fx.Node, name: str, layer: nn.Module, source: QuantizedLayer | None
    ) -> None:
        """Insert a call of ``layer`` on one operand of ``node``."""
        name = self._unused_name(node, name)
        self.module.add_submodule(name, layer)
        with self.graph.inserting_before(node):
            new = self.graph.call_module(name, (operand,))
        node.replace_input_with(operand, new)
        self.sources[new] = source

    def _insert_after(
        self,
        node: fx.Node,
        name: str,
        layer: nn.Module,
        inputs: tuple[fx.Node, ...],
        source: QuantizedLayer | None,
        *,
        owner: fx.Node | None = None,
    ) -> fx.Node:
        """Insert a call of ``layer`` whose result, on the grid of ``source``, replaces that of ``node``."""
        if owner is not None:
            name = self._unused_name(owner, name)
        self.module.add_submodule(name, layer)
        with self.graph.inserting_after(node):
            new = self.graph.call_module(name, inputs)
        node.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)
        self.sources[new] = source
        return new

    def _unused_name(self, owner: fx.Node, name: str) -> str:
        """An unused name in the module whose forward pass has the call."""
        place = module_path(owner)
        inside = place.rpartition(".")[0] if owner.op == "call_module" else place
        base = f"{inside}.{name}" if inside else name
        taken = {path for path, _ in self.module.named_modules()}
        candidate, count = base, 1
        while candidate in taken:
            count += 1
            candidate = f"{base}_{count}"
        return candidate

    def _fault(self, node: fx.Node, reason: str | None = None) -> None:
        called = self.calls.called(node)
        if isinstance(called, QuantizedLayer):
            reason = "used twice, which needs two grids"
        kind = type(called).__name__ if isinstance(called, nn.Module) else getattr(called, "__name__", str(node.target))
        self.faults.append(f"{node.name} ({reason or kind})")
        self.sources[node] = None
