"""Damage to an ONNX graph node by node, as somebody does who knows the format: the file still parses."""

import struct
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPERATORS = (
    *("Relu", "Identity", "Tile", "Expand", "Concat", "ConstantOfShape", "Cast", "Shape", "Reshape", "Pad", "Slice"),
    *("Gather", "MatMul", "Conv", "MaxPool", "ReduceMax", "TopK", "If", "Loop", "Scan", "NonZero", "StringConcat"),
    *("Resize", "Range", "Split", "Sum", "Transpose", "Flatten", "QuantizeLinear", "DequantizeLinear", "Einsum"),
)
_NUMBERS = (0, 1, -1, 2, 3, 7, 64, 1000, 2**15, 2**20, 2**27, 2**31 - 1, 2**31, 2**40, 2**62, -(2**63))
_FLOATS = (0.0, 1.0, -1.0, 1e-30, 3e38, float("nan"), float("inf"), 65536.0)


def mutate_graph(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three changes to the graph, or to a graph inside it; what does not parse becomes longer by some bytes."""
    try:
        model = onnx.load_model_from_string(content)
    except Exception:
        return content + rng.bytes(4)
    for _ in range(int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))):
        graph = model.graph
        inner = [item.g for node in graph.node for item in node.attribute if item.HasField("g")]
        if inner and rng.random() < 0.5:
            graph = _any(inner, rng)
        _any(_CHANGES, rng)(model, graph, rng)
    result: bytes = model.SerializeToString()
    return b"\x32\x84\x80\x00ORTM" + result if rng.random() < 0.02 else result


def _any(items: Any, rng: np.random.Generator) -> Any:
    return items[int(rng.integers(len(items)))]


def _values(graph: Any) -> list[str]:
    names = [item.name for item in (*graph.input, *graph.initializer)]
    return [*names, *(name for node in graph.node for name in node.output)] or ["images"]


def _repeat_node(model: Any, graph: Any, rng: np.random.Generator) -> None:
    if graph.node:
        graph.node.insert(int(rng.integers(len(graph.node) + 1)), _any(graph.node, rng))


def _remove_node(model: Any, graph: Any, rng: np.random.Generator) -> None:
    if graph.node:
        del graph.node[int(rng.integers(len(graph.node)))]


def _change_operator(model: Any, graph: Any, rng: np.random.Generator) -> None:
    if graph.node:
        _any(graph.node, rng).op_type = str(_any(_OPERATORS, rng))


def _change_input(model: Any, graph: Any, rng: np.random.Generator) -> None:
    if graph.node:
        node = _any(graph.node, rng)
        if node.input and rng.random() < 0.7:
            node.input[int(rng.integers(len(node.input)))] = _any(_values(graph), rng)
        else:
            node.input.append(_any(_values(graph), rng))


def _change_output(model: Any, graph: Any, rng: np.random.Generator) -> None:
    if graph.node:
        node = _any(graph.node, rng)
        node.output[int(rng.integers(len(node.output)))] = _any(_values(graph), rng)


def _change_attribute(model: Any, graph: Any, rng: np.random.Generator) -> None:
    owners = [item for node in graph.node for item in node.attribute]
    if not owners:
        return
    item = _any(owners, rng)
    if item.ints and rng.random() < 0.8:
        item.ints[int(rng.integers(len(item.ints)))] = int(_any(_NUMBERS, rng))
    elif rng.random() < 0.5:
        item.i, item.f = int(_any(_NUMBERS, rng)), float(_any(_FLOATS, rng))
    else:
        item.name, item.s = str(_any(owners, rng).name), b"\x1b[2J"


def _change_weight(model: Any, graph: Any, rng: np.random.Generator) -> None:
    if not graph.initializer:
        return
    tensor = _any(graph.initializer, rng)
    kind = int(rng.integers(4))
    if kind == 0 and tensor.dims:
        tensor.dims[int(rng.integers(len(tensor.dims)))] = int(_any(_NUMBERS, rng))
    elif kind == 1:
        tensor.data_type = int(rng.integers(27))
    elif tensor.data_type == TensorProto.INT64 and len(tensor.raw_data) >= 8:
        tensor.raw_data = struct.pack("<q", int(_any(_NUMBERS, rng))) + tensor.raw_data[8:]
    elif tensor.data_type == TensorProto.FLOAT and len(tensor.raw_data) >= 4:
        tensor.raw_data = struct.pack("<f", float(np.float32(_any(_FLOATS, rng)))) + tensor.raw_data[4:]


def _change_shape(model: Any, graph: Any, rng: np.random.Generator) -> None:
    ends = [*graph.input, *graph.output]
    dims = [dim for item in ends for dim in item.type.tensor_type.shape.dim]
    if dims:
        _any(dims, rng).dim_value = int(_any(_NUMBERS, rng))


def _insert_node(model: Any, graph: Any, rng: np.random.Generator) -> None:
    """A node between a value and one of its readers, with constants that a size is computed from."""
    readers = [node for node in graph.node if node.input]
    if not readers:
        return
    reader, number = _any(readers, rng), len(graph.node) + int(rng.integers(1000))
    place, name = int(rng.integers(len(reader.input))), f"inserted_{number}"
    operator = str(_any(_OPERATORS, rng))
    sizes = np.array([_any(_NUMBERS[:10], rng) for _ in range(int(rng.integers(1, 5)))], dtype=np.int64)
    graph.initializer.append(numpy_helper.from_array(sizes, f"{name}_sizes"))
    source = reader.input[place]
    inputs = {"Concat": [source, source], "ConstantOfShape": [f"{name}_sizes"], "Relu": [source], "Sum": [source] * 2}
    attributes = {"Concat": {"axis": int(rng.integers(4))}, "Cast": {"to": int(rng.integers(1, 14))}}
    given = inputs.get(operator, [source, f"{name}_sizes"][: 1 if operator in attributes else 2])
    node = helper.make_node(operator, given, [name], **attributes.get(operator, {}))
    graph.node.insert(list(graph.node).index(reader), node)
    reader.input[place] = name


def _double(model: Any, graph: Any, rng: np.random.Generator) -> None:
    """A value that is joined with itself many times before it is read."""
    readers = [node for node in graph.node if node.input]
    if not readers:
        return
    reader, name = _any(readers, rng), f"doubled_{int(rng.integers(10**6))}"
    place, previous = list(graph.node).index(reader), reader.input[0]
    for level in range(int(rng.integers(1, 60))):
        node = helper.make_node("Concat", [previous, previous], [f"{name}_{level}"], axis=int(rng.integers(2)))
        graph.node.insert(place + level, node)
        previous = f"{name}_{level}"
    reader.input[0] = previous


def _change_model(model: Any, graph: Any, rng: np.random.Generator) -> None:
    kind = int(rng.integers(4))
    if kind == 0:
        model.opset_import[0].version = int(rng.integers(0, 40))
    elif kind == 1:
        model.metadata_props.add(key="ort_config", value="{}")
    elif kind == 2:
        graph.value_info.append(helper.make_tensor_value_info(_any(_values(graph), rng), 1, [1]))
    else:
        graph.output.append(helper.make_tensor_value_info(_any(_values(graph), rng), 1, None))


_CHANGES = (
    *(_repeat_node, _remove_node, _change_operator, _change_input, _change_input, _change_output),
    *(_change_attribute, _change_attribute, _change_weight, _change_weight, _change_shape),
    *(_insert_node, _insert_node, _insert_node, _double, _change_model),
)
