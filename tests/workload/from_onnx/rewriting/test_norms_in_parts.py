"""A norm or a softmax that is written out has the price of the operator."""

from collections.abc import Callable
from pathlib import Path

import pytest

from offramp.workload.graph import Layer
from offramp.workload.layer import Op
from tests.workload.from_onnx.onnx_samples import Net, workload_from_onnx

Build = Callable[[Net, str], str]
WIDTH = 8


def layers(net: Net, output: str, tmp_path: Path) -> tuple[Layer, ...]:
    return workload_from_onnx(net.exit(output).save(tmp_path)).layers


def scaled(net: Net, x: str) -> str:
    return net.op("Add", net.op("Mul", x, net.weight(WIDTH)), net.weight(WIDTH))


def deviation(net: Net, x: str, *, square: str = "Pow") -> str:
    squares = net.op("Pow", x, net.constant(2.0)) if square == "Pow" else net.op("Mul", x, x)
    mean = net.op("ReduceMean", squares, axes=[-1], keepdims=1)
    return net.op("Sqrt", net.op("Add", mean, net.constant(1e-5)))


def layer_norm(net: Net, x: str) -> str:
    centred = net.op("Sub", x, net.op("ReduceMean", x, axes=[-1], keepdims=1))
    return scaled(net, net.op("Div", centred, deviation(net, centred)))


def layer_norm_with_a_square(net: Net, x: str) -> str:
    centred = net.op("Sub", x, net.op("ReduceMean", x, axes=[2], keepdims=1))
    return scaled(net, net.op("Mul", centred, net.op("Reciprocal", deviation(net, centred, square="Mul"))))


def rms_norm(net: Net, x: str) -> str:
    return scaled(net, net.op("Div", x, deviation(net, x)))


def unit_length(net: Net, x: str) -> str:
    """As torch exports `functional.normalize`."""
    length = net.op("Clip", net.op("ReduceL2", x, axes=[-1], keepdims=1), net.constant(1e-12))
    return net.op("Div", x, net.op("Expand", length, net.constant([1, 6, WIDTH], "int64")))  # type: ignore[arg-type]


def softmax(net: Net, x: str) -> str:
    exponents = net.op("Exp", net.op("Sub", x, net.op("ReduceMax", x, axes=[-1], keepdims=1)))
    return net.op("Div", exponents, net.op("ReduceSum", exponents, net.constant([-1], "int64")))  # type: ignore[arg-type]


def log_softmax(net: Net, x: str) -> str:
    shifted = net.op("Sub", x, net.op("ReduceMax", x, axes=[-1], keepdims=1))
    total = net.op("ReduceSum", net.op("Exp", shifted), net.constant([-1], "int64"))  # type: ignore[arg-type]
    return net.op("Sub", shifted, net.op("Log", total))


@pytest.mark.parametrize("parts", [layer_norm, layer_norm_with_a_square, rms_norm, unit_length, softmax, log_softmax])
def test_a_norm_in_its_parts_is_one_layer(tmp_path: Path, parts: Build) -> None:
    net = Net((1, 6, WIDTH))
    x = net.op("MatMul", net.input, net.weight(WIDTH, WIDTH), name="before")
    out = net.op("MatMul", parts(net, x), net.weight(WIDTH, 3), name="after")
    before, norm, after = layers(net, out, tmp_path)
    assert (before.name, after.name, after.inputs) == ("before", "after", (norm.name,))
    assert (norm.shape.op, norm.shape.num_outputs, norm.inputs) == (Op.MULTIPLY, 6 * WIDTH, ("before",))


def test_a_residual_addition_after_a_norm_stays_a_layer(tmp_path: Path) -> None:
    net = Net((1, 6, WIDTH))
    x = net.op("MatMul", net.input, net.weight(WIDTH, WIDTH), name="before")
    found = layers(net, net.op("Add", layer_norm(net, x), x), tmp_path)
    assert [layer.shape.op for layer in found] == [Op.DENSE, Op.MULTIPLY, Op.ADD]


def test_two_norms_in_a_row_are_two_layers(tmp_path: Path) -> None:
    net = Net((1, 6, WIDTH))
    x = net.op("MatMul", net.input, net.weight(WIDTH, WIDTH), name="before")
    found = layers(net, layer_norm(net, rms_norm(net, x)), tmp_path)
    assert [layer.shape.op for layer in found] == [Op.DENSE, Op.MULTIPLY, Op.MULTIPLY]


def test_the_softmax_of_logits_in_its_parts_is_free(tmp_path: Path) -> None:
    net = Net((1, WIDTH))
    x = net.op("MatMul", net.input, net.weight(WIDTH, WIDTH), name="logits")
    assert [layer.name for layer in layers(net, softmax(net, x), tmp_path)] == ["logits"]


def test_a_statistic_that_is_read_elsewhere_stays_a_layer(tmp_path: Path) -> None:
    net = Net((1, 6, WIDTH))
    x = net.op("MatMul", net.input, net.weight(WIDTH, WIDTH), name="before")
    length = net.op("ReduceL2", x, axes=[-1], keepdims=1, name="length")
    out = net.op("Add", net.op("Div", x, length), net.op("Mul", net.input, length))
    assert "length" in {layer.name for layer in layers(net, out, tmp_path)}


def test_squeeze_and_excitation_is_no_norm(tmp_path: Path) -> None:
    net = Net((1, 4, 6, 6))
    x = net.conv(net.input, 4, 4)
    gate = net.op("Sigmoid", net.op("ReduceMean", x, axes=[2, 3], keepdims=1))
    found = layers(net, net.op("Mul", x, gate), tmp_path)
    assert [layer.shape.op for layer in found] == [Op.CONV, Op.AVG_POOL, Op.MULTIPLY]
