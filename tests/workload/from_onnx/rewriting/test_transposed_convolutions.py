"""A transposed convolution: every value of the input meets every weight once, and the result has its size."""

from pathlib import Path

import pytest

from offramp.errors import UnsupportedLayerError
from offramp.workload.graph import Layer
from offramp.workload.layer import Op
from tests.workload.from_onnx.onnx_samples import Net, workload_from_onnx


def layers(net: Net, output: str, tmp_path: Path) -> tuple[Layer, ...]:
    return workload_from_onnx(net.exit(output).save(tmp_path)).layers


@pytest.mark.parametrize(
    ("kernel", "stride", "pads", "more"),
    [(2, 2, 0, {}), (4, 2, 1, {}), (3, 1, 1, {}), (3, 2, 1, {"output_padding": [1, 1]}), (3, 3, 0, {}), (5, 2, 2, {}),
     (3, 2, 2, {"dilations": [2, 2]}), (1, 2, 0, {})],
)  # fmt: skip
def test_each_input_meets_each_weight(
    tmp_path: Path, kernel: int, stride: int, pads: int, more: dict[str, object]
) -> None:
    net = Net((1, 6, 8, 7))
    weight = net.weight(6, 4, kernel, kernel)
    out = net.op("ConvTranspose", net.input, weight, strides=[stride] * 2, pads=[pads] * 4, name="up", **more)
    found = layers(net, out, tmp_path)
    assert sum(layer.shape.macs for layer in found) == 8 * 7 * 6 * 4 * kernel * kernel
    assert sum(layer.shape.num_weights for layer in found) == 6 * 4 * kernel * kernel
    assert found[-1].name == "up"


def test_a_stride_that_divides_the_kernel_makes_one_convolution_with_more_channels(tmp_path: Path) -> None:
    net = Net((1, 6, 8, 8))
    (layer,) = layers(
        net, net.op("ConvTranspose", net.input, net.weight(6, 4, 4, 4), strides=[2, 2], pads=[1] * 4), tmp_path
    )
    assert (layer.shape.k, layer.shape.c, layer.shape.fy, layer.shape.fx) == (16, 6, 2, 2)
    assert layer.shape.num_outputs == 4 * 16 * 16


def test_phases_of_different_sizes_are_interleaved(tmp_path: Path) -> None:
    net = Net((1, 6, 8, 8))
    out = net.op(
        "ConvTranspose", net.input, net.weight(6, 4, 3, 3), strides=[2, 2], pads=[1] * 4, output_padding=[1, 1]
    )
    *phases, joined = layers(net, out, tmp_path)
    assert sorted((layer.shape.fy, layer.shape.fx) for layer in phases) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert (joined.shape.op, joined.shape.num_outputs) == (Op.CONCAT, 4 * 16 * 16)


def test_groups_and_one_axis(tmp_path: Path) -> None:
    net = Net((1, 6, 20))
    (layer,) = layers(net, net.op("ConvTranspose", net.input, net.weight(6, 1, 4), strides=[4], group=6), tmp_path)
    assert (layer.shape.g, layer.shape.k, layer.shape.c, layer.shape.macs) == (6, 4, 1, 20 * 6 * 4)


def test_computed_weights_are_refused(tmp_path: Path) -> None:
    net = Net((1, 6, 8, 8))
    out = net.op("ConvTranspose", net.input, net.op("Relu", net.input), name="up")
    with pytest.raises(UnsupportedLayerError, match=r"up \(ConvTranspose\) must have weights and a bias that do not"):
        layers(net, out, tmp_path)
