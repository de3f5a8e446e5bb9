"""The layers of a TensorFlow Lite file as plain figures, read straight from its flat buffers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tflite

_OPERATORS = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
_FREE = {"RESHAPE", "SOFTMAX"}


@dataclass(frozen=True)
class FileLayer:
    """What a layer is, in the loop sizes of a workload; parameters are weights and biases."""

    op: str
    groups: int
    out_channels: int
    in_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    output: tuple[int, int]
    weights: int
    biases: int
    macs: int


def read_layers(path: Path) -> list[FileLayer]:
    """All layers in order of execution, without changes of shape and softmax."""
    model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    layers = []
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        name = _OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        if name not in _FREE:
            layers.append(_layer(name, operator, graph))
    return layers


def _layer(name: str, operator: Any, graph: Any) -> FileLayer:
    shapes = [tuple(map(int, graph.Tensors(i).ShapeAsNumpy())) for i in operator.InputsAsNumpy()]
    (result,) = [tuple(map(int, graph.Tensors(i).ShapeAsNumpy())) for i in operator.OutputsAsNumpy()]
    output = (result[1], result[2]) if len(result) == 4 else (1, 1)
    channels = result[-1]
    if name == "CONV_2D":
        out_channels, height, width, in_channels = shapes[1]
        return _matrix("conv", (1, out_channels, in_channels), (height, width), _strides(operator, "Conv2D"), output)
    if name == "DEPTHWISE_CONV_2D":
        _, height, width, groups = shapes[1]
        return _matrix("conv", (groups, 1, 1), (height, width), _strides(operator, "DepthwiseConv2D"), output)
    if name == "FULLY_CONNECTED":
        return _matrix("dense", (1, *shapes[1]), (1, 1), (1, 1), output)
    if name == "AVERAGE_POOL_2D":
        options = _options(operator, "Pool2D")
        kernel = (options.FilterHeight(), options.FilterWidth())
        return FileLayer("avg_pool", channels, 1, 1, kernel, (0, 0), output, 0, 0, 0)
    assert name == "ADD", name
    return FileLayer("add", channels, 1, 1, (1, 1), (0, 0), output, 0, 0, 0)


def _matrix(
    op: str, channels: tuple[int, ...], kernel: tuple[int, int], stride: tuple[int, int], output: tuple[int, int]
) -> FileLayer:
    groups, out_channels, in_channels = channels
    weights = int(np.prod([*channels, *kernel]))
    return FileLayer(
        op,
        groups,
        out_channels,
        in_channels,
        kernel,
        stride,
        output,
        weights,
        biases=groups * out_channels,
        macs=weights * output[0] * output[1],
    )


def _options(operator: Any, kind: str) -> Any:
    table = operator.BuiltinOptions()
    options = getattr(tflite, f"{kind}Options")()
    options.Init(table.Bytes, table.Pos)
    return options


def _strides(operator: Any, kind: str) -> tuple[int, int]:
    options = _options(operator, kind)
    return options.StrideH(), options.StrideW()


def num_parameters(path: Path) -> int:
    """Values of all weights and biases stored in the file, as float or, in the keyword spotter's file, as 8 bits."""
    model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    tensors = [graph.Tensors(index) for index in range(graph.TensorsLength())]
    stored = [tensor for tensor in tensors if model.Buffers(tensor.Buffer()).DataLength() > 0]
    kinds = (tflite.TensorType.FLOAT32, tflite.TensorType.INT8)
    return sum(int(np.prod(tensor.ShapeAsNumpy())) for tensor in stored if tensor.Type() in kinds)
