"""ONNX files of single layers and of whole stages, made from loop sizes, to be timed on a device.

Weights and inputs are random: the time of a dense kernel does not depend on their values. In int8 every tensor passes
quantisation nodes, which runtimes fuse into integer kernels; a single layer reads and writes tensors of 8 bits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import UnsupportedLayerError
from offramp.hardware.runner import Arithmetic
from offramp.workload.graph import Layer, Workload
from offramp.workload.layer import POOL_OPS, LayerShape, Op

OPSET = 17
_SCALE, _ZERO_POINT, _WEIGHT_SCALE = 0.05, 128, 0.02
TWO_INPUTS = frozenset({Op.ADD, Op.MULTIPLY})
"""Element-wise operators."""

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class TimedFile:
    """An ONNX file to be timed.

    Attributes:
        content: The content of the file.
        what: What it computes, for messages.
    """

    content: bytes
    what: str


def empty_file(arithmetic: Arithmetic) -> TimedFile:
    """Make a graph that computes next to nothing: the time of a call alone.

    Args:
        arithmetic: The type of its tensors.

    Returns:
        One value that is handed through.
    """
    graph = _Graph(arithmetic)
    source = graph.add_input("input", (1, 1))
    graph.add_output(graph.add_node("Identity", [source]))
    return TimedFile(graph.serialized("call"), "a call without a layer")


def layer_file(shape: LayerShape, arithmetic: Arithmetic, copies: int = 1) -> TimedFile:
    """Make a graph of a layer, or of several copies of it whose results are added up.

    Copies of an element-wise operator with two inputs form a chain, so that nothing else is added up.

    Args:
        shape: The layer.
        arithmetic: What it computes in.
        copies: How many copies, each with weights of its own.

    Returns:
        The file. Its inputs and its output have the type of the arithmetic.
    """
    graph = _Graph(arithmetic)
    inputs = [graph.add_input(f"input_{index}", sizes) for index, sizes in enumerate(input_sizes(shape))]
    result = graph.add_layer(shape, inputs)
    for _ in range(copies - 1):
        if shape.op in TWO_INPUTS:
            result = graph.add_layer(shape, [result, inputs[-1]])
        else:
            result = graph.add_layer(addition_of(shape), [result, graph.add_layer(shape, inputs)])
    graph.add_output(result)
    return TimedFile(graph.serialized("layer"), f"a layer ({shape.op.value})")


def addition_of(shape: LayerShape) -> LayerShape:
    """Describe the addition of two results of a layer.

    Args:
        shape: The layer.

    Returns:
        The element-wise addition.
    """
    channels = shape.g if shape.op is Op.CONCAT else shape.g * shape.k
    return LayerShape(Op.ADD, b=shape.b, g=channels, oy=shape.oy, ox=shape.ox, iy=shape.oy, ix=shape.ox)


def stage_files(workload: Workload, arithmetic: Arithmetic) -> tuple[TimedFile, ...]:
    """Make one graph per stage: its backbone layers and its branch, from what earlier stages hand over.

    Args:
        workload: The network.
        arithmetic: What it computes in.

    Returns:
        The files, in the order of the stages.

    Raises:
        UnsupportedLayerError: The layers do not say how their tensors are joined, as in products of two computed
            matrices.
    """
    sizes: dict[str, Sizes] = {}
    files = []
    for stage in range(workload.num_stages):
        graph = _Graph(arithmetic)
        tensors: dict[str, str] = {}
        for layer in workload.stage_layers(stage):
            _add_to_stage(graph, layer, tensors, sizes)
        own = {layer.name for layer in workload.stage_layers(stage)}
        later = {name for layer in workload.layers if layer.stage > stage for name in layer.inputs}
        for name in dict.fromkeys([*(name for name in tensors if name in own & later), workload.exits[stage]]):
            if name in tensors:
                graph.add_output(tensors[name])
        files.append(TimedFile(graph.serialized(f"stage_{stage}"), f"stage {stage} of {workload.name}"))
    return tuple(files)


def _add_to_stage(graph: "_Graph", layer: Layer, tensors: dict[str, str], sizes: dict[str, Sizes]) -> None:
    """Add a layer to the graph of its stage; ``tensors`` are those of this graph, ``sizes`` those of all layers."""
    shape = layer.shape
    if shape.op is Op.CONV and len(layer.inputs) > 1:
        raise UnsupportedLayerError(f"{layer.name} multiplies two computed matrices, whose order its sizes leave open.")
    needed = _wanted_sizes(layer, sizes)
    found = []
    for name, wanted in zip(layer.inputs, needed, strict=True):
        if name not in tensors:
            tensors[name] = graph.add_input(f"from_{len(tensors)}", sizes.setdefault(name, wanted))
        found.append(graph.reshaped(tensors[name], sizes[name], wanted, layer.name))
    if shape.op is Op.ACTIVATION:
        tensors[layer.name] = graph.add_node("Relu", found)
        sizes[layer.name] = sizes[layer.inputs[0]]
        return
    tensors[layer.name] = graph.add_layer(shape, found)
    sizes[layer.name] = output_sizes(shape)


def _wanted_sizes(layer: Layer, sizes: Mapping[str, Sizes]) -> list[Sizes]:
    shape = layer.shape
    if shape.op is Op.ACTIVATION:
        return [sizes.get(layer.inputs[0], input_sizes(shape)[0])]
    if shape.op is Op.CONCAT:
        return [_mapped(sizes.get(name), shape) for name in layer.inputs]
    return [input_sizes(shape)[0]] * len(layer.inputs)


def _mapped(sizes: Sizes | None, shape: LayerShape) -> Sizes:
    """The part of a concatenation that a tensor makes up."""
    if sizes is None:
        return (shape.b, shape.g, shape.oy, shape.ox)
    return (shape.b, max(1, math.prod(sizes) // (shape.b * shape.oy * shape.ox)), shape.oy, shape.ox)


def input_sizes(shape: LayerShape) -> list[Sizes]:
    """Find the sizes of the inputs of a layer.

    Args:
        shape: The layer. A concatenation counts as one of two halves.

    Returns:
        One tuple per input: batch, channels and, for all but dense layers, rows and columns.
    """
    if shape.op is Op.DENSE and shape.g == 1:
        return [(shape.b, shape.c)]
    if shape.op in TWO_INPUTS:
        return [(shape.b, shape.g, shape.oy, shape.ox)] * 2
    if shape.op is Op.CONCAT:
        parts = [shape.g // 2, shape.g - shape.g // 2]
        return [(shape.b, part, shape.oy, shape.ox) for part in parts if part]
    return [(shape.b, shape.g * shape.c, shape.iy, shape.ix)]


def output_sizes(shape: LayerShape) -> Sizes:
    """Find the sizes of the output of a layer.

    Args:
        shape: The layer.

    Returns:
        Batch, channels and, for all but dense layers, rows and columns.
    """
    if shape.op is Op.DENSE and shape.g == 1:
        return (shape.b, shape.k)
    return (shape.b, shape.g * shape.k, shape.oy, shape.ox)


@dataclass
class _Graph:
    """An ONNX graph under construction. Names that its methods take and return are those of its tensors.

    Attributes:
        arithmetic: What it computes in.
    """

    arithmetic: Arithmetic
    _nodes: list[Any] = field(default_factory=list)
    _inputs: list[Any] = field(default_factory=list)
    _outputs: list[Any] = field(default_factory=list)
    _constants: list[Any] = field(default_factory=list)
    _rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def add_input(self, name: str, sizes: Sizes) -> str:
        from onnx import helper

        self._inputs.append(helper.make_tensor_value_info(name, self._type, sizes))
        return name

    def add_output(self, name: str) -> None:
        from onnx import helper

        self._outputs.append(helper.make_tensor_value_info(name, self._type, None))

    def add_layer(self, shape: LayerShape, inputs: Sequence[str]) -> str:
        values = [self._real(name) for name in inputs]
        return self._stored(self._computed(shape, values))

    def add_node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        from onnx import helper

        output = f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def reshaped(self, name: str, given: Sizes, wanted: Sizes, layer: str) -> str:
        if given == wanted:
            return name
        if math.prod(given) != math.prod(wanted):
            raise UnsupportedLayerError(
                f"{layer} reads {'x'.join(map(str, wanted))} values of a tensor of {'x'.join(map(str, given))}: its "
                "sizes do not say which."
            )
        return self.add_node("Reshape", [name, self._constant(np.array(wanted, dtype=np.int64))])

    def serialized(self, name: str) -> bytes:
        from onnx import helper

        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, initializer=self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="offramp")
        model.ir_version = 8
        return bytes(model.SerializeToString())

    @property
    def _type(self) -> int:
        from onnx import TensorProto

        return int(TensorProto.UINT8 if self.arithmetic == "int8" else TensorProto.FLOAT)

    def _computed(self, shape: LayerShape, values: Sequence[str]) -> str:
        if shape.op in TWO_INPUTS:
            return self.add_node("Add" if shape.op is Op.ADD else "Mul", [values[0], values[-1]])
        if shape.op is Op.CONCAT:
            return self.add_node("Concat", values, axis=1)
        if shape.op in POOL_OPS:
            return self._pooled(shape, values[0])
        if shape.op is Op.DENSE and shape.g == 1:
            weights = self._weights((shape.k, shape.c), shape.k)
            return self.add_node("Gemm", [values[0], *weights], transB=1)
        weights = self._weights((shape.g * shape.k, shape.c, shape.fy, shape.fx), shape.g * shape.k)
        return self.add_node("Conv", [values[0], *weights], group=shape.g, **_window(shape))

    def _pooled(self, shape: LayerShape, value: str) -> str:
        if shape.op is Op.MAX_POOL:
            return self.add_node("MaxPool", [value], **_window(shape))
        if (shape.oy, shape.ox) == (1, 1) and not any(shape.padding) and (shape.fy, shape.fx) == (shape.iy, shape.ix):
            return self.add_node("GlobalAveragePool", [value])
        window = _window(shape)
        del window["dilations"]
        return self.add_node("AveragePool", [value], count_include_pad=1, **window)

    def _weights(self, sizes: Sizes, channels: int) -> list[str]:
        if self.arithmetic != "int8":
            values = self._rng.standard_normal(sizes, dtype=np.float32) / np.float32(math.sqrt(math.prod(sizes[1:])))
            return [self._constant(values), self._constant(np.zeros(channels, np.float32))]
        integers = self._rng.integers(-127, 128, sizes, dtype=np.int8)
        scale = np.full(channels, _WEIGHT_SCALE, np.float32)
        zeros = np.zeros(channels, np.int8)
        bias = (np.zeros(channels, np.int32), _SCALE * scale)
        return [
            self.add_node("DequantizeLinear", [self._constant(part) for part in parts], axis=0)
            for parts in ((integers, scale, zeros), bias)
        ]

    def _real(self, name: str) -> str:
        return self.add_node("DequantizeLinear", [name, *self._grid()]) if self.arithmetic == "int8" else name

    def _stored(self, name: str) -> str:
        return self.add_node("QuantizeLinear", [name, *self._grid()]) if self.arithmetic == "int8" else name

    def _grid(self) -> list[str]:
        return [self._constant(np.array(_SCALE, np.float32)), self._constant(np.array(_ZERO_POINT, np.uint8))]

    def _constant(self, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name


def _window(shape: LayerShape) -> dict[str, list[int]]:
    return {
        "kernel_shape": [shape.fy, shape.fx],
        "strides": [shape.stride_y, shape.stride_x],
        "dilations": [shape.dilation_y, shape.dilation_x],
        "pads": list(shape.padding),
    }
