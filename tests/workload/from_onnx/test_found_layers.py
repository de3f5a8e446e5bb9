"""What depends on the input is found through every input of every operator, and nothing that it needs is free."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from offramp.errors import UnsupportedLayerError
from offramp.workload.from_onnx.file_graph import read_onnx
from offramp.workload.from_onnx.found_layers import Treatment, find_layers
from offramp.workload.layer import Op
from tests.workload.from_onnx.onnx_samples import Net, workload_from_onnx

CONV_1, CONV_2, CONV_3 = 16 * 3 * 9 * 256, 16 * 16 * 9 * 256, 32 * 16 * 9 * 256
BASE = CONV_1 + 160 + CONV_2 + CONV_3 + 320
"""MACs of `around`: convolutions 3 -> 16 -> 16 -> 32 on 16 x 16, and heads of 16 and 32 to 10."""

Build = Callable[[Net, str], str]


def around(build: Build) -> Net:
    """conv1 -> exit; conv1 -> conv2 -> ``build`` -> + conv1 -> conv3 -> final exit."""
    net = Net((1, 3, 16, 16))
    first = net.conv(net.input, 16, 3, name="conv1")
    early = net.head(first, 16, name="early")
    built = build(net, net.conv(first, 16, 16, name="conv2"))
    total = net.op("Add", first, built, name="add")
    return net.exit(early, net.head(net.conv(total, 32, 16, name="conv3"), 32, name="last"))


def zeros(net: Net) -> str:
    return net.weight(1, 16, 16, 16)


def mask(net: Net) -> str:
    return net.constant(np.ones((1, 16, 16, 16)), np.bool_)


def reversed_columns(net: Net) -> str:
    return net.constant(np.broadcast_to(np.arange(16)[::-1], (1, 16, 16, 16)), np.int64)


def leaky(net: Net, y: str) -> str:
    negative = net.op("Less", net.constant(0.0), y)
    return net.op("Where", negative, y, net.op("Mul", y, net.constant(0.1)))


def into_some_channels(net: Net, y: str) -> str:
    """``z[:, 4:12] = y[:, :8]`` of zeros, as exporters write it."""
    part = net.op("Slice", y, *(net.constant([value], np.int64) for value in (0, 8, 1)))
    return net.op("ScatterND", zeros(net), net.constant([[0]], np.int64), net.op("Concat", part, part, axis=1))


@pytest.mark.parametrize(
    "build",
    [
        lambda net, y: net.op("Identity", y),
        lambda net, y: net.op("Where", mask(net), y, zeros(net)),
        lambda net, y: net.op("Where", mask(net), zeros(net), y),
        lambda net, y: net.op("ScatterElements", zeros(net), reversed_columns(net), y, axis=3),
        lambda net, y: net.op("ScatterND", zeros(net), net.constant([[0]], np.int64), y),
        into_some_channels,
        leaky,
        lambda net, y: net.op("PRelu", net.op("Relu", y), y),
        lambda net, y: net.op("Max", net.constant(0.0), y),
    ],
)
def test_a_layer_is_priced_whatever_input_it_reaches_the_rest_through(tmp_path: Path, build: Build) -> None:
    workload = workload_from_onnx(around(build).save(tmp_path))
    assert sum(layer.shape.macs for layer in workload.layers) == BASE == 1_880_544
    assert "add" in {layer.name for layer in workload.layers}


def second_layer(net: Net, y: str) -> str:
    return net.conv(y, 16, 16, kernel=1, name="other")


@pytest.mark.parametrize(
    ("build", "op"),
    [
        (lambda net, y: net.op("Where", mask(net), y, second_layer(net, y), name="both"), Op.ADD),
        (lambda net, y: net.op("Where", net.op("Less", y, net.constant(0.0)), second_layer(net, y), y, name="both"),
         Op.ADD),
        (lambda net, y: net.op("ScatterND", y, net.constant([[0]], np.int64), second_layer(net, y), name="both"),
         Op.CONCAT),
        (lambda net, y: net.op("ScatterElements", y, reversed_columns(net), second_layer(net, y), name="both",
                               reduction="add"), Op.ADD),
        (lambda net, y: net.op("PRelu", y, second_layer(net, y), name="both"), Op.MULTIPLY),
        (lambda net, y: net.op("Sum", y, second_layer(net, y), net.op("Relu", y), name="both"), Op.ADD),
    ],
)  # fmt: skip
def test_an_operator_that_joins_two_layers_is_a_layer(tmp_path: Path, build: Build, op: Op) -> None:
    workload = workload_from_onnx(around(build).save(tmp_path))
    both = workload.layer("both")
    assert set(both.inputs) == {"conv2", "other"}
    assert (both.shape.op, both.shape.num_outputs) == (op, 16 * 256)
    assert sum(layer.shape.macs for layer in workload.layers) == BASE + 16 * 16 * 256


def computed_vector(net: Net, y: str, length: int = 16) -> str:
    """A vector that a pooling layer computes."""
    return net.op("Reshape", net.op("GlobalAveragePool", y, name="pool"), net.constant([length], np.int64))


def conv_with_bias(net: Net, y: str) -> str:
    return net.op("Conv", y, net.weight(16, 16, 1, 1), computed_vector(net, y), name="x")


def captured(net: Net, y: str) -> str:
    """An If, whose branches read ``y`` without an input of their own."""
    result = helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 16, 16, 16])
    branches = {
        name: helper.make_graph([helper.make_node(op, [y], ["z"])], name, [], [result])
        for name, op in (("then_branch", "Relu"), ("else_branch", "Neg"))
    }  # fmt: skip
    condition = net.op("Greater", net.op("ReduceMax", net.input, axes=[0, 1, 2, 3], keepdims=0), net.constant(0.0))
    return net.op("If", condition, name="x", **branches)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (conv_with_bias, r"x \(Conv\) reads at input 2 what pool computes; a constant is understood there"),
        (
            lambda net, y: net.op("Gather", y, net.op("Cast", computed_vector(net, y), to=7), axis=1, name="x"),
            r"x \(Gather\) combines the results of conv2, pool",
        ),
        (
            lambda net, y: net.op("Clip", y, net.op("ReduceMax", y, name="pool", keepdims=0), name="x"),
            r"x \(Clip\) combines the results of conv2, pool",
        ),
        (
            lambda net, y: net.op("LayerNormalization", y, computed_vector(net, y), name="x"),
            r"x \(LayerNormalization\) reads at input 1 what pool computes",
        ),
        (lambda net, y: net.op("Add", y, net.op("RandomNormalLike", y, name="x")), "draws random values"),
        (captured, r"x \(If\)"),
        (lambda net, y: net.op("Einsum", y, equation="bihh->bi", name="x"), r"x \(Einsum\) reads a diagonal"),
    ],
)  # fmt: skip
def test_what_a_layer_computes_where_a_rule_knows_constants_only_is_refused(
    tmp_path: Path, build: Build, says: str
) -> None:
    with pytest.raises(UnsupportedLayerError, match=says):
        workload_from_onnx(around(build).save(tmp_path))


def test_every_node_has_one_treatment(tmp_path: Path) -> None:
    net = Net()
    x = net.conv(net.input, 4, 3, name="conv")
    scale = net.op("Relu", net.weight(1, 4, 1, 1), name="constant")
    shape = net.op("Concat", net.op("Shape", x, name="shape"), axis=0, name="of a shape")
    flat = net.op("Reshape", net.op("Mul", x, scale, name="scaled"), shape, name="reshaped")
    net.op("Sigmoid", net.conv(x, 2, 4, name="unused"), name="unused too")
    graph = read_onnx(net.exit(flat).save(tmp_path))
    assert find_layers(graph, tmp_path).treatments == {
        "conv": Treatment.PRICED,
        "constant": Treatment.CONSTANT,
        "shape": Treatment.SHAPE,
        "of a shape": Treatment.CONSTANT,
        "scaled": Treatment.FREE,
        "reshaped": Treatment.FREE,
        "unused": Treatment.UNUSED,
        "unused too": Treatment.UNUSED,
    }


def test_a_layer_of_which_only_the_shape_is_needed_is_unused(tmp_path: Path) -> None:
    net = Net()
    seen = net.op("Shape", net.conv(net.input, 4, 3, name="seen"))
    zero = net.op("ConstantOfShape", seen, value=onnx.numpy_helper.from_array(np.zeros(1, np.float32)))
    out = net.op("Add", net.conv(net.input, 4, 3, name="conv"), zero)
    assert [layer.name for layer in workload_from_onnx(net.exit(out).save(tmp_path)).layers] == ["conv"]
