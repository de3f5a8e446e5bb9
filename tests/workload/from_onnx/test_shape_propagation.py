"""Shapes that a graph computes are known where its input is fixed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from offramp.workload.from_onnx.shape_propagation import propagate_shapes
from tests.workload.from_onnx.onnx_samples import Net, workload_from_onnx


def padded_as_in_tensorflow(net: Net, x: str) -> str:
    """Padding computed from the shape of the tensor: for 8 rows, stride 2 and kernel 3, one row at the end."""
    rows = net.op("Gather", net.op("Shape", x), net.constant(2, np.int64), axis=0)
    halved = net.op("Div", net.op("Add", rows, net.constant(1, np.int64)), net.constant(2, np.int64))
    covered = net.op(
        "Add",
        net.op("Mul", net.op("Sub", halved, net.constant(1, np.int64)), net.constant(2, np.int64)),
        net.constant(3, np.int64),
    )
    total = net.op("Max", net.op("Sub", covered, rows), net.constant(0, np.int64))
    one = net.op("Unsqueeze", total, net.constant([0], np.int64))
    pads = net.op("Concat", net.constant([0] * 6, np.int64), one, one, axis=0)
    return net.op("Pad", x, pads)


def test_padding_that_is_computed_from_a_shape_has_a_known_size(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    padded = padded_as_in_tensorflow(net, net.input)
    out = net.conv(padded, 4, 3, strides=[2, 2], pads=[0] * 4)
    (layer,) = workload_from_onnx(net.exit(out).save(tmp_path)).layers
    assert (layer.shape.iy, layer.shape.ix, layer.shape.oy, layer.shape.ox) == (9, 9, 4, 4)
    assert layer.shape.macs == 4 * 3 * 9 * 16


def windows(net: Net, x: str) -> str:
    """A reshape into windows of 2 x 2, as of a transformer with windows, whose target is computed."""
    shape = net.op("Shape", x)
    sizes = [net.op("Gather", shape, net.constant([axis], np.int64), axis=0) for axis in range(4)]
    two = net.constant([2], np.int64)
    rows, columns = net.op("Div", sizes[2], two), net.op("Div", sizes[3], two)
    target = net.op("Concat", sizes[0], sizes[1], rows, two, columns, two, axis=0)
    return net.op("Reshape", x, net.op("Cast", target, to=TensorProto.INT64))


def test_a_reshape_to_computed_sizes_is_known() -> None:
    net = Net(("batch", 3, 8, 6))
    out = windows(net, net.input)
    assert propagate_shapes(net.exit(out).model()).shapes[out] == (1, 3, 4, 2, 3, 2)


def test_positions_of_ones_are_known() -> None:
    net = Net((1, 3, 8, 8))
    ones = net.op("ConstantOfShape", net.op("Shape", net.input))
    out = net.op("NonZero", net.op("Cast", ones, to=TensorProto.BOOL))
    filled = net.op("NonZero", net.op("Equal", ones, ones))
    facts = propagate_shapes(net.exit(out, filled).model())
    assert (facts.shapes[out], facts.shapes[filled]) == ((4, 0), (4, 192))


@pytest.mark.parametrize(
    ("op", "inputs", "shape"),
    [
        ("QLinearAdd", ("x", "s", "z", "x", "s", "z", "s", "z"), (1, 4, 6, 6)),
        ("QLinearGlobalAveragePool", ("x", "s", "z", "s", "z"), (1, 4, 1, 1)),
        ("QLinearConcat", ("s", "z", "x", "s", "z", "x", "s", "z"), (1, 8, 6, 6)),
        ("QLinearLeakyRelu", ("x", "s", "z", "s", "z"), (1, 4, 6, 6)),
    ],
)
def test_quantised_operators_of_onnxruntime_have_the_shape_of_their_float_form(
    op: str, inputs: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    attributes = {"axis": 1} if op == "QLinearConcat" else {}
    node = helper.make_node(op, list(inputs), ["y"], domain="com.microsoft", **attributes)
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, (1, 4, 6, 6))],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [
            onnx.numpy_helper.from_array(np.float32(0.1), "s"),
            onnx.numpy_helper.from_array(np.uint8(128), "z"),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    facts = propagate_shapes(helper.make_model(graph, opset_imports=opsets))
    assert facts.shapes["y"] == shape
    # Its elements keep their type, so that the operators after it are inferred too.
    assert facts.values["s"] == np.float32(0.1)


def test_a_declared_shape_keeps_what_it_fixes_and_gets_the_rest() -> None:
    net = Net((1, 3, 8, 8))
    out = net.conv(net.input, 4, 3)
    model = net.exit(out).model()
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(out, TensorProto.FLOAT, (1, 5, None, None)))
    assert propagate_shapes(model).shapes[out] == (1, 5, 8, 8)


def test_an_empty_shape_that_a_tool_declared_is_no_scalar() -> None:
    net = Net((1, 3, 8, 8))
    out = net.conv(net.input, 4, 3)
    model = net.exit(out).model()
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(out, TensorProto.FLOAT, ()))
    assert propagate_shapes(model).shapes[out] == (1, 4, 8, 8)


@pytest.mark.parametrize(
    ("domain", "build"),
    [
        ("", lambda net: net.op("LayerNormalization", net.input, net.weight(8), net.weight(8))),
        ("ai.onnx", lambda net: net.op("QuantizeLinear", net.input, net.constant(0.1), net.constant(0, np.uint8))),
        ("", lambda net: net.op("GroupNormalization", net.input, net.weight(3), net.weight(3), num_groups=1)),
    ],
)
def test_an_operator_is_understood_before_its_version_and_by_the_other_name_of_its_domain(
    domain: str, build: Callable[[Net], str]
) -> None:
    net = Net((1, 3, 8, 8), opset=10)
    model = net.exit(build(net)).model()
    model.opset_import[0].domain = domain
    assert propagate_shapes(model).shapes["t0"] == (1, 3, 8, 8)


def test_the_shape_that_a_runtime_has_is_the_one_that_is_propagated(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    net = Net((1, 3, 8, 6))
    outputs = padded_as_in_tensorflow(net, net.input), windows(net, net.conv(net.input, 4, 3))
    path = net.exit(*outputs).save(tmp_path)
    results = runtime.InferenceSession(str(path)).run(None, {"image": np.zeros((1, 3, 8, 6), np.float32)})
    shapes = propagate_shapes(net.model()).shapes
    assert [shapes[name] for name in outputs] == [result.shape for result in results]


def test_shapes_that_were_inferred_one_row_too_large_are_corrected_behind_the_pooling(tmp_path: Path) -> None:
    """With ceil mode, inference of whole files counts a window that starts in the padding; runtimes do not."""
    net = Net((1, 3, 6, 6), opset=19)
    pooled = net.op("MaxPool", net.input, kernel_shape=[2, 2], strides=[2, 2], pads=[1] * 4, ceil_mode=1)
    path = net.exit(net.op("Flatten", net.conv(pooled, 4, 3, name="conv"))).save(tmp_path, infer=True)
    (pool, conv) = workload_from_onnx(path).layers
    assert (pool.shape.oy, pool.shape.ox, conv.shape.oy, conv.shape.macs) == (4, 4, 4, 16 * 4 * 27)


def test_a_size_below_zero_is_open() -> None:
    net = Net((-1, 3, 8, 8))
    out = net.conv(net.input, 4, 3)
    model = net.exit(out).model()
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(out, TensorProto.FLOAT, (-1, 4, -1, 8)))
    assert propagate_shapes(model).shapes[out] == (1, 4, 8, 8)
