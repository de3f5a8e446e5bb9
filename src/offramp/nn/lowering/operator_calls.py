"""Torch functions that are priced by the rule of an ONNX operator: one call may be many layers.

Such a call is written as a small graph of ONNX operators. `offramp.workload.from_onnx` turns it into layers, so that a
torch network and its exported file have the same price.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor

from offramp.errors import UnsupportedLayerError
from offramp.nn.lowering.call_rules import Call, NotPriceableError
from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.found_layers import FoundLayer, layers_between
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.rewriting.standard_form import standard_form
from offramp.workload.layer import Op

_RESULT = "result"


@dataclass
class OperatorGraph:
    """One torch call as a graph of ONNX operators.

    Attributes:
        call: The call.
        producers: The layer that computes each operand of the call that depends on the image.
        nodes: The operators so far.
        shapes: Shapes of their tensors.
        results: Names of the tensors that the call returns.
    """

    call: Call
    producers: tuple[str, ...]
    nodes: list[OnnxNode] = field(default_factory=list)
    shapes: dict[str, tuple[int | None, ...]] = field(default_factory=dict)
    results: list[str] = field(default_factory=list)

    def value(self, tensor: Tensor | None) -> str:
        """Name an operand of the call.

        Args:
            tensor: The operand; None for one that is left out.

        Returns:
            Its name: that of an input of the graph if it depends on the image, otherwise that of a constant.
        """
        if tensor is None:
            return ""
        known = [index for index, own in enumerate(self.call.inputs) if own is tensor]
        name = f"operand_{known[0]}" if known else f"constant_{len(self.shapes)}"
        self.shapes[name] = tuple(tensor.shape)
        return name

    def constant(self, *shape: int) -> str:
        """Name a constant, such as weights.

        Args:
            shape: Its shape.

        Returns:
            Its name.
        """
        name = f"constant_{len(self.shapes)}"
        self.shapes[name] = shape
        return name

    def write(self, op: str, inputs: Sequence[str], *shapes: Sequence[int], **attributes: Any) -> str:
        """Write an operator.

        Args:
            op: ONNX operator.
            inputs: Names of its inputs.
            shapes: Shapes of its outputs.
            attributes: Its attributes.

        Returns:
            Name of its first output.
        """
        label = f"{op}_{len(self.nodes)}"
        outputs = tuple(f"{label}/{position}" for position in range(len(shapes)))
        self.shapes |= {name: tuple(shape) for name, shape in zip(outputs, shapes, strict=True)}
        self.nodes.append(OnnxNode(label, op, tuple(inputs), outputs, attributes))
        return outputs[0]

    def layers(self) -> tuple[tuple[FoundLayer, ...], tuple[str, ...]]:
        """Find the layers of the graph, with the bit widths of the call.

        Returns:
            The layers, whose inputs are each other and the producers of the operands; and the layer that computes each
            result.

        Raises:
            NotPriceableError: The operators cannot be priced; the message says why.
        """
        inputs = tuple(f"operand_{index}" for index in range(len(self.producers)))
        used = tuple(name for name in inputs if name in self.shapes)
        graph = OnnxGraph(used, tuple(self.results), tuple(self.nodes), dict(self.shapes), {})
        try:
            found = layers_between(standard_form(graph), dict(zip(inputs, self.producers, strict=True)))
        except UnsupportedLayerError as exc:
            raise NotPriceableError(str(exc)) from exc
        widths = dict(zip(self.producers, self.call.input_bits, strict=True))
        own = {layer.name for layer in found.layers}
        layers = tuple(self._with_bits(layer, widths, own) for layer in found.layers)
        return layers, tuple(found.origin[name] for name in self.results)

    def _with_bits(self, layer: FoundLayer, widths: dict[str, int], own: set[str]) -> FoundLayer:
        """The layer at the widths of the call; the second of two computed matrices has that of activations."""
        precision = self.call.precision
        activations = precision.activation_bits
        product = layer.shape.op is Op.CONV and len(layer.inputs) > 1
        read = tuple(activations if name in own else widths.get(name, activations) for name in layer.inputs)
        shape = replace(
            layer.shape,
            weight_bits=activations if product else precision.weight_bits,
            activation_bits=activations,
            input_bits=() if product else read,
        )
        return replace(layer, shape=shape)


def _einsum(graph: OperatorGraph, equation: str, *operands: Any) -> None:
    if not isinstance(equation, str):
        raise NotPriceableError("the equation must be text, not lists of axes")
    tensors = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    names = [graph.value(tensor) for tensor in tensors]
    graph.results.append(graph.write("Einsum", names, graph.call.output.shape, equation=equation))


def _conv_transpose(
    graph: OperatorGraph,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> None:
    axes = weight.dim() - 2
    names = [graph.value(tensor) for tensor in (input, weight, bias)]
    attributes = {"strides": _each(stride, axes), "dilations": _each(dilation, axes), "group": groups}
    graph.results.append(graph.write("ConvTranspose", names, graph.call.output.shape, **attributes))


def _each(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * axes if len(values) == 1 else values


def _grid_sample(graph: OperatorGraph, input: Tensor, grid: Tensor, mode: str = "bilinear", *_: Any, **__: Any) -> None:
    names = [graph.value(input), graph.value(grid)]
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    graph.results.append(graph.write("GridSample", names, graph.call.output.shape, mode=mode))


def _fold(graph: OperatorGraph, input: Tensor, output_size: Any, kernel_size: Any, *options: Any, **named: Any) -> None:
    """Torch has dilation, padding and stride in this order."""
    chosen = dict(zip(("dilation", "padding", "stride"), options, strict=False)) | named
    attributes = {"strides": _each(chosen.get("stride", 1), 2), "dilations": _each(chosen.get("dilation", 1), 2)}
    block = _each(kernel_size, 2)
    name = graph.write("Col2Im", [graph.value(input)], graph.call.output.shape, block_shape=block, **attributes)
    graph.results.append(name)


def _recurrent(
    op: str,
    graph: OperatorGraph,
    input: Tensor,
    states: Any,
    weights: Any,
    has_biases: bool,
    num_layers: int = 1,
    dropout: float = 0.0,
    train: bool = False,
    bidirectional: bool = False,
    batch_first: bool = False,
) -> None:
    """All layers of `nn.LSTM`, `nn.GRU` or `nn.RNN`, on a whole sequence."""
    if not isinstance(weights, list | tuple) or not isinstance(has_biases, bool):
        raise NotPriceableError("sequences must not be packed")
    initial = states if isinstance(states, list | tuple) else (states,)
    if any(own is state for own in graph.call.inputs for state in initial):
        raise NotPriceableError("the first state must not depend on the image")
    batch_axis = 0 if batch_first else 1
    batch, steps = input.shape[batch_axis], input.shape[1 - batch_axis]
    units = weights[1].shape[1]
    directions = 2 if bidirectional else 1
    if weights[0].shape[0] and len(weights) != num_layers * directions * (4 if has_biases else 2):
        raise NotPriceableError("a projection of the states (proj_size) has no rule")
    name, width = graph.value(input), input.shape[2]
    if batch_first:
        name = graph.write("Transpose", [name], (steps, batch, width))
    for _ in range(num_layers):
        name = _layer(graph, op, name, (steps, batch, width), units, directions)
        width = directions * units
    graph.results.append(name)


def _layer(graph: OperatorGraph, op: str, source: str, sizes: tuple[int, int, int], units: int, directions: int) -> str:
    """One recurrent layer: its states at all steps, those of both directions side by side."""
    steps, batch, width = sizes
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op] * units
    weight, recurrence = graph.constant(directions, gates, width), graph.constant(directions, gates, units)
    attributes: dict[str, Any] = {"direction": "bidirectional"} if directions == 2 else {}
    if op == "GRU":
        attributes["linear_before_reset"] = 1  # as torch defines it
    shape = (steps, directions, batch, units)
    states = graph.write(op, (source, weight, recurrence), shape, hidden_size=units, **attributes)
    return graph.write("Reshape", (states,), (steps, batch, directions * units))


def _cell(op: str, graph: OperatorGraph, input: Tensor, states: Any, w_ih: Tensor, w_hh: Tensor, *_: Any) -> None:
    """One step: `nn.LSTMCell`, `nn.GRUCell` or `nn.RNNCell`."""
    units, width = w_hh.shape[1], w_ih.shape[1]
    batch = math.prod(input.shape[:-1])
    source = graph.write("Reshape", [graph.value(input)], (1, batch, width))
    given = states if isinstance(states, list | tuple) else (states,)
    weights = [graph.value(tensor) for tensor in (w_ih, w_hh)]
    graph.shapes |= {name: (1, *graph.shapes[name]) for name in weights}
    computed = [any(own is state for own in graph.call.inputs) for state in given]
    first = [graph.value(state) if known else "" for state, known in zip(given, computed, strict=True)]
    shapes = [(1, 1, batch, units), *[(1, batch, units)] * len(given)]
    attributes = {"linear_before_reset": 1} if op == "GRU" else {}
    graph.write(op, (source, *weights, "", "", *first), *shapes, hidden_size=units, **attributes)
    graph.results += graph.nodes[-1].outputs[1:]


def _multi_head_attention(
    graph: OperatorGraph,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    width: int,
    heads: int,
    *options: Any,
    attn_mask: Tensor | None = None,
    **named: Any,
) -> None:
    """What `nn.MultiheadAttention` computes: projections, attention, and a projection of its result.

    Sequences are (tokens, batch, width), or (tokens, width) without a batch.
    """
    bias_k, bias_v, zero = (*options, *(None,) * 5)[2:5]
    if bias_k is not None or bias_v is not None or zero:
        raise NotPriceableError("attention to added keys (add_bias_kv, add_zero_attn) has no rule")
    mask = attn_mask if attn_mask is not None else (*options, *(None,) * 12)[11]
    padded = named.get("key_padding_mask", (*options, *(None,) * 12)[9])
    if any(own is padded for own in graph.call.inputs):
        raise NotPriceableError("which keys are padding must not depend on the image")
    rows, batch = query.shape[0], query.shape[1] if query.dim() == 3 else 1
    if query is key and key is value:
        projected = _projection(graph, query, 3 * width)
        parts = [graph.write("Slice", (projected,), (batch, rows, width)) for _ in range(3)]
    else:
        parts = [_projection(graph, tensor, width) for tensor in (query, key, value)]
    inputs = (*parts, graph.value(mask) if any(own is mask for own in graph.call.inputs) else "")
    sizes = {"q_num_heads": heads, "kv_num_heads": heads}
    context = graph.write("Attention", inputs, (batch, rows, width), **sizes)
    weight = graph.constant(width, width)
    graph.results.append(graph.write("MatMul", (context, weight), (batch, rows, width)))


def _projection(graph: OperatorGraph, tensor: Tensor, width: int) -> str:
    """A dense layer on a sequence, whose result has the batch first."""
    tokens, inputs = tensor.shape[0], tensor.shape[-1]
    batch = tensor.shape[1] if tensor.dim() == 3 else 1
    turned = graph.write("Transpose", (graph.value(tensor),), (batch, tokens, inputs))
    return graph.write("MatMul", (turned, graph.constant(inputs, width)), (batch, tokens, width))


_RECURRENT = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}

OPERATOR_RULES: dict[str, Callable[..., None]] = {
    "einsum": _einsum,
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d"), _conv_transpose),
    "multi_head_attention_forward": _multi_head_attention,
    **dict.fromkeys(("grid_sample", "grid_sampler"), _grid_sample),
    **dict.fromkeys(("fold", "col2im"), _fold),
    **{name: partial(_recurrent, op) for name, op in _RECURRENT.items()},
    **{f"{name}_cell": partial(_cell, op) for name, op in _RECURRENT.items()},
}
"""For each torch function: the rule that writes its graph, and names the tensors of its results."""
