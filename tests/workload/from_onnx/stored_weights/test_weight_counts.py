"""Nonzero weights of ONNX files, counted in files whose weights were written by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from offramp.workload.from_onnx.file_graph import read_onnx
from tests.workload.from_onnx.onnx_samples import Net, save, two_exits, workload_from_onnx


def thin(shape: tuple[int, ...], nonzero: int, kind: type = np.float32, zero: int = 0) -> NDArray[Any]:
    """All ``zero`` but the first ``nonzero`` values."""
    values: NDArray[Any] = np.full(int(np.prod(shape)), zero, dtype=kind)
    values[:nonzero] = zero + 1
    return values.reshape(shape)


def classifier(net: Net, weight: str, source: str = "image") -> Net:
    """A convolution of 4 channels with this weight and a head with 20 of 40 weights."""
    made = net.op("Conv", source, weight, name="conv", pads=[1] * 4)
    flat = net.op("Flatten", net.op("GlobalAveragePool", made))
    return net.exit(net.op("Gemm", flat, net.constant(thin((10, 4), 20)), transB=1, name="fc"))


def densities(net: Net, folder: Path) -> dict[str, float]:
    return read_onnx(net.save(folder), read_weights=True).weight_densities


def test_float_weights(tmp_path: Path) -> None:
    net = Net()
    assert densities(classifier(net, net.constant(thin((4, 3, 3, 3), 27))), tmp_path) == {"conv": 0.25, "fc": 0.5}


def test_they_are_only_read_where_it_is_asked_for(tmp_path: Path) -> None:
    net = Net()
    path = classifier(net, net.constant(thin((4, 3, 3, 3), 27))).save(tmp_path)
    assert read_onnx(path).weight_densities == {}
    plain = workload_from_onnx(path)
    read = workload_from_onnx(path, read_weights=True, weight_bits=4)
    assert [x.shape.weight_density for x in plain.layers] == [1.0] * 3
    assert [(x.shape.weight_density, x.shape.weight_bits) for x in read.layers] == [(0.25, 4), (1.0, 4), (0.5, 4)]
    assert read.weight_density == (27 + 20) / (108 + 40)


@pytest.mark.parametrize("views", [("Identity",), ("Transpose",), ("Cast", "Identity")])
def test_weights_behind_operators_that_keep_values(tmp_path: Path, views: tuple[str, ...]) -> None:
    net = Net()
    name = net.constant(thin((4, 3, 3, 3), 54))
    attributes: dict[str, dict[str, Any]] = {"Transpose": {"perm": [0, 1, 3, 2]}, "Cast": {"to": 1}, "Identity": {}}
    for view in views:
        name = net.op(view, name, **attributes[view])
    assert densities(classifier(net, name), tmp_path)["conv"] == 0.5


def test_quantised_weights_are_zero_at_their_zero_point(tmp_path: Path) -> None:
    net = Net()
    scale, point = net.constant(0.5), net.constant(7, np.uint8)
    weight = net.op("DequantizeLinear", net.constant(thin((4, 3, 3, 3), 81, np.uint8, 7), np.uint8), scale, point)
    assert densities(classifier(net, weight), tmp_path)["conv"] == 0.75


def test_without_a_zero_point_it_is_zero(tmp_path: Path) -> None:
    net = Net()
    weight = net.op("DequantizeLinear", net.constant(thin((4, 3, 3, 3), 27, np.int8), np.int8), net.constant(0.5))
    assert densities(classifier(net, weight), tmp_path)["conv"] == 0.25


def test_a_zero_point_for_each_channel(tmp_path: Path) -> None:
    """Channels 0 to 3 hold the values 0 to 3; the zero points 0, 1, 9, 9 make two of them zeros."""
    net = Net()
    values = np.broadcast_to(np.arange(4, dtype=np.int8).reshape(4, 1, 1, 1), (4, 3, 3, 3))
    points = net.constant(np.array([0, 1, 9, 9]), np.int8)
    weight = net.op("DequantizeLinear", net.constant(values, np.int8), net.constant([0.5] * 4), points, axis=0)
    assert densities(classifier(net, weight), tmp_path)["conv"] == 0.5


def test_integer_layers_have_zero_points_of_their_own(tmp_path: Path) -> None:
    net = Net()
    one, zero = net.constant(1.0), net.constant(0, np.uint8)
    image = net.op("QuantizeLinear", net.input, one, zero)
    weight, point = net.constant(thin((4, 3, 3, 3), 27, np.int8, -3), np.int8), net.constant(-3, np.int8)
    made = net.op("QLinearConv", image, one, zero, weight, one, point, one, zero, name="conv", pads=[1] * 4)
    net.exit(net.op("DequantizeLinear", made, one, zero))
    assert densities(net, tmp_path) == {"conv": 0.25}


def test_dense_integer_layers_of_onnxruntime(tmp_path: Path) -> None:
    net = Net((1, 12))
    scale, point = net.constant(1.0), net.constant(0, np.uint8)
    weight, zero = net.constant(thin((12, 9), 27, np.int8, 5), np.int8), net.constant(5, np.int8)
    first = net.op("QGemm", net.input, scale, point, weight, scale, zero, "", scale, point, domain="com.microsoft",
                   name="first")  # fmt: skip
    square = net.constant(thin((9, 12), 54, np.int8, 5), np.int8)
    net.exit(net.op("DynamicQuantizeMatMul", first, square, scale, zero, domain="com.microsoft", name="second"))
    assert densities(net, tmp_path) == {"first": 0.25, "second": 0.5}


def test_layers_without_weights_to_be_seen_are_left_out(tmp_path: Path) -> None:
    """Zeros alone are no weights; neither are computed or external ones."""
    assert densities(two_exits(), tmp_path) == {}
    net = Net()
    doubled = net.op("Mul", net.constant(thin((4, 3, 3, 3), 27)), net.constant(2.0))
    assert densities(classifier(net, doubled), tmp_path) == {"fc": 0.5}
    net = Net()
    model = classifier(net, net.constant(thin((4, 3, 3, 3), 27))).model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    assert read_onnx(save(model, tmp_path), read_weights=True).weight_densities == {"fc": 0.5}
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    assert read_onnx(save(model, tmp_path), read_weights=True).weight_densities == {"fc": 0.5}


def test_damaged_weights_are_no_reason_to_stop(tmp_path: Path) -> None:
    net = Net()
    model = classifier(net, net.constant(thin((4, 3, 3, 3), 27))).model()
    model.graph.initializer[0].raw_data = b"123"
    assert read_onnx(save(model, tmp_path), read_weights=True).weight_densities == {"fc": 0.5}
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w0"))
    model.graph.initializer[0].data_type = 99
    assert "conv" not in read_onnx(save(model, tmp_path), read_weights=True).weight_densities
