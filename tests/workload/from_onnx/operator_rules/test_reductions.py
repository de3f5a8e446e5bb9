"""Reductions along any axes, and the search for the largest value."""

from pathlib import Path

import numpy as np
import pytest

from offramp.workload.graph import Layer
from offramp.workload.layer import LayerShape, Op
from tests.workload.from_onnx.onnx_samples import Net, workload_from_onnx


def layers(net: Net, output: str, tmp_path: Path) -> tuple[Layer, ...]:
    return workload_from_onnx(net.exit(output).save(tmp_path)).layers


@pytest.mark.parametrize(
    ("axes", "kept", "reduced"), [([1], 4 * 6, 5), ([-1], 5 * 4, 6), ([1, 3], 4, 30), ([1, 2, 3], 1, 120)]
)
@pytest.mark.parametrize(
    ("kind", "op"), [("ReduceSum", Op.AVG_POOL), ("ReduceL2", Op.AVG_POOL), ("ReduceMin", Op.MAX_POOL)]
)
def test_every_reduced_value_is_read_once(
    tmp_path: Path, kind: str, op: Op, axes: list[int], kept: int, reduced: int
) -> None:
    net = Net((1, 5, 4, 6), opset=18)
    (layer,) = layers(net, net.op(kind, net.input, net.constant(axes, np.int64)), tmp_path)
    assert layer.shape == LayerShape(op, g=kept, fy=reduced, iy=reduced)


def test_a_sum_over_everything(tmp_path: Path) -> None:
    net = Net((1, 5, 4, 6), opset=18)
    (layer,) = layers(net, net.op("ReduceSum", net.input, keepdims=0), tmp_path)
    assert (layer.shape.num_outputs, layer.shape.num_inputs) == (1, 120)


@pytest.mark.parametrize("kind", ["ArgMax", "ArgMin", "TopK"])
def test_the_class_is_found_while_the_logits_are_written(tmp_path: Path, kind: str) -> None:
    net = Net((1, 3, 8, 8))
    logits = net.head(net.conv(net.input, 4, 3), 4, name="head")
    found = [net.constant([3], np.int64)] if kind == "TopK" else []
    assert layers(net, net.op(kind, logits, *found, axis=1), tmp_path)[-1].name == "head/fc"


def test_the_class_of_each_pixel_is_a_maximum_over_channels(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    shape = layers(net, net.op("ArgMax", net.conv(net.input, 4, 3), axis=1), tmp_path)[-1].shape
    assert shape == LayerShape(Op.MAX_POOL, g=64, fy=4, iy=4)
