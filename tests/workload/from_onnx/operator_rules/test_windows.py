"""Convolutions, pooling and resizing beyond the plain case, with sizes by hand or of onnxruntime."""

from itertools import product
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from offramp.workload.graph import Layer
from offramp.workload.layer import LayerShape, Op
from tests.workload.from_onnx.onnx_samples import Net, workload_from_onnx


def layers(net: Net, output: str, tmp_path: Path) -> tuple[Layer, ...]:
    return workload_from_onnx(net.exit(output).save(tmp_path)).layers


def test_weights_may_be_computed(tmp_path: Path) -> None:
    net = Net((1, 4, 6, 6))
    pooled = net.op("Flatten", net.op("GlobalAveragePool", net.input, name="pool"))
    experts = net.op("Gemm", pooled, net.weight(4, 8 * 4 * 9), name="experts")
    weight = net.op("Reshape", experts, net.constant([8, 4, 3, 3], np.int64))
    last = layers(net, net.op("Conv", net.input, weight, name="conv"), tmp_path)[-1]
    assert last.shape == LayerShape(Op.CONV, k=8, c=4, oy=4, ox=4, fy=3, fx=3, iy=6, ix=6)
    assert last.inputs == ("input", "experts")


@pytest.mark.parametrize(("kind", "mode"), list(product(("MaxPool", "AveragePool"), (0, 1))))
@pytest.mark.parametrize("size", range(4, 9))
@pytest.mark.parametrize(
    ("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (2, 2, 1), (2, 3, 1), (3, 3, 0)]
)
def test_rows_of_a_pooling_are_those_of_onnxruntime(
    tmp_path: Path, kind: str, mode: int, size: int, kernel: int, stride: int, pad: int
) -> None:
    net = Net((1, 3, size, size + 1), opset=19)
    out = net.op(kind, net.input, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, ceil_mode=mode)
    (layer,) = layers(net, out, tmp_path)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    (result,) = session.run(None, {"image": np.zeros((1, 3, size, size + 1), np.float32)})
    assert (layer.shape.oy, layer.shape.ox) == result.shape[2:]


def test_the_nearest_value_is_a_view(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    out = net.op("Resize", net.conv(net.input, 4, 3, name="conv"), "", net.constant([1, 1, 2, 2]), mode="nearest")
    assert [layer.name for layer in layers(net, net.conv(out, 4, 4, name="next"), tmp_path)] == ["conv", "next"]


@pytest.mark.parametrize(("mode", "taps"), [("linear", 2), ("cubic", 4)])
def test_an_interpolated_value_is_a_mean_of_neighbours(tmp_path: Path, mode: str, taps: int) -> None:
    net = Net((1, 3, 8, 8))
    out = net.op("Resize", net.conv(net.input, 4, 3), "", net.constant([1, 1, 2, 1]), mode=mode)
    shape = layers(net, out, tmp_path)[-1].shape
    assert (shape.op, shape.num_outputs, shape.fy, shape.fx, shape.macs) == (Op.AVG_POOL, 4 * 16 * 8, taps, 1, 0)


def test_resizing_the_image_belongs_to_its_preparation(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    out = net.op("Resize", net.input, "", net.constant([1, 1, 2, 2]), mode="linear")
    (layer,) = layers(net, net.conv(out, 4, 3, name="conv"), tmp_path)
    assert (layer.name, layer.shape.oy) == ("conv", 16)
