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
    batches: tuple[int, ...] = (1, 3)
    opset: int = 18


def ints(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


def floats(*shape: int) -> Any:
    return np.full(shape, 0.5, dtype=np.float32)


_VECTOR = (3,)
_ONE, _CHANNELS = floats(1), floats(4)
INT64 = TensorProto.INT64
BITWISE = ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
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
            Case((1, 5, 4, 4), attributes={"kernel_shape": [3, 1, 1], "strides": [1, 1, 1]}),
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
CASES |= {
    "BitwiseNot": [Case(element=TensorProto.INT32)],
    **{name: [Case(constants=(np.int32(3),), element=TensorProto.INT32)] for name in BITWISE},
    "BitShift": [Case(constants=(np.uint8(1),), element=TensorProto.UINT8, attributes={"direction": "LEFT"})],
    "Mod": [Case(constants=(np.float32(0.3),), attributes={"fmod": 1}), Case(constants=(ints(3),), element=INT64)],
    "CastLike": [Case(constants=(ints(3),))],
    "Shrink": [Case(attributes={"lambd": 0.5, "bias": 0.0})],
    "LRN": [Case(attributes={"size": 3, "alpha": 1e-4, "beta": 0.75, "bias": 1.0})],
    "LpPool": [
        Case(attributes={"kernel_shape": [2, 3], "strides": [2, 2], "pads": [1, 1, 0, 1], "p": 2}),
        Case((2, 7, 5), attributes={"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ],
    "Resize": [
        Case(constants=(None, np.float32([1, 1, 2, 2])), attributes={"mode": "nearest", "nearest_mode": "floor"}),
        Case((4, 7, 5), constants=(None, np.float32([1, 1, 0.7, 1.3])), attributes={"mode": "linear"}),
        Case((4, 7, 5), constants=(None, np.float32([0.33, 2.9])), attributes={"mode": "cubic", "axes": [2, 3]}),
        Case(constants=(None, None, ints(9, 4)), attributes={"mode": "linear", "axes": [2, -1]}),
        Case(constants=(None, None, ints(9, 4)), attributes={"mode": "linear", "axes": [2, 3], "antialias": 1}),
        Case((4, 9), constants=(None, np.float32([1, 1, 2])), attributes={"mode": "linear"}),
    ],
    "ConvTranspose": [
        Case(constants=(floats(4, 3, 3, 3), floats(3)), attributes={"strides": [2, 2], "pads": [1, 0, 1, 2]}),
        Case(
            constants=(floats(4, 3, 2, 3), floats(6)),
            attributes={"strides": [3, 2], "group": 2, "output_padding": [1, 0], "dilations": [2, 1]},
        ),
        Case((4, 9), constants=(floats(4, 2, 3),), attributes={"strides": [2]}),
    ],
    "Col2Im": [
        Case((8, 9), constants=(ints(6, 6), ints(2, 2)), attributes={"strides": [2, 2]}),
        Case((12, 12), constants=(ints(3, 4), ints(2, 3)), attributes={"pads": [1, 0, 0, 2]}),
    ],
    "GatherElements": [Case((2, 3), constants=(np.array([[[0, 1, 1]]]),), attributes={"axis": 1}, batches=(1,))],
    "GatherND": [Case(constants=(np.array([[0, 1], [0, 3]]),))],
    "ScatterElements": [
        Case((2, 3), constants=(np.array([[[0, 1, 1]]]), floats(1, 1, 3)), attributes={"axis": 1, "reduction": "add"})
    ],
    "ScatterND": [Case(constants=(np.array([[0, 1], [0, 3]]), floats(2, 6, 6)))],
    "CumSum": [Case(constants=(ints(1)[0],), attributes={"reverse": 1})],
    "Trilu": [Case(), Case(constants=(ints(1)[0],), attributes={"upper": 0})],
    "OneHot": [
        Case((), constants=(ints(7), floats(2)), element=INT64),
        Case((3,), constants=(ints(7), floats(2)), element=INT64, attributes={"axis": 1}),
    ],
    "Einsum": [
        Case(attributes={"equation": "bchw->bhc"}),
        Case(constants=(floats(3, 4),), attributes={"equation": "bchw, dc -> bdhw"}),
        Case((2, 3, 4), constants=(floats(4, 5), floats(5, 2)), attributes={"equation": "bhid,de,ec->bhic"}),
    ],
    **{
        name: [
            Case(
                (2, 3),
                constants=(floats(way, gates * 5, 3), floats(way, gates * 5, 5), floats(way, 2 * gates * 5)),
                attributes={"hidden_size": 5, "direction": "bidirectional" if way == 2 else "reverse"},
                num_outputs=2,
            )
            for way in (1, 2)
        ]
        for name, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1))
    },
}

# Described in a test of their own below, or by an operator set that this onnxruntime has no kernel for.
_ARITY = {"GridSample": Case(constants=(floats(1, 3, 3, 2),)), "Range": Case((), (ints(5)[0], ints(1)[0]), {}, INT64)}
_ELSEWHERE = {"Concat", "ConstantOfShape", "Swish", "Range", "GridSample"}


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
    for batch in case.batches:
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
    case = _ARITY.get(name) or next(iter(CASES.get(name) or [Case()]))
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


def several(nodes: list[Any], shape: Shape, weights: dict[str, Any], result: int = TensorProto.FLOAT) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("y", result, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize(
    ("nodes", "shape", "weights", "result", "expected"),
    [
        (
            [
                helper.make_node("Transpose", ["x"], ["grid"], perm=[0, 2, 3, 1]),
                helper.make_node("GridSample", ["x", "grid"], ["y"], mode="bilinear", padding_mode="border"),
            ],
            (2, 5, 4),
            {},
            TensorProto.FLOAT,
            (Batched(1), 2, 5, 4),
        ),
        (
            [
                helper.make_node("Shape", ["x"], ["s"], end=1),
                helper.make_node("Squeeze", ["s", "axis"], ["n"]),
                helper.make_node("Range", ["start", "n", "step"], ["y"]),
            ],
            (4,),
            {"start": np.int64(0), "step": np.int64(1), "axis": ints(0)},
            INT64,
            (Batched(1),),
        ),
        (
            [
                helper.make_node("Range", ["start", "end", "step"], ["r"]),
                helper.make_node("Gather", ["x", "r"], ["y"], axis=1),
            ],
            (9,),
            {"start": np.int64(7), "end": np.int64(-1), "step": np.int64(-3)},
            TensorProto.FLOAT,
            (Batched(1), 3),
        ),
        (
            [
                helper.make_node("Shape", ["x"], ["s"], end=2),
                helper.make_node("Concat", ["s", "hw"], ["all"], axis=0),
                helper.make_node("Resize", ["x", "", "", "all"], ["y"], mode="linear"),
            ],
            (2, 5, 4),
            {"hw": ints(7, 3)},
            TensorProto.FLOAT,
            (Batched(1), 2, 7, 3),
        ),
        (
            [helper.make_node("Einsum", ["x", "x"], ["y"], equation="bhid,bhjd->bhij")],
            (2, 5, 4),
            {},
            TensorProto.FLOAT,
            (Batched(1), 2, 5, 5),
        ),
    ],
)
def test_rules_of_sizes_that_follow_the_batch(
    nodes: list[Any], shape: Shape, weights: dict[str, Any], result: int, expected: Any
) -> None:
    checked = check_graph(several(nodes, shape, weights, result).SerializeToString(), "file")
    assert checked.outputs["y"].shape == expected
    session = onnxruntime.InferenceSession(checked.content(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.ones((3, *shape), np.float32)})
    assert found.shape == tuple(size.times * 3 if isinstance(size, Batched) else size for size in expected)


@pytest.mark.parametrize(
    ("case", "macs"),
    [
        # Each of 2 x 9 x 9 inputs is multiplied with 3 filters of 2 x 2.
        (("ConvTranspose", Case((2, 9, 9), (floats(2, 3, 2, 2),))), 2 * 81 * 3 * 4),
        # 8 x 4 values of a plane, each from 2 x 2 neighbours.
        (("Resize", Case((1, 4, 4), (None, np.float32([1, 1, 2, 1])), {"mode": "linear"})), 32 * 2),
        # 6 x 6 places, 4 channels, 3 results; then nothing more.
        (("Einsum", Case((4, 6, 6), (floats(3, 4),), {"equation": "bchw,dc->bdhw"})), 36 * 4 * 3),
        # 3 x 4 x 5 products, then 3 x 5 x 2 of the result.
        (("Einsum", Case((3, 4), (floats(4, 5), floats(5, 2)), {"equation": "bid,de,ec->bic"})), 60 + 30),
    ],
)
def test_multiplications_of_a_rule_by_hand(case: tuple[str, Case], macs: int) -> None:
    assert check_graph(made(*case).SerializeToString(), case[0]).demand.macs == macs


@pytest.mark.parametrize(
    ("name", "case", "words"),
    [
        ("Resize", Case(constants=(None, np.float32([1, 1, 1e9, 1e9]))), "at most"),
        ("Resize", Case(constants=(None, np.float32([2, 1, 1, 1]))), "needs a fixed size"),
        ("Resize", Case(constants=(None, np.float32([1, 1, -1, 1]))), "scales above 0"),
        ("Resize", Case(constants=(None, None, ints(1, 4, 9, 9))), "needs a fixed size"),
        ("Resize", Case(constants=(None, np.float32([1, 1, 2, 2]), ints(1, 4, 9, 9))), "either sizes or scales"),
        ("ConvTranspose", Case(constants=(floats(4, 3, 3, 3),), attributes={"strides": [2**30, 1]}), "at most"),
        ("ConvTranspose", Case(constants=(floats(4, 3, 3, 3),), attributes={"output_shape": [9]}), "'output_shape'"),
        ("Einsum", Case(attributes={"equation": "bchw->bchwx"}), "no input has"),
        ("Einsum", Case(attributes={"equation": "bccw->bcw"}), "each letter once"),
        ("Einsum", Case(attributes={"equation": "...->..."}), "equation of letters"),
        ("Einsum", Case((2**9, 2**9, 1), (floats(2**9, 2**9),), {"equation": "bxyz,uv->bxyuv"}), "at most"),
        ("Col2Im", Case((8, 9), constants=(ints(2**20, 2**20), ints(2, 2))), "blocks of"),
        ("OneHot", Case((), constants=(ints(2**40), floats(2)), element=INT64), "at most"),
        ("Range", Case((), (ints(2**40)[0], ints(1)[0]), {}, INT64), "size that can be told"),
        ("Div", Case(constants=(ints(0),), element=INT64), "constant above 0"),
        ("Div", Case(constants=(ints(-1),), element=INT64), "constant above 0"),
        ("Mod", Case(constants=(np.uint8([0]),), element=TensorProto.UINT8), "constant above 0"),
        ("LRN", Case(attributes={"size": 2**31 - 1}), "1 to 4 channels"),
        ("LRN", Case(attributes={"size": 0}), "1 to 4 channels"),
        ("LSTM", Case((2, 3), (floats(1, 20, 3), floats(1, 20, 5)), {"hidden_size": 2**30}), "must have an input 1"),
        ("PRelu", Case((4, 1), (floats(1, 7),)), "cannot hold"),
        ("PRelu", Case((4, 1), (floats(1, 1, 4, 1),)), "cannot hold"),
        *(
            (name, Case((0, 2), (floats(1, 5 * gates, 2), floats(1, 5 * gates, 5)), {"hidden_size": 5}), "at least one")
            for name, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1))
        ),
    ],
)  # fmt: skip
def test_sizes_beyond_bounds_are_refused_by_the_rule(name: str, case: Case, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        check_graph(made(name, case).SerializeToString(), name)


@pytest.mark.parametrize("shape", [(), (3,), (8, 4)])
def test_a_weight_without_a_window_is_refused(shape: Shape) -> None:
    with pytest.raises(BundleError, match="must have a weight with a window"):
        check_graph(made("Conv", Case(constants=(floats(*shape),))).SerializeToString(), "Conv")
