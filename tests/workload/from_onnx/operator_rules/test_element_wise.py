"""Operators with one operation per value, with the sizes of their results."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from offramp.workload.graph import Layer
from offramp.workload.layer import LayerShape, Op
from tests.workload.from_onnx.onnx_samples import Net, workload_from_onnx


def layers(net: Net, output: str, tmp_path: Path) -> tuple[Layer, ...]:
    return workload_from_onnx(net.exit(output).save(tmp_path)).layers


@pytest.mark.parametrize(
    ("kind", "op"),
    [
        ("Div", Op.MULTIPLY),
        ("Pow", Op.MULTIPLY),
        ("Max", Op.ADD),
        ("Min", Op.ADD),
        ("Less", Op.ADD),
        ("Mod", Op.MULTIPLY),
    ],
)
def test_two_layers_are_combined_value_by_value(tmp_path: Path, kind: str, op: Op) -> None:
    net = Net((1, 3, 8, 8))
    a, b = net.conv(net.input, 4, 3, name="a"), net.conv(net.input, 4, 3, name="b")
    more = {"fmod": 1} if kind == "Mod" else {}
    last = layers(net, net.op(kind, a, b, **more), tmp_path)[-1]
    assert last.shape == LayerShape(op, g=4, oy=8, ox=8, iy=8, ix=8)
    assert last.inputs == ("a", "b")


@pytest.mark.parametrize("shape", [(1, 8), (3, 8), ("batch", 8), (8,)])
def test_one_value_per_sample_is_a_layer_of_one_value(tmp_path: Path, shape: tuple[int | str, ...]) -> None:
    """The similarity of two embeddings, as its last steps are written: with one axis or, without a batch, with none."""
    net = Net(shape)
    means = [
        net.op("ReduceMean", net.op("MatMul", net.input, net.weight(8, 6)), axes=[-1], keepdims=0) for _ in range(2)
    ]
    last = layers(net, net.op("Div", *means), tmp_path)[-1]
    assert last.shape == LayerShape(Op.MULTIPLY)


def test_a_vector_without_a_batch_axis_has_one_operation_per_value(tmp_path: Path) -> None:
    net = Net((8,))
    a, b = (net.op("MatMul", net.input, net.weight(8, 6)) for _ in range(2))
    *dense, last = layers(net, net.op("Softmax", net.op("Add", a, b), axis=-1), tmp_path)
    assert [layer.shape.op for layer in dense] == [Op.DENSE, Op.DENSE]
    assert last.shape == LayerShape(Op.ADD, g=6)  # the softmax of a vector is free, as that of logits


@pytest.mark.parametrize("kind", ["Floor", "Ceil", "Round", "Sign", "Log", "Not"])
def test_functions_of_one_value_are_free(tmp_path: Path, kind: str) -> None:
    net = Net((1, 3, 8, 8))
    out = net.op(kind, net.op("Mul", net.conv(net.input, 4, 3, name="conv"), net.constant(0.1)))
    assert [layer.name for layer in layers(net, out, tmp_path)] == ["conv"]


def group_norm_of_torch(net: Net, x: str) -> str:
    """As the default exporter of torch writes a group norm: an instance norm over groups, then scale and shift."""
    groups = net.op("Reshape", x, net.constant([0, 2, -1], np.int64))
    normed = net.op("InstanceNormalization", groups, net.weight(2), net.weight(2))
    back = net.op("Reshape", normed, net.constant([1, 4, 8, 8], np.int64))
    return net.op("Add", net.op("Mul", back, net.weight(4, 1, 1)), net.weight(4, 1, 1))


@pytest.mark.parametrize(
    "norm",
    [
        group_norm_of_torch,
        lambda net, x: net.op("InstanceNormalization", x, net.weight(4), net.weight(4)),
        lambda net, x: net.op("LRN", x, size=3),
        lambda net, x: net.op("LpNormalization", x, axis=1),
        lambda net, x: net.op("MeanVarianceNormalization", x),
        lambda net, x: net.op("LogSoftmax", x, axis=1),
    ],
)
def test_a_norm_reads_two_values_for_each_that_it_writes(tmp_path: Path, norm: Callable[[Net, str], str]) -> None:
    net = Net((1, 3, 8, 8))
    _, found = layers(net, norm(net, net.conv(net.input, 4, 3)), tmp_path)
    assert (found.shape.op, found.shape.num_outputs, found.shape.macs) == (Op.MULTIPLY, 4 * 64, 0)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_a_concatenation_moves_every_value_along_any_axis(tmp_path: Path, axis: int) -> None:
    net = Net((1, 3, 8, 8))
    a, b = net.conv(net.input, 4, 3, name="a"), net.conv(net.input, 4, 3, name="b")
    last = layers(net, net.op("Concat", a, b, axis=axis), tmp_path)[-1]
    assert (last.shape.op, last.shape.num_outputs, last.inputs) == (Op.CONCAT, 2 * 4 * 64, ("a", "b"))


def test_a_running_sum_is_an_addition_per_value(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    last = layers(net, net.op("CumSum", net.conv(net.input, 4, 3), net.constant(3, np.int64)), tmp_path)[-1]
    assert last.shape == LayerShape(Op.ADD, g=4, oy=8, ox=8, iy=8, ix=8)


def test_an_embedding_is_a_view_of_its_table(tmp_path: Path) -> None:
    net = Net((1, 6))
    rows = net.op("Gather", net.weight(100, 8), net.op("Cast", net.input, to=7))
    out = net.op("MatMul", net.op("Add", rows, net.weight(1, 6, 8)), net.weight(8, 5), name="dense")
    (layer,) = layers(net, out, tmp_path)
    assert (layer.shape, layer.inputs) == (LayerShape(Op.DENSE, b=6, k=5, c=8), ("input",))
