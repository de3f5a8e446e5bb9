"""The rule of each operator says the shapes and types that onnxruntime gives, for any batch size."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from offramp.deploy.graph_rules.graph_walk import OPERATORS
from offramp.deploy.graph_rules.tensor_facts import Batched
from offramp.deploy.runtime.graph_check import check_graph
from offramp.errors import BundleError

Shape = tuple[int, ...]


@dataclass
class Case:
    """A node on an input ``x`` (batch, *shape); ``constants`` are further inputs, None for one that is left out."""

    shape: Shape = (4, 6, 6)
    constants: tuple[Any, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    element: int = TensorProto.FLOAT
    num_outputs: int = 1
    opset: int = 18


def ints(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


def floats(*shape: int) -> Any:
    return np.full(shape, 0.5, dtype=np.float32)


_VECTOR = (3,)
_ONE, _CHANNELS = floats(1), floats(4)
_BOOL = {"element": TensorProto.BOOL}

CASES: dict[str, list[Case]] = {
    "Clip": [Case(constants=(np.float32(0), np.float32(6))), Case(constants=(None, np.float32(6)))],
    "PRelu": [Case(constants=(floats(4, 1, 1),))],
    "Gelu": [Case(opset=20, attributes={"approximate": "tanh"})],
    "Mish": [Case()],
    "Swish": [],
    "Not": [Case(**_BOOL)],
    **{name: [Case(constants=(np.array([True]),), **_BOOL)] for name in ("And", "Or", "Xor")},
    **{name: [Case(constants=(floats(4, 1, 6),))] for name in ("Add", "Sub", "Mul", "Div", "Pow")},
    **{name: [Case(constants=(floats(6), floats(1, 4, 1, 1)))] for name in ("Max", "Min", "Sum", "Mean")},
    **{
        name: [Case(constants=(floats(6, 1),))]
        for name in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    },
    "Where": [Case(constants=(floats(6), floats(4, 1, 1)), **_BOOL)],
    "Cast": [Case(attributes={"to": TensorProto.INT64}), Case(attributes={"to": TensorProto.DOUBLE})],
    "QuantizeLinear": [
        Case(constants=(np.float32(0.1), np.int8(0))),
        Case(constants=(floats(4), np.zeros(4, np.uint8)), attributes={"axis": 1}),
    ],
    "DequantizeLinear": [Case(constants=(np.float32(0.1), np.int8(0)), element=TensorProto.INT8)],
    "Conv": [
        Case(constants=(floats(8, 4, 3, 3), floats(8)), attributes={"strides": [2, 2], "pads": [1, 0, 1, 2]}),
        Case(constants=(floats(4, 1, 3, 3),), attributes={"group": 4, "dilations": [2, 2]}),
        Case(constants=(floats(8, 4, 2, 2),), attributes={"auto_pad": "SAME_UPPER", "strides": [4, 4]}),
        Case(constants=(floats(8, 4, 2, 2),), attributes={"auto_pad": "VALID", "kernel_shape": [2, 2]}),
        Case((4, 9), constants=(floats(8, 4, 3),)),
    ],
    "MatMul": [
        Case((5, 7), constants=(floats(7, 2),)),
        Case((3, 5, 7), constants=(floats(3, 7, 2),)),
        Case((7,), constants=(floats(7, 2),)),
    ],
    "Gemm": [Case((7,), constants=(floats(3, 7), floats(3)), attributes={"transB": 1, "alpha": 0.5})],
    **{
        name: [
            Case(attributes={"kernel_shape": [2, 3], "strides": [2, 2], "pads": [1, 1, 0, 1]}),
            Case((2, 7, 7), attributes={"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
            Case(
                (2, 6, 6), attributes={"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1}
            ),
            Case((2, 7, 5), attributes={"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
        ]
        for name in ("MaxPool", "AveragePool")
    },
    "Softmax": [Case(attributes={"axis": -1})],
    "LogSoftmax": [Case(attributes={"axis": 1})],
    "LpNormalization": [Case(attributes={"axis": 1, "p": 2})],
    "BatchNormalization": [Case(constants=(_CHANNELS, _CHANNELS, _CHANNELS, _CHANNELS), attributes={"epsilon": 1e-3})],
    "InstanceNormalization": [Case(constants=(_CHANNELS, _CHANNELS))],
    "LayerNormalization": [Case(constants=(floats(6), floats(6)), attributes={"axis": -1})],
    "RMSNormalization": [Case(constants=(floats(6),), opset=23)],
    "GroupNormalization": [Case(constants=(_CHANNELS, _CHANNELS), attributes={"num_groups": 2}, opset=21)],
    "ArgMax": [Case(attributes={"axis": 1, "keepdims": 0}), Case(attributes={"axis": -1})],
    "ArgMin": [Case(attributes={"axis": 2})],
    "TopK": [Case(constants=(ints(2),), attributes={"axis": 1}, num_outputs=2)],
    "Reshape": [
        Case(constants=(ints(-1, 4, 36),)),
        Case(constants=(ints(0, -1),)),
        Case(constants=(ints(-1, 6),)),
        Case(constants=(ints(-1, 2, 72),), attributes={"allowzero": 1}),
    ],
    "Flatten": [Case(), Case(attributes={"axis": 2}), Case(attributes={"axis": -1})],
    "Squeeze": [Case((1, 6, 1), constants=(ints(1, -1),))],
    "Unsqueeze": [Case(constants=(ints(1, -1),)), Case(constants=(ints(0),))],
    "Transpose": [Case(attributes={"perm": [0, 2, 3, 1]}), Case()],
    "Expand": [Case((1, 6), constants=(ints(1, 4, 6),)), Case((4, 1), constants=(ints(3, 1, 1, 5),))],
    "Tile": [Case(constants=(ints(1, 2, 1, 3),)), Case((3,), constants=(ints(2, 1),))],
    "Split": [
        Case(attributes={"axis": 1, "num_outputs": 3}, shape=(5, 2), num_outputs=3),
        Case(constants=(ints(1, 3),), attributes={"axis": 1}, num_outputs=2),
    ],
    "Slice": [
        Case(constants=(ints(1), ints(2**62), ints(1))),
        Case(constants=(ints(-1), ints(-(2**62)), ints(2), ints(-2))),
        Case(constants=(ints(0, 1), ints(2**31 - 1, -1))),
        Case(constants=(ints(9), ints(3), ints(3))),
    ],
    "Gather": [
        Case(constants=(np.array(2),), attributes={"axis": 1}),
        Case(constants=(np.array([[0, -1], [1, 2]]),), attributes={"axis": 2}),
    ],
    "Pad": [Case(constants=(ints(0, 0, 1, 2, 0, 0, 3, -1),)), Case(constants=(ints(1, 2), None, ints(3)))],
    "DepthToSpace": [Case(attributes={"blocksize": 2, "mode": "CRD"})],
    "SpaceToDepth": [Case(attributes={"blocksize": 3})],
    "Shape": [Case(), Case(attributes={"start": -2}), Case(attributes={"start": 1, "end": -1})],
    **{
        name: [
            Case(constants=(ints(1, -1),), attributes={"keepdims": 0}),
            Case(),
            Case(constants=(ints(),), attributes={"noop_with_empty_axes": 1}),
            Case(constants=(ints(2),)),
        ]
        for name in OPERATORS
        if name.startswith("Reduce")
    },
}
# Described in a test of their own below, or by an operator set that this onnxruntime has no kernel for.
_ELSEWHERE = {"Concat", "ConstantOfShape", "Swish"}


def cases() -> list[Any]:
    found = []
    for name in sorted(OPERATORS):
        listed = CASES.get(name, [] if name in _ELSEWHERE else [Case()])
        found += [pytest.param(name, case, id=f"{name}-{number}") for number, case in enumerate(listed)]
    return found


def made(name: str, case: Case) -> Any:
    inputs, initializers = ["x"], []
    for number, value in enumerate(case.constants):
        inputs.append("" if value is None else f"c{number}")
        if value is not None:
            initializers.append(numpy_helper.from_array(np.asarray(value), f"c{number}"))
    outputs = [f"y{number}" for number in range(case.num_outputs)]
    node = helper.make_node(name, inputs, outputs, **case.attributes)
    source = helper.make_tensor_value_info("x", case.element, ["batch", *case.shape])
    opsets = [helper.make_opsetid("", case.opset)]
    results = [onnx.ValueInfoProto(name=output) for output in outputs]
    graph = helper.make_graph([node], "g", [source], results, initializers)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    for inferred, result in zip(onnx.shape_inference.infer_shapes(model).graph.output, results, strict=True):
        result.type.tensor_type.elem_type = inferred.type.tensor_type.elem_type or case.element
    del model.graph.output[:]
    model.graph.output.extend(results)
    return model


@pytest.mark.parametrize(("name", "case"), cases())
def test_a_rule_says_what_onnxruntime_gives(name: str, case: Case) -> None:
    graph = check_graph(made(name, case).SerializeToString(), name)
    session = onnxruntime.InferenceSession(graph.content(), providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        kind = helper.tensor_dtype_to_np_dtype(case.element)
        results = session.run(None, {"x": np.ones((batch, *case.shape), kind)})
        for found, (output, facts) in zip(results, graph.outputs.items(), strict=True):
            sizes = tuple(size.times * batch if isinstance(size, Batched) else size for size in facts.shape)
            assert found.shape == sizes, output
            assert helper.np_dtype_to_tensor_dtype(found.dtype) == facts.element, output
            if batch == 1:
                assert facts.size_bytes == found.nbytes


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_an_attribute_that_offramp_does_not_write_is_refused(name: str) -> None:
    case = next(iter(CASES.get(name) or [Case()]))
    model = made(name, case)
    model.graph.node[0].attribute.append(helper.make_attribute("strange", 1))
    with pytest.raises(BundleError, match="'strange'"):
        check_graph(model.SerializeToString(), name)


def test_shapes_of_attention_follow_the_batch() -> None:
    """Heads go to the batch axis and back, with shapes that the graph computes, as the exporter of torch writes it."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s", "zero", "two"], ["front"]),
        helper.make_node("Slice", ["s", "two", "end"], ["back"]),
        helper.make_node("Concat", ["minus", "back"], ["flat"], axis=0),
        helper.make_node("Reshape", ["x", "flat"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Gather", ["back", "swap"], ["swapped"], axis=0),
        helper.make_node("Concat", ["front", "swapped"], ["four"], axis=0),
        helper.make_node("Reshape", ["turned", "four"], ["y"]),
    ]
    weights = {"zero": ints(0), "two": ints(2), "end": ints(2**62), "minus": ints(-1), "swap": ints(1, 0)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, 5, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    checked = check_graph(model.SerializeToString(), "attention")
    assert checked.outputs["y"].shape == (Batched(1), 2, 3, 5)
    session = onnxruntime.InferenceSession(checked.content(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.ones((4, 2, 5, 3), np.float32)})[0].shape == (4, 2, 3, 5)


@pytest.mark.parametrize("shape", [(), (3,), (8, 4)])
def test_a_weight_without_a_window_is_refused(shape: Shape) -> None:
    with pytest.raises(BundleError, match="must have a weight with a window"):
        check_graph(made("Conv", Case(constants=(floats(*shape),))).SerializeToString(), "Conv")
